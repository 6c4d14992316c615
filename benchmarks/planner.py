"""How long a plan takes, how even it is, and how much moves when a node comes or goes.

The baseline is what a job without a planner does: every shard with its primary.
"""

from __future__ import annotations

import json
import platform
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from insitu.topology import DatabaseNode, NodeId, Shard, ShardId, Topology
from insitu_operator.core.plan import Plan
from insitu_operator.core.planner import moved, plan

NODES, SHARDS, REPLICAS = 1000, 65_536, 3

WEIGHTS: dict[str, Callable[[random.Random], int]] = {
    "equal": lambda _: 1000,
    "near": lambda draw: draw.randint(900, 1100),
    "wide": lambda draw: draw.randint(500, 1500),
    "exponential": lambda draw: 1 + int(draw.expovariate(1 / 1000)),
}


def lines() -> Iterator[dict[str, object]]:
    """One line a measurement, as described in benchmarks/."""
    for name, weight in WEIGHTS.items():
        reading = _topology(weight)
        conditions = (
            f"{NODES} nodes, {SHARDS} shards, {REPLICAS} replicas, {name} weights;"
            f" one core, CPython {platform.python_version()}"
        )
        made, seconds = _timed(reading, None)
        yield _line(f"planner.time.{name}", seconds, "CPU s", "2 s", seconds / 2, conditions)
        primaries = _imbalance_of_primaries(reading)
        yield _line(
            f"planner.imbalance.{name}",
            made.imbalance,
            "heaviest rank / mean",
            "every shard with its primary",
            made.imbalance / primaries,
            conditions,
        )
        for change, after in (("lost", _without_one(reading)), ("joined", _with_one_more(reading))):
            following, seconds = _timed(after, made)
            gone = moved(made, following)
            forced = _forced(made, after)
            yield _line(
                f"planner.moved.{name}.{change}",
                gone,
                "shards",
                f"the {forced} shards whose node no longer owns them",
                gone / forced,
                f"{conditions}; imbalance {following.imbalance:.4f}, {seconds:.2f} CPU s",
            )


def _topology(weight: Callable[[random.Random], int]) -> Topology:
    draw = random.Random(1)
    names = [NodeId(f"node-{i}") for i in range(NODES)]
    return Topology(
        nodes=tuple(DatabaseNode(name, "127.0.0.1", 10800) for name in names),
        shards=tuple(
            Shard(ShardId(str(i)), tuple(draw.sample(names, REPLICAS)), weight(draw))
            for i in range(SHARDS)
        ),
        version="1",
    )


def _without_one(reading: Topology) -> Topology:
    """The first node is gone."""
    lost = reading.nodes[0].id
    shards = (
        replace(shard, owners=tuple(o for o in shard.owners if o != lost))
        for shard in reading.shards
    )
    return replace(reading, nodes=reading.nodes[1:], shards=tuple(shards), version="2")


def _with_one_more(reading: Topology) -> Topology:
    """A new node takes over its share of replicas, each from one of the old ones."""
    draw = random.Random(2)
    new = NodeId(f"node-{NODES}")
    shards = list(reading.shards)
    for i in draw.sample(range(SHARDS), SHARDS * REPLICAS // (NODES + 1)):
        owners = list(shards[i].owners)
        owners[draw.randrange(REPLICAS)] = new
        shards[i] = replace(shards[i], owners=tuple(owners))
    nodes = (*reading.nodes, DatabaseNode(new, "127.0.0.1", 10800))
    return replace(reading, nodes=nodes, shards=tuple(shards), version="2")


def _timed(reading: Topology, previous: Plan | None) -> tuple[Plan, float]:
    start = time.process_time()
    made = plan(reading, generation=1, previous=previous)
    return made, time.process_time() - start


def _imbalance_of_primaries(reading: Topology) -> float:
    load = dict.fromkeys(reading.node, 0)
    for shard in reading.shards:
        load[shard.owners[0]] += shard.weight
    return max(load.values()) * len(load) / sum(load.values())


def _forced(before: Plan, after: Topology) -> int:
    node_of = {shard: part.node for part in before.ranks for shard in part.shards}
    return sum(node_of[shard.id] not in shard.owners for shard in after.shards)


def _line(
    name: str, value: float, unit: str, against: str, ratio: float, conditions: str
) -> dict[str, object]:
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "against": against,
        "ratio": round(ratio, 4),
        "conditions": conditions,
    }


if __name__ == "__main__":
    for line in lines():
        print(json.dumps(line), flush=True)
