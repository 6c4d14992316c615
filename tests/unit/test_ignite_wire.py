"""The connection against a server of a few lines: what a real one can't be made to say."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.databases.ignite.cluster.catalog import has_sql
from insitu.databases.ignite.protocol.connection import Connection
from insitu.databases.ignite.protocol.faults import ServerError, explain, sentence, starting
from insitu.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseUnavailable,
    DataLost,
    InsituError,
    NotOwner,
    ProtocolError,
)

NODE = UUID("01234567-89ab-cdef-0123-456789abcdef")
WELCOME = (
    b"\x01" + struct.pack("<bi", 12, 0) + b"\x0a"
    + struct.pack("<QQ", NODE.int >> 64, NODE.int & (1 << 64) - 1)
)  # fmt: skip
Serve = Callable[[socket.socket], None]


def message(payload: bytes) -> bytes:
    return struct.pack("<i", len(payload)) + payload


def string(text: str) -> bytes:
    return struct.pack("<bi", 9, len(text.encode())) + text.encode()


def refusal(text: str, status: int, version: tuple[int, int, int] = (1, 7, 0)) -> bytes:
    return message(b"\0" + struct.pack("<hhh", *version) + string(text) + struct.pack("<i", status))


def reply(number: int, body: bytes, flags: int = 0, extra: bytes = b"") -> bytes:
    return message(struct.pack("<qh", number, flags) + extra + body)


def take(sock: socket.socket) -> bytes:
    (size,) = struct.unpack("<i", sock.recv(4, socket.MSG_WAITALL))
    return sock.recv(size, socket.MSG_WAITALL)


@contextmanager
def server(*serves: Serve, host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """Serves one connection after the other, each by one of `serves`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        at = listener.getsockname()[:2]

        def run() -> None:
            with suppress(OSError):  # the listener was shut down
                for serve in serves:
                    with listener.accept()[0] as sock:
                        if serve is serves[-1]:
                            listener.close()  # whoever comes later is refused at once
                        serve(sock)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield at
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            assert not thread.is_alive()


def welcoming(*replies: bytes) -> Serve:
    """Accepts the handshake, then answers each request with the next of `replies`."""

    def serve(sock: socket.socket) -> None:
        take(sock)
        sock.sendall(message(WELCOME))
        for answer in replies:
            take(sock)
            sock.sendall(answer)

    return serve


def answering(answer: bytes) -> Serve:
    def serve(sock: socket.socket) -> None:
        take(sock)
        sock.sendall(answer)

    return serve


def hanging_up(sock: socket.socket) -> None:
    take(sock)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_connection_knows_the_node_it_leads_to(host: str) -> None:
    with server(welcoming(), host=host) as at, Connection.open(*at) as connection:
        assert connection.node == NODE


def test_the_topology_is_taken_from_any_reply() -> None:
    flagged = reply(1, b"body", flags=2, extra=struct.pack("<qi", 4, 1))
    with (
        server(welcoming(flagged, reply(2, b"next"))) as at,
        Connection.open(*at) as connection,
    ):
        assert connection.topology_version is None
        assert bytes(connection.request(1)) == b"body"
        assert connection.topology_version == (4, 1)
        assert bytes(connection.request(1)) == b"next"
        assert connection.topology_version == (4, 1)


def test_a_refusal_may_carry_a_topology_too() -> None:
    extra = struct.pack("<qii", 5, 0, 1) + string("class org.x.IgniteException: no [a=1]")
    with server(welcoming(reply(1, b"", 3, extra))) as at, Connection.open(*at) as connection:
        with pytest.raises(ServerError, match=r"refused the request \(status 1\): no$"):
            connection.request(1)
        assert connection.topology_version == (5, 0)


def test_replies_may_come_in_another_order() -> None:
    both = reply(2, b"second") + reply(1, b"first")
    with server(welcoming(b"", both)) as at, Connection.open(*at) as connection:
        first, second = connection.send(1), connection.send(1)
        assert bytes(connection.receive(first)) == b"first"
        assert bytes(connection.receive(second)) == b"second"


def test_notifications_are_passed_over() -> None:
    with (
        server(welcoming(reply(99, b"", flags=4) + reply(1, b"mine"))) as at,
        Connection.open(*at) as connection,
    ):
        assert bytes(connection.request(1)) == b"mine"


def test_a_body_stays_as_it_is_when_the_next_one_comes() -> None:
    with (
        server(welcoming(reply(1, b"one"), reply(2, b"two"))) as at,
        Connection.open(*at) as connection,
    ):
        first = connection.request(1)
        connection.request(1)
        assert bytes(first) == b"one"


def test_a_node_in_start_up_is_waited_for() -> None:
    starting_up = answering(refusal("Node in recovery mode.", 11))
    with (
        server(starting_up, starting_up, welcoming()) as at,
        Connection.open(*at) as connection,
    ):
        assert connection.node == NODE


def test_a_node_that_never_gets_ready_is_given_up() -> None:
    with (
        server(answering(refusal("Node in recovery mode.", 11))) as at,
        pytest.raises(DatabaseUnavailable, match="still starting after"),
    ):
        Connection.open(*at, timeout=0.05)


def test_an_old_server_is_told_apart() -> None:
    with (
        server(answering(refusal("Unsupported version", 1, version=(1, 4, 0)))) as at,
        pytest.raises(ProtocolError, match=r"speaks client protocol 1\.4\.0, and 1\.7\.0"),
    ):
        Connection.open(*at)


