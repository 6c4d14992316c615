"""`python -m benchmarks.operator`: the operator on a real API server, one JSON line per result.

The account, the process and the API server are real; nodes are kwok's, and databases only say who
owns what. The cluster shares the machine with all that measures it, and with whatever else runs:
`load` in the conditions has the load before and after.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks import operator_faults as faults
from benchmarks import operator_load as load
from benchmarks.operator_load import Target
from benchmarks.results import Result
from testbed import cluster as kubernetes
from tests.cluster.manifests import Space
from tests.cluster.operator_ground import Ground, ground

_NAMESPACE = "benchmark"
_MACHINES = 200

THREE = {
    "p50": Target("operator.apply_to_bound.3_nodes.p50", 1.5, "s"),
    "p99": Target("operator.apply_to_bound.3_nodes.p99", 5, "s"),
    "status": Target("operator.first_status", 1, "s"),
}
FIFTY = {"p99": Target("operator.apply_to_bound.50_nodes.p99", 5, "s")}
CROWD = {
    "bound": Target("operator.crowd.all_bound", 35, "s"),
    "requests": Target("operator.crowd.requests", 22, "API requests a job"),
    "memory": Target("operator.crowd.memory", 130, "MB resident"),
}
REST = Target("operator.at_rest", 0, "API requests a minute")
NEWCOMER = Target("operator.new_job_acted_on", 1, "s")


def single(place: Ground, quick: bool) -> Iterator[Result]:
    with load.bench(place, "single") as bench:
        yield from load.one_by_one(bench, 3, 2 if quick else 20, THREE)
    place.clear()


def large(place: Ground, quick: bool) -> Iterator[Result]:
    with load.bench(place, "large") as bench:
        yield from load.one_by_one(bench, 50, 1 if quick else 10, FIFTY)
    place.clear()


def crowd(place: Ground, quick: bool) -> Iterator[Result]:
    with load.bench(place, "crowd") as bench:
        yield from load.at_once(bench, 10 if quick else 200, CROWD)
        yield load.rest(bench, 10 if quick else 120, REST)
    place.clear()


def relist(place: Ground, quick: bool) -> Iterator[Result]:
    yield from load.relists(place, 20 if quick else 750, 3 if quick else 10, NEWCOMER, REST)
    place.clear()


Part = Callable[[Ground, bool], Iterator[Result]]

PARTS: Mapping[str, Part] = {
    "single": single,
    "large": large,
    "crowd": crowd,
    "relist": relist,
    "killed": lambda place, quick: faults.kills(place, 5 if quick else 100, seed=4),
    "replicas": lambda place, _quick: faults.replicas(place),
    "away": lambda place, quick: faults.away(place, 10 if quick else 60),
    "cuts": lambda place, _quick: faults.cuts(place),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operator", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of: {', '.join(PARTS)}")
    parser.add_argument(
        "--quick", action="store_true", help="a minute each, to see that it runs; no real numbers"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - PARTS.keys():
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(PARTS)}")
    chosen = [PARTS[name] for name in arguments.parts or PARTS]
    with kubernetes.start(1) as cluster, tempfile.TemporaryDirectory() as folder:
        space = Space(cluster, _NAMESPACE, "")
        cluster.kubectl("create", "namespace", space.name)
        cluster.wait(space.without_account)
        with ground(space, Path(folder), _MACHINES) as place:
            for part in chosen:
                for result in part(place, arguments.quick):
                    print(result.line(), flush=True)


if __name__ == "__main__":
    main()
