"""Of several operators one leads, on a real API server that may go away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from insitu_operator.kubernetes import connect
from insitu_operator.shell.leading.leader import Elector, LeaseLost
from insitu_operator.shell.leading.lease import Times
from tests.cluster.manifests import Space

pytestmark = pytest.mark.cluster

TIMES = Times(lease=3.0, deadline=1.5, retry=0.2)
NAME = "operator"


@asynccontextmanager
async def elector(space: Space, identity: str) -> AsyncIterator[Elector]:
    async with connect(kubeconfig=space.cluster.kubeconfig) as api:
        yield Elector(api, space.name, NAME, identity, TIMES)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 60))


def lease(space: Space) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(space.kubectl("get", "lease", NAME, "-o", "json"))["spec"]
    return spec


def test_of_two_at_once_one_leads_and_the_other_waits(space: Space) -> None:
    async def main() -> None:
        async with elector(space, "one") as one, elector(space, "two") as two:
            tasks = [asyncio.create_task(each.lead()) for each in (one, two)]
            done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            assert (len(done), len(waiting)) == (1, 1)
            assert one.leads != two.leads
            leader, other = (one, two) if one.leads else (two, one)
            holding = asyncio.create_task(leader.hold())
            finished, _ = await asyncio.wait([holding, *waiting], timeout=2 * TIMES.lease)
            assert not finished
            assert leader.leads
            assert other.leader == ("one" if leader is one else "two")
            for task in (holding, *waiting):
                task.cancel()

    run(main)
    assert lease(space)["renewTime"].endswith("Z")


def test_the_lease_of_one_that_was_killed_runs_out_first(space: Space) -> None:
    async def main() -> None:
        async with elector(space, "one") as one, elector(space, "two") as two:
            await one.lead()
            began = time.monotonic()
            await two.lead()
            assert not one.leads, "two lead at once"
            assert time.monotonic() - began >= TIMES.lease - TIMES.retry
            assert two.leads

    run(main)
    assert lease(space)["leaseTransitions"] == 1


def test_a_released_lease_is_taken_at_once(space: Space) -> None:
    async def main() -> None:
        async with elector(space, "one") as one, elector(space, "two") as two:
            await one.lead()
            waiting = asyncio.create_task(two.lead())
            await one.release()
            assert not one.leads
            await asyncio.wait_for(waiting, TIMES.lease / 2)

    run(main)
    assert lease(space)["holderIdentity"] == "two"


def test_a_process_that_starts_again_in_its_pod_leads_at_once(space: Space) -> None:
    async def main() -> None:
        async with elector(space, "pod") as before, elector(space, "pod") as after:
            await before.lead()
            await asyncio.wait_for(after.lead(), TIMES.lease / 2)

    run(main)
    assert lease(space)["leaseTransitions"] == 0


def test_a_leader_whose_lease_was_taken_ends(space: Space) -> None:
    async def main() -> None:
        async with elector(space, "one") as one, elector(space, "two"):
            await one.lead()
            change = {"spec": {"holderIdentity": "two"}}
            space.kubectl("patch", "lease", NAME, "--type=merge", "-p", json.dumps(change))
            with pytest.raises(LeaseLost, match="two holds the lease"):
                await one.hold()

    run(main)


def test_a_lease_that_was_deleted_is_made_again(space: Space) -> None:
    async def main() -> None:
        async with elector(space, "one") as one:
            await one.lead()
            space.kubectl("delete", "lease", NAME)
            holding = asyncio.create_task(one.hold())
            done, _ = await asyncio.wait([holding], timeout=TIMES.deadline)
            assert not done
            assert one.leads
            holding.cancel()

    run(main)
    assert lease(space)["holderIdentity"] == "one"


def test_without_the_api_server_leading_ends_before_the_lease_does(space: Space) -> None:
    server = space.cluster.api_server

    async def main() -> None:
        async with elector(space, "one") as one:
            await one.lead()
            server.kill()
            began = time.monotonic()
            with pytest.raises(LeaseLost, match="no renewal"):
                await one.hold()
            assert one.leads, "another one could lead by now"
            assert time.monotonic() - began <= TIMES.lease

    try:
        run(main)
    finally:
        server.start()
        space.cluster.wait_ready()


def test_an_election_waits_for_an_api_server_that_comes_back(space: Space) -> None:
    server = space.cluster.api_server

    async def main() -> None:
        async with elector(space, "one") as one:
            leading = asyncio.create_task(one.lead())
            done, _ = await asyncio.wait([leading], timeout=1)
            assert not done
            server.start()
            await leading

    server.kill()
    try:
        run(main)
    finally:
        server.start()
        space.cluster.wait_ready()
