"""How databases that hang are kept from holding up those of others."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network

import pytest

from insitu.databases import DataSource
from insitu.databases import connect as connect_database
from insitu.databases.sockets import OpenSockets, connect, read_exactly
from insitu.errors import ConfigurationError, DatabaseUnavailable
from insitu_operator.shell.databases.addresses import all_but
from insitu_operator.shell.databases.turns import Turns


async def taken(turns: Turns, namespace: str, wanted: int) -> int:
    """How many of so many turns the namespace gets at once."""
    tasks = [asyncio.create_task(turns.take(namespace)) for _ in range(wanted)]
    for _ in range(5):
        await asyncio.sleep(0)
    done = sum(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return done


def test_no_namespace_takes_the_threads_of_all() -> None:
    async def main() -> list[int]:
        turns = Turns(32)
        return [await taken(turns, name, 100) for name in ("evil", "good", "late", "later")]

    assert asyncio.run(main()) == [16, 8, 4, 2]


def test_each_namespace_has_a_turn() -> None:
    async def main() -> set[int]:
        turns = Turns(4)
        return {await taken(turns, str(n), 1) for n in range(50)}

    assert asyncio.run(main()) == {1}


def test_a_turn_that_is_given_back_goes_to_whoever_waits() -> None:
    async def main() -> None:
        turns = Turns(4)
        assert await taken(turns, "ml", 2) == 2
        waiting = asyncio.create_task(turns.take("ml"))
        await asyncio.sleep(0)
        turns.give("ml")
        await waiting
        assert await taken(turns, "ml", 1) == 0

    asyncio.run(main())


@contextmanager
def server(answer: bytes = b"") -> Iterator[int]:
    """One that sends `answer` byte after byte, for ever, or nothing; yields its port."""
    ending = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                while answer and not ending.wait(0.02):
                    try:
                        peer.sendall(answer)
                    except OSError:
                        return
                ending.wait()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ending.set()
            thread.join()


def test_a_server_that_sends_byte_after_byte_is_given_up() -> None:
    with (
        server(b"x") as port,
        connect("127.0.0.1", port, "it", 0.2) as sock,
        pytest.raises(TimeoutError, match="sends too slowly"),
    ):
        read_exactly(sock, 10_000)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("kind", ["ignite", "cassandra"])
def test_an_address_that_is_denied_is_not_connected_to(kind: str, host: str) -> None:
    denied = OpenSockets(all_but([ip_network("127.0.0.0/8"), ip_network("::1")]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        source = DataSource(kind, ((host, port),), "T" if kind == "ignite" else "ks.t")
        with (
            denied.watched(),
            pytest.raises(ConfigurationError, match="which the operator may not connect to"),
        ):
            connect_database(source).topology()
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.0.0.7", True),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("fe80::1%eth0", False),
        ("fd00::1", True),
    ],
)
def test_networks_are_denied_in_any_spelling(address: str, allowed: bool) -> None:
    denied = [ip_network("169.254.0.0/16"), ip_network("fe80::/10")]
    assert all_but(denied)(address) is allowed


@pytest.mark.parametrize("kind", ["ignite", "cassandra"])
def test_another_thread_can_end_the_wait_for_a_server(kind: str) -> None:
    opened, problems = OpenSockets(), list[DatabaseUnavailable]()
    with server() as port:
        table = "T" if kind == "ignite" else "ks.t"
        source = DataSource(kind, (("127.0.0.1", port),), table)

        def read() -> None:
            with opened.watched(), pytest.raises(DatabaseUnavailable) as problem:
                connect_database(source).topology()
            problems.append(problem.value)

        thread = threading.Thread(target=read)
        thread.start()
        opened.end()
        thread.join(20)
        assert not thread.is_alive()
    assert problems
