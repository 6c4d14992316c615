"""Topologies and plans in one line, strategies that draw them, and the exact solver."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix

from insitu.topology import DatabaseNode, NodeId, Shard, ShardId, Topology
from insitu_operator.core.plan import Plan


def topology(*owners: str, weights: Sequence[int] | None = None, idle: str = "") -> Topology:
    """Shards "0", "1", ... with owners as in "a b"; nodes are all that are named."""
    names = sorted({name for text in (*owners, idle) for name in text.split()})
    sizes = weights or [1] * len(owners)
    return Topology(
        nodes=tuple(DatabaseNode(NodeId(name), f"{name}.local", 10800) for name in names),
        shards=tuple(
            Shard(ShardId(str(i)), tuple(NodeId(n) for n in text.split()), size)
            for i, (text, size) in enumerate(zip(owners, sizes, strict=True))
        ),
        version="1",
        weights_exact=True,
    )


def without(reading: Topology, lost: str) -> Topology:
    """The same database after a node is gone."""
    return replace(
        reading,
        nodes=tuple(node for node in reading.nodes if node.id != lost),
        shards=tuple(
            replace(shard, owners=tuple(o for o in shard.owners if o != lost))
            for shard in reading.shards
        ),
        version="2",
    )


def shuffled(reading: Topology, seed: int) -> Topology:
    """The same reading, told in another order."""
    mixed = random.Random(seed)
    return replace(
        reading,
        nodes=tuple(mixed.sample(reading.nodes, len(reading.nodes))),
        shards=tuple(mixed.sample(reading.shards, len(reading.shards))),
    )


def spread_out(
    nodes: int, shards: int, replicas: int, weights: Iterable[int], seed: int = 0
) -> Topology:
    """Every shard on `replicas` nodes drawn by chance."""
    names = [f"n{i}" for i in range(nodes)]
    draw = random.Random(seed)
    owners = [" ".join(draw.sample(names, replicas)) for _ in range(shards)]
    return topology(*owners, weights=[w for w, _ in zip(weights, owners, strict=False)])


def loads(made: Plan) -> list[int]:
    return [part.weight for part in made.ranks]


def shards_by_node(made: Plan) -> dict[str, tuple[str, ...]]:
    return {part.node: part.shards for part in made.ranks}


@st.composite
def topologies(draw: st.DrawFn, weights: st.SearchStrategy[int] | None = None) -> Topology:
    """One to four nodes, one to twelve shards, every shard with an owner."""
    names = "abcd"[: draw(st.integers(1, 4))]
    owners = st.lists(st.sampled_from(names), min_size=1, unique=True).map(" ".join)
    chosen = draw(st.lists(owners, min_size=1, max_size=12))
    sizes = [draw(st.integers(0, 1000) if weights is None else weights) for _ in chosen]
    return topology(*chosen, weights=sizes)


def least_heaviest(reading: Topology) -> int:
    """The weight of the heaviest node in the most even plan there is, exactly."""
    return _solved(reading, limit=None, home={})


def least_moves(reading: Topology, before: Plan, limit: int) -> int:
    """How many shards have to change their node so that no node is heavier than `limit`."""
    home = {shard: part.node for part in before.ranks for shard in part.shards}
    return _solved(reading, limit=limit, home=home)


def _solved(reading: Topology, limit: int | None, home: dict[ShardId, NodeId]) -> int:
    """By integer programming: a variable per shard and owner, and one for the heaviest load."""
    nodes = [node.id for node in reading.nodes]
    pairs = [(i, nodes.index(o)) for i, s in enumerate(reading.shards) for o in s.owners]
    count, size = len(pairs), [shard.weight for shard in reading.shards]
    once = coo_matrix(
        (np.ones(count), ([i for i, _ in pairs], range(count))), (len(size), count + 1)
    )
    below = coo_matrix(
        (
            [size[i] for i, _ in pairs] + [-1] * len(nodes),
            (
                [b for _, b in pairs] + list(range(len(nodes))),
                list(range(count)) + [count] * len(nodes),
            ),
        ),
        (len(nodes), count + 1),
    )
    away = [float(home.get(reading.shards[i].id) != nodes[b]) for i, b in pairs]
    cost = [0.0] * count + [1.0] if limit is None else [*away, 0.0]
    found = milp(
        cost,
        constraints=[
            LinearConstraint(once.tocsr(), 1, 1),
            LinearConstraint(below.tocsr(), -np.inf, 0),
        ],
        integrality=[1] * count + [0],
        bounds=Bounds(0, [1.0] * count + [float(sum(size) if limit is None else limit)]),
        options={"mip_rel_gap": 0},
    )
    assert found.success, found.message
    return round(float(found.fun))
