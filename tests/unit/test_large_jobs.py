"""One job of many ranks: whatever is done about it leaves the event loop to others meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any, cast

import pytest

from insitu.databases import DataSource
from insitu.errors import ConfigurationError
from insitu.topology import DatabaseNode, NodeId, Shard, ShardId, Topology
from insitu_operator.core.decision import BindWorkers
from insitu_operator.core.objects import bindings
from insitu_operator.core.objects.machines import NodeState
from insitu_operator.core.objects.settings import TrainerSettings
from insitu_operator.core.observed import Machine, Reading
from insitu_operator.core.plan import Assigned, Plan
from insitu_operator.core.record import Record
from insitu_operator.kubernetes import Api, Json
from insitu_operator.kubernetes.api import PAGE, PAGE_BYTES, page_size
from insitu_operator.shell.aside import LARGE, aside
from insitu_operator.shell.reconciling import actions
from insitu_operator.shell.reconciling.actions import Actions, Scene
from insitu_operator.shell.reconciling.memory import Memory
from tests.unit.job_builders import START, job
from tests.unit.pod_builders import gated

SOURCE = DataSource("ignite", (("10.0.0.7", 10800),), "DIGITS")


class Loop:
    """Counts the turns of the event loop, in which the lease could be renewed."""

    def __init__(self) -> None:
        self.turn = 0

    async def turning(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)


class Patched:
    """An API server that takes patches of pods."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def strategic(self, path: str, _body: Json) -> Json:
        await asyncio.sleep(0)
        self.paths.append(path)
        return {}


def scene(ranks: int) -> Scene:
    """A plan of so many ranks, each with two shards and a waiting pod."""
    nodes = tuple(DatabaseNode(NodeId(f"n{r}"), f"host-{r}", 10800) for r in range(ranks))
    shards = tuple(
        Shard(ShardId(str(s)), (nodes[s % ranks].id,), weight=1) for s in range(2 * ranks)
    )
    parts = tuple(
        Assigned(r, node.id, (ShardId(str(r)), ShardId(str(r + ranks))), 2)
        for r, node in enumerate(nodes)
    )
    memory = Memory("u")
    memory.remember(Record(Plan(1, "v", parts), START), None)
    pods = [gated(r) for r in range(ranks)]
    for pod in pods:
        pod["metadata"]["namespace"] = "ml"
    return Scene(
        job(uid="u"),
        memory,
        tuple(pods),
        Reading(Topology(nodes, shards, "v"), START),
        SOURCE,
        {node.id: Machine(f"m{r}") for r, node in enumerate(nodes)},
        {f"m{r}": NodeState(f"m{r}", f"m{r}") for r in range(ranks)},
    )


async def bind(scene: Scene, api: Patched) -> None:
    await Actions(cast("Api", api), TrainerSettings(), lambda *_: None).do(scene, BindWorkers(1))


def test_the_loop_turns_between_any_two_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    made: Counter[int] = Counter()
    loop, api = Loop(), Patched()

    def binding(*args: Any) -> Json:
        made[loop.turn] += 1
        return bindings.binding(*args)

    monkeypatch.setattr(actions, "binding", binding)

    async def main() -> None:
        turning = asyncio.create_task(loop.turning())
        await bind(scene(300), api)
        turning.cancel()

    asyncio.run(main())
    assert len(api.paths) == 300
    assert set(made.values()) == {1}


def test_a_rank_that_can_not_be_bound_leaves_all_unbound() -> None:
    found, api = scene(3), Patched()
    found.pods[2]["metadata"]["annotations"]["notes"] = "x" * 262_000
    with pytest.raises(ConfigurationError, match="annotations of its pod"):
        asyncio.run(bind(found, api))
    assert api.paths == []


@pytest.mark.parametrize(("size", "here"), [(LARGE, True), (LARGE + 1, False)])
def test_large_work_leaves_the_thread_of_the_loop(size: int, here: bool) -> None:
    async def main() -> int:
        return await aside(size, threading.get_ident)

    assert (asyncio.run(main()) == threading.get_ident()) is here


def test_pages_are_as_long_as_their_objects_are_short() -> None:
    assert page_size(100, 100 * 500) == PAGE
    assert page_size(100, 100 * 24_000) == PAGE_BYTES // 24_000
    assert page_size(1, 10 * PAGE_BYTES) == 1
