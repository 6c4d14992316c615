"""`python -m benchmarks`: measures on real servers and prints one JSON line per result."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from benchmarks import cassandra_read, commit_log, ignite_read, planner, tensorflow_feed

_PARTS = ("ignite", "cassandra", "tensorflow", "planner", "commits")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds, to see that it runs; no real numbers"
    )
    parser.add_argument(
        "--only", action="append", choices=_PARTS, help="this part; may be given several times"
    )
    arguments = parser.parse_args()
    for part in _PARTS:
        if part in (arguments.only or _PARTS):
            for line in _lines(part, quick=arguments.quick):
                print(line, flush=True)


def _lines(part: str, *, quick: bool) -> Iterator[str]:
    match part:
        case "ignite":
            plan = ignite_read.quick_plan() if quick else ignite_read.full_plan()
            yield from (result.line() for result in ignite_read.run(plan))
        case "cassandra":
            cases = cassandra_read.quick_plan() if quick else cassandra_read.full_plan()
            yield from (result.line() for result in cassandra_read.run(cases))
        case "tensorflow":
            feed = tensorflow_feed.quick_plan() if quick else tensorflow_feed.full_plan()
            yield from (result.line() for result in tensorflow_feed.run(feed))
        case "commits":
            log = commit_log.quick_plan() if quick else commit_log.full_plan()
            yield from (result.line() for result in commit_log.run(log))
        case "planner" if not quick:
            yield from map(json.dumps, planner.lines())


if __name__ == "__main__":
    main()