def test_what_is_not_ignite_is_told_apart() -> None:
    def http(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with (
        server(http) as at,
        pytest.raises(ProtocolError, match="is not Ignite's client port"),
    ):
        Connection.open(*at)


def test_nobody_listening_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DatabaseUnavailable, match=f"127.0.0.1:{port} refused the connection"):
        Connection.open("127.0.0.1", port)


def test_an_unknown_name_is_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"'no-such-host\.invalid' can't be resolved"):
        Connection.open("no-such-host.invalid", 10800)


def test_a_reset_in_the_middle_of_a_reply_is_unavailable() -> None:
    def cut(sock: socket.socket) -> None:
        welcoming(struct.pack("<i", 100) + b"only a part")(sock)

    with server(cut) as at, Connection.open(*at) as connection:
        with pytest.raises(DatabaseUnavailable, match="closed the connection"):
            connection.request(1)
        with pytest.raises(DatabaseUnavailable, match="is closed"):
            connection.request(1)


def test_silence_is_unavailable() -> None:
    done = threading.Event()

    def silent(sock: socket.socket) -> None:
        welcoming()(sock)
        done.wait(10)

    with server(silent) as at, Connection.open(*at, timeout=0.05) as connection:
        with pytest.raises(DatabaseUnavailable, match="did not answer in time"):
            connection.request(1)
        done.set()


@pytest.mark.parametrize(
    "answer",
    [
        struct.pack("<i", -1),
        struct.pack("<i", 3) + b"abc",
        reply(1, b"", flags=2),
        reply(1, b"", flags=1, extra=b"\1\0"),
        reply(77, b"never asked"),
    ],
)
def test_a_malformed_reply_is_a_protocol_error(answer: bytes) -> None:
    with (
        server(welcoming(answer)) as at,
        Connection.open(*at) as connection,
        pytest.raises(ProtocolError, match="at 127"),
    ):
        connection.request(1)


def test_a_reply_over_the_limit_is_refused_with_both_sizes() -> None:
    with (
        server(welcoming(struct.pack("<i", (1 << 31) - 1))) as at,
        Connection.open(*at) as connection,
        pytest.raises(ProtocolError, match="2,147,483,647 bytes came, and 16,777,216 at most"),
    ):
        connection.request(1)


@pytest.mark.parametrize(
    ("said", "sql"),
    [
        ("Failed to execute query because indexing is disabled (consider adding module)", False),
        ("Too many open cursors (either close other open cursors or increase the limit)", None),
    ],
)
def test_only_a_server_that_says_so_has_no_sql(said: str, sql: bool | None) -> None:
    refused = reply(1, b"", 1, struct.pack("<i", 1) + string(said))
    with server(welcoming(refused)) as at, Connection.open(*at) as connection:
        if sql is None:
            with pytest.raises(ServerError, match="Too many open cursors"):
                has_sql(connection)
        else:
            assert has_sql(connection) is sql


def test_closing_twice_is_fine() -> None:
    with server(welcoming()) as at:
        connection = Connection.open(*at)
        connection.close()
        connection.close()


@given(st.binary(max_size=200))
def test_no_handshake_reply_does_more_than_raise_an_error_of_ours(payload: bytes) -> None:
    with server(answering(message(payload))) as at, suppress(InsituError):
        Connection.open(*at, timeout=0.2).close()


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (2000, "The user name or password is incorrect [userName=x]", AuthenticationError),
        (1012, "Authorization failed [perm=CACHE_READ]", AuthenticationError),
        (1000, "Cache does not exist [cacheId= 5]", ConfigurationError),
        (
            1,
            "class org.apache.ignite.IgniteCheckedException: No queryable nodes for partition 1 "
            "[forced local query=CacheQuery [type=SCAN, part=1]]",
            NotOwner,
        ),
        (1, "javax.cache.CacheException: Partition 7 can not be reserved", NotOwner),
        (
            1,
            "class o.a.CacheInvalidStateException: Failed to execute query because cache "
            "partition has been lostParts [cacheName=t, part=3]",
            DataLost,
        ),
        (1, "Can not perform the operation because the cluster is inactive.", DatabaseUnavailable),
        (1, "50000: Java heap space", ServerError),
    ],
)
def test_what_a_refusal_means(status: int, text: str, error: type[InsituError]) -> None:
    assert type(explain("h:1", status, text)) is error


def test_a_page_the_server_had_no_memory_for_can_be_told() -> None:
    fault = explain("h:1", 1, "50000: Java heap space")
    assert isinstance(fault, ServerError)
    assert fault.out_of_memory


def test_a_view_that_is_not_there_yet_can_be_told() -> None:
    fault = explain("h:1", 1, '42000: Failed to parse query. Table "TABLES" not found; SQL...')
    assert isinstance(fault, ServerError)
    assert fault.no_such_table


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class org.a.B: class org.c.D$E: What [x=1, y=[2]]", "What"),
        ("50000: class org.a.B: partition has been lostPart [part=1]", "partition has been lost"),
        ('Failed to parse query. Column "A" not found; SQL statement:\nSELECT', None),
        ("javax.cache.CacheException: ", "javax.cache.CacheException:"),
        ("", "no reason given"),
    ],
)
def test_only_the_sentence_of_a_dump_is_kept(text: str, said: str | None) -> None:
    assert sentence(text) == (said or 'Failed to parse query. Column "A" not found')


def test_a_wrong_password_is_not_waited_for() -> None:
    assert not starting(2000, "Node in recovery mode")
