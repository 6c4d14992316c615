"""How ranks meet and talk over TCP, without TensorFlow."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from insitu.contract import Assignment
from insitu.contract.ports import free_port
from insitu.errors import ConfigurationError, PeerLost
from insitu.tensorflow.link import Link, pack, receive, unpack
from insitu.tensorflow.meeting import join, own_address
from tests.ranks import a_job


def plan(world_size: int, **changes: Any) -> list[Assignment]:
    master = ("127.0.0.1", free_port())
    return [
        a_job(rank=rank, world_size=world_size, master=master, **changes)
        for rank in range(world_size)
    ]


def on_all(
    ranks: Sequence[Assignment], work: Callable[[Link], Any], *, timeout_seconds: float = 10
) -> list[Any]:
    """`work` on every rank once all have met; an error stands for its result."""

    with ThreadPoolExecutor(len(ranks)) as pool:
        return list(pool.map(lambda rank: on_one(rank, work, timeout_seconds), ranks))


def on_one(assignment: Assignment, work: Callable[[Link], Any], timeout_seconds: float = 10) -> Any:
    """The same on one rank."""
    try:
        link = join(assignment, join_seconds=10, timeout_seconds=timeout_seconds)
    except (PeerLost, ConfigurationError) as error:
        return error
    try:
        return work(link)
    except PeerLost as error:
        return error
    finally:
        with contextlib.suppress(PeerLost):
            link.close(together=False)


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_every_rank_gets_what_all_say_in_the_order_of_ranks(world_size: int) -> None:
    def talk(link: Link) -> Any:
        texts = link.all_gather_bytes(b"x" * 100_000 * link.rank)
        numbers = link.all_gather(np.array([link.rank, -(1 << 62)]))
        return [len(text) for text in texts], numbers.tolist()

    expected = (
        [100_000 * rank for rank in range(world_size)],
        [[rank, -(1 << 62)] for rank in range(world_size)],
    )
    assert on_all(plan(world_size), talk) == [expected] * world_size


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_rank_that_goes_away_is_noticed_by_all_others(lost: int) -> None:
    def talk(link: Link) -> Any:
        link.all_gather_bytes(b"here")
        if link.rank == lost:
            return "gone"
        return link.all_gather_bytes(b"still here")

    found = on_all(plan(3), talk)
    assert found.pop(lost) == "gone"
    assert [type(each) for each in found] == [PeerLost, PeerLost]


def test_a_rank_that_says_nothing_is_waited_for_only_so_long() -> None:
    def talk(link: Link) -> Any:
        if link.rank == 1:
            with contextlib.suppress(OSError, EOFError):  # Until rank 0 has had enough.
                receive(link._peers[0], time.monotonic() + 10)
            return "silent"
        return link.all_gather_bytes(b"there?")

    first, _ = on_all(plan(2), talk, timeout_seconds=0.2)
    assert isinstance(first, PeerLost)
    assert "no answer in time" in str(first) or "timed out" in str(first)


def test_after_a_loss_nothing_is_said_any_more() -> None:
    def talk(link: Link) -> Any:
        if link.rank:
            return None
        for _ in range(2):
            with contextlib.suppress(PeerLost):
                link.all_gather_bytes(b"")
        return link.all_gather_bytes(b"")

    assert "went away before" in str(on_all(plan(2), talk)[0])


def test_ranks_that_do_not_come_are_named() -> None:
    first = plan(3)[0]
    with pytest.raises(PeerLost, match="these ranks did not come: 1, 2"):
        join(first, join_seconds=0.2, timeout_seconds=1)
    with pytest.raises(PeerLost, match=r"rank 1 did not meet all others at 127\.0\.0\.1"):
        join(replace(first, rank=1), join_seconds=0.2, timeout_seconds=1)


def test_a_rank_of_another_generation_is_sent_away() -> None:
    old, new = plan(2)
    late = replace(new, generation=7)

    def talk(link: Link) -> Any:
        return list(link.all_gather_bytes(b"%d" % link.rank))

    with ThreadPoolExecutor() as pool:
        first = pool.submit(on_one, old, talk)
        # Rank 0 goes on waiting for the right one, so that this one is sure to find it.
        refused = on_one(late, talk)
        assert on_one(new, talk) == first.result() == [b"0", b"1"]
    assert "generation 1 of job 'job' with 2 ranks, and this is generation 7" in str(refused)


def test_strangers_at_the_port_disturb_nobody() -> None:
    ranks = plan(2)

    def stranger() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(ranks[0].master) as caller:
                caller.sendall(b"GET / HTTP/1.1\r\n\r\n")
                return

    def talk(link: Link) -> Any:
        return list(link.all_gather_bytes(b""))

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(on_all, ranks[:1], talk)
        pool.submit(stranger).result()
        second = pool.submit(on_all, ranks[1:], talk)
        assert first.result() == second.result() == [[b"", b""]]


def test_where_nobody_can_meet_is_said() -> None:
    with pytest.raises(ConfigurationError, match="set MASTER_ADDR and MASTER_PORT"):
        join(a_job(world_size=2), join_seconds=1, timeout_seconds=1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = a_job(world_size=2, master=taken.getsockname())
        with pytest.raises(ConfigurationError, match=r"rank 0 can't listen at 127\.0\.0\.1"):
            join(first, join_seconds=1, timeout_seconds=1)


def test_a_rank_knows_its_address_on_the_way_to_rank_0() -> None:
    first, second = plan(2)
    assert own_address(first) == "127.0.0.1"
    assert own_address(second) == "127.0.0.1"


def test_a_free_port_is_none_that_somebody_listens_on() -> None:
    taken = free_port(random.Random(1))
    with socket.create_server(("", taken)):
        assert free_port(random.Random(1)) != taken
    assert free_port(random.Random(1)) == taken < 32_768


def test_messages_of_messages_keep_their_borders() -> None:
    assert unpack(pack([b"", b"ab", b""])) == [b"", b"ab", b""]
    assert unpack(b"") == []
    with pytest.raises(EOFError):
        unpack(pack([b"abc"])[:-1])
