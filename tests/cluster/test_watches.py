"""What kopf hears of a real API server, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from insitu_operator.core.objects.names import MANAGED
from insitu_operator.kubernetes import Json
from insitu_operator.shell.metrics import Metrics
from insitu_operator.shell.watching.pulse import SILENT_SECONDS, Pulse
from insitu_operator.shell.watching.watches import WatchesEnded, watch, watched_paths
from testbed.cluster import Cluster
from tests.cluster.definitions import CRD, define
from tests.cluster.manifests import Space
from tests.cluster.operators import until
from tests.cluster.watch_proxy import WatchProxy, proxy

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("definition")]


@dataclass
class Seen:
    """Notes events as (plural, kind, name)."""

    events: list[tuple[str, str | None, str]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def training_job(self, kind: str | None, body: Json) -> None:
        self._note("trainingjobs", kind, body)

    def pod(self, kind: str | None, body: Json) -> None:
        self._note("pods", kind, body)

    def node(self, kind: str | None, body: Json) -> None:
        self._note("nodes", kind, body)

    def endpoint_slice(self, kind: str | None, body: Json) -> None:
        self._note("endpointslices", kind, body)

    def _note(self, plural: str, kind: str | None, body: Json) -> None:
        self.events.append((plural, kind, body["metadata"]["name"]))
        self.news.set()

    def has(self, name: str) -> bool:
        return any(name == seen for _, _, seen in self.events)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not true():
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def watching(
    space: Space, pulse: Pulse | None = None, inactivity_seconds: float = 70
) -> AsyncIterator[Seen]:
    seen, ready = Seen(), asyncio.Event()
    pulse = pulse or Pulse(watched_paths([space.name]))
    run = watch(seen, [space.name], pulse, Metrics(), ready, inactivity_seconds)
    seen.task = task = asyncio.create_task(run)
    try:
        await ready.wait()
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(scope="module")
def definition(cluster: Cluster) -> Iterator[None]:
    define(cluster)
    yield
    cluster.kubectl("delete", "-f", str(CRD))


@pytest.fixture
def kubeconfig(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(space.cluster.kubeconfig))


def pod(space: Space, name: str, **labels: str) -> Json:
    spec = {"schedulingGates": [{"name": "test/gate"}], **space.pod_spec("pass")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


@pytest.mark.usefixtures("kubeconfig")
def test_only_managed_pods_are_heard_of(space: Space) -> None:
    async def main() -> list[tuple[str, str | None, str]]:
        async with watching(space) as seen:
            space.apply(pod(space, "stranger"), pod(space, "ours", **{MANAGED: "true"}))
            await seen.until(lambda: seen.has("ours"))
            space.kubectl("delete", "pod", "ours", "stranger")
            await seen.until(lambda: ("pods", "DELETED", "ours") in seen.events)
            return seen.events

    assert "stranger" not in {name for _, _, name in asyncio.run(main())}


@pytest.mark.usefixtures("kubeconfig")
def test_what_was_there_before_is_heard_of_as_listed(space: Space) -> None:
    space.apply(pod(space, "ours", **{MANAGED: "true"}))

    async def main() -> None:
        async with watching(space) as seen:
            expected = {("pods", None, "ours")}
            expected |= {("nodes", None, node.name) for node in space.cluster.nodes}
            await seen.until(lambda: expected <= set(seen.events))

    asyncio.run(main())


@pytest.mark.usefixtures("kubeconfig")
def test_nothing_is_written_on_an_object(space: Space) -> None:
    space.apply(pod(space, "ours", **{MANAGED: "true"}))
    before = json.loads(space.kubectl("get", "pod", "ours", "-o", "json"))["metadata"]

    async def main() -> None:
        async with watching(space) as seen:
            await seen.until(lambda: ("pods", None, "ours") in seen.events)

    asyncio.run(main())
    after = json.loads(space.kubectl("get", "pod", "ours", "-o", "json"))["metadata"]
    assert not after.get("finalizers")
    assert before.get("annotations") == after.get("annotations")


@pytest.mark.usefixtures("kubeconfig")
def test_watches_go_on_after_the_api_server_was_away(space: Space) -> None:
    server = space.cluster.api_server

    async def main() -> None:
        async with watching(space) as seen:
            await seen.until(lambda: any(plural == "nodes" for plural, _, _ in seen.events))
            server.kill()
            server.start()
            await asyncio.to_thread(space.cluster.wait_ready)
            space.apply(pod(space, "late", **{MANAGED: "true"}))
            await seen.until(lambda: seen.has("late"))

    try:
        asyncio.run(main())
    finally:
        server.start()
        space.cluster.wait_ready()


@pytest.mark.usefixtures("kubeconfig")
def test_each_watch_is_seen_to_live(space: Space) -> None:
    now = iter([0.0, 2 * SILENT_SECONDS, *[2 * SILENT_SECONDS] * 10_000])

    async def main() -> None:
        pulse = Pulse(watched_paths([space.name]), lambda: next(now))
        assert pulse.problem()
        async with watching(space, pulse) as seen:
            # Something happens only after its watch began.
            await seen.until(lambda: any(plural == "nodes" for plural, _, _ in seen.events))
            await asyncio.to_thread(until, lambda: pulse.problem() is None, pulse.problem)

    asyncio.run(main())


@contextmanager
def cut_watches(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WatchProxy]:
    file = tmp_path / "kubeconfig"
    with proxy(space.cluster.kubeconfig, file) as served:
        monkeypatch.setenv("KUBECONFIG", str(file))
        yield served


@pytest.mark.parametrize("cut", ["gone", "closed", "silent"])
def test_a_watch_that_was_cut_misses_nothing(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    async def main(served: WatchProxy) -> None:
        async with watching(space, inactivity_seconds=2) as seen:
            await asyncio.to_thread(served.until_watched, "pods")
            getattr(served, cut)("pods")
            space.apply(pod(space, "late", **{MANAGED: "true"}))
            await seen.until(lambda: seen.has("late"))

    with cut_watches(space, tmp_path, monkeypatch) as served:
        asyncio.run(main(served))


def test_watches_end_when_the_api_server_fails_inside_of_one(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(served: WatchProxy) -> None:
        async with watching(space) as seen:
            await asyncio.to_thread(served.until_watched, "pods")
            served.error("pods", 500)
            assert seen.task
            with pytest.raises(WatchesEnded):
                await asyncio.wait_for(seen.task, 30)

    with cut_watches(space, tmp_path, monkeypatch) as served:
        asyncio.run(main(served))
