"""The native protocol against servers that say exactly what a test wants them to."""

from __future__ import annotations

import socket
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from cassandra.cluster import NoHostAvailable
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.databases import Credentials, DataSource, ReadLimits
from insitu.databases.cassandra.cluster.control import _cluster as driver
from insitu.databases.cassandra.protocol.connection import CONTROL_BYTES, Connection
from insitu.databases.cassandra.protocol.faults import (
    Code,
    Refused,
    ServerError,
    Unprepared,
    explain,
)
from insitu.databases.cassandra.protocol.messages import HEADER, Opcode
from insitu.databases.cassandra.protocol.results import Prepared
from insitu.databases.cassandra.ranges import RING, format_range
from insitu.databases.cassandra.reading.reader import CassandraReader
from insitu.databases.cassandra.reading.statement import Select
from insitu.errors import (
    AuthenticationError,
    DatabaseUnavailable,
    InsituError,
    ProtocolError,
)
from insitu.topology import DatabaseNode, NodeId
from tests.cassandra_values import INT, cell

Serve = Callable[[socket.socket], None]
HOST = uuid.UUID(int=7)
STATEMENT = Prepared(b"id", ())
UUID_CODE, INT_CODE = 0x0C, 0x09


def string(text: str) -> bytes:
    return struct.pack(">H", len(text.encode())) + text.encode()


def frame(stream: int, opcode: int, body: bytes, flags: int = 0, version: int = 0x84) -> bytes:
    return HEADER.pack(version, flags, stream, opcode, len(body)) + body


def error(stream: int, code: int, text: str = "what") -> bytes:
    return frame(stream, Opcode.ERROR, INT.pack(code) + string(text))


def columns(code: int, *names: str) -> bytes:
    each = b"".join(string(name) + struct.pack(">H", code) for name in names)
    return INT.pack(1) + INT.pack(len(names)) + string("k") + string("t") + each


def rows(code: int, name: str, *values: bytes) -> bytes:
    return INT.pack(2) + columns(code, name) + INT.pack(len(values)) + b"".join(map(cell, values))


def page(*values: int, state: bytes | None = None) -> bytes:
    """Rows of an int, without the metadata."""
    head = INT.pack(4 | (2 if state else 0)) + INT.pack(1) + (cell(state) if state else b"")
    cells = b"".join(cell(INT.pack(value)) for value in values)
    return INT.pack(2) + head + INT.pack(len(values)) + cells


def prepared() -> bytes:
    bound = INT.pack(0) + INT.pack(0) + INT.pack(0) + string("k") + string("t")
    return (
        INT.pack(4)
        + string("id")
        + bound.replace(INT.pack(0), INT.pack(1), 1)
        + columns(INT_CODE, "id")
    )


def take(sock: socket.socket) -> tuple[int, int, bytes]:
    """Stream, opcode and body of the next request."""
    head = sock.recv(HEADER.size, socket.MSG_WAITALL)
    if len(head) < HEADER.size:
        raise OSError("the client is gone")
    _, _, stream, opcode, size = HEADER.unpack(head)
    return stream, opcode, sock.recv(size, socket.MSG_WAITALL) if size else b""


@contextmanager
def server(serve: Serve, connections: int = 1) -> Iterator[tuple[str, int]]:
    """Serves so many connections, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            with suppress(OSError):  # the listener was shut down
                for left in reversed(range(connections)):
                    with listener.accept()[0] as sock, suppress(OSError):
                        if not left:
                            listener.close()  # whoever comes later is refused at once
                        serve(sock)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            assert not thread.is_alive()


def login(sock: socket.socket) -> None:
    take(sock)
    sock.sendall(frame(0, Opcode.READY, b""))


def answering(*replies: bytes) -> Serve:
    def serve(sock: socket.socket) -> None:
        for reply in replies:
            take(sock)
            sock.sendall(reply)

    return serve


def table(*pages: Callable[[int], bytes]) -> Serve:
    """A whole node with one table: each EXECUTE is answered by the next of `pages`."""
    left = iter(pages)

    def serve(sock: socket.socket) -> None:
        login(sock)
        while True:
            stream, opcode, _ = take(sock)
            if opcode == Opcode.QUERY:
                reply = frame(stream, Opcode.RESULT, rows(UUID_CODE, "host_id", HOST.bytes))
            elif opcode == Opcode.PREPARE:
                reply = frame(stream, Opcode.RESULT, prepared())
            else:
                reply = next(left)(stream)
            sock.sendall(reply)

    return serve


def giving(*values: int, state: bytes | None = None) -> Callable[[int], bytes]:
    return lambda stream: frame(stream, Opcode.RESULT, page(*values, state=state))


def failing(code: int, text: str = "what") -> Callable[[int], bytes]:
    return lambda stream: error(stream, code, text)


def read_all(*pages: Callable[[int], bytes], connections: int = 1) -> list[int]:
    """What a reader makes of a node that answers with `pages`."""
    with server(table(*pages), connections) as (host, port):
        node = DatabaseNode(NodeId(str(HOST)), host, port)
        reader = CassandraReader(
            node,
            Select("k", "t", ("id",), ("id",)),
            lambda: Connection.open(host, port),
            ReadLimits(connections=1),
        )
        try:
            batches = list(reader.open(format_range(RING)))
        finally:
            reader.close()
        return [row for batch in batches for row in batch.column("id").to_pylist()]


def test_pages_are_read_to_the_last_one_also_over_empty_ones() -> None:
    pages = (giving(1, 2, state=b"a"), giving(state=b"b"), giving(3))
    assert read_all(*pages) == [1, 2, 3]


@pytest.mark.parametrize("code", [Code.READ_TIMEOUT, Code.READ_FAILURE, Code.OVERLOADED])
def test_a_page_that_was_too_much_is_asked_for_again(code: Code) -> None:
    assert read_all(giving(1, state=b"a"), failing(code), giving(2)) == [1, 2]


def test_a_server_that_never_manages_is_given_up() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"not even \d+ rows at a time.*time-out|slow"):
        read_all(*[failing(Code.READ_TIMEOUT)] * 9)


def test_a_server_that_fails_for_no_reason_is_asked_three_times() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"tried 3 times.*disk on fire"):
        read_all(*[failing(0, "disk on fire")] * 3)
    assert read_all(*[failing(0)] * 2, giving(1)) == [1]


def test_a_forgotten_statement_is_prepared_again() -> None:
    assert read_all(giving(1, state=b"a"), failing(Code.UNPREPARED), giving(2)) == [1, 2]


def test_a_connection_cut_in_mid_table_is_opened_again() -> None:
    def cut(stream: int) -> bytes:
        raise OSError

    assert read_all(giving(1, state=b"a"), cut, giving(2), connections=2) == [1, 2]


def test_a_page_that_lies_about_itself_raises() -> None:
    def lying(stream: int) -> bytes:
        return frame(stream, Opcode.RESULT, page(1)[:-1])

    with pytest.raises(ProtocolError):
        read_all(lying)


def test_replies_may_come_in_another_order() -> None:
    def serve(sock: socket.socket) -> None:
        login(sock)
        streams = [take(sock)[0] for _ in range(2)]
        for stream in reversed(streams):
            sock.sendall(frame(stream, Opcode.RESULT, page(stream)))

    with server(serve) as address, Connection.open(*address) as connection:
        asked = [connection.execute(STATEMENT, [], page_rows=1) for _ in range(2)]
        assert [connection.receive().stream for _ in asked] == asked[::-1]


def test_events_are_passed_over_and_warnings_cut_off() -> None:
    def serve(sock: socket.socket) -> None:
        login(sock)
        stream, _, _ = take(sock)
        sock.sendall(frame(-1, Opcode.EVENT, b"xx"))
        warnings = struct.pack(">H", 1) + string("1001 tombstones")
        sock.sendall(frame(stream, Opcode.RESULT, warnings + page(5), flags=8))

    with server(serve) as address, Connection.open(*address) as connection:
        connection.execute(STATEMENT, [], page_rows=1)
        body = connection.result(connection.receive())
        assert bytes(body or b"") == page(5)


def test_a_reply_over_the_limit_is_thrown_away_and_the_next_one_read() -> None:
    def serve(sock: socket.socket) -> None:
        login(sock)
        for body in (bytes(3 << 20), page(1)):
            sock.sendall(frame(take(sock)[0], Opcode.RESULT, body))

    with server(serve) as address, Connection.open(*address) as connection:
        connection.execute(STATEMENT, [], page_rows=1)
        large = connection.receive(1 << 20)
        assert (large.body, large.size) == (None, 3 << 20)
        connection.execute(STATEMENT, [], page_rows=1)
        assert bytes(connection.receive(1 << 20).body or b"") == page(1)


def test_a_long_answer_to_a_short_question_is_refused() -> None:
    def serve(sock: socket.socket) -> None:
        login(sock)
        stream, _, _ = take(sock)
        size = CONTROL_BYTES + 1
        sock.sendall(HEADER.pack(0x84, 0, stream, Opcode.RESULT, size) + bytes(size))

    with (
        server(serve) as (host, port),
        Connection.open(host, port) as connection,
        pytest.raises(ProtocolError, match="16,777,217 bytes, and 16,777,216 at most"),
    ):
        connection.prepare("SELECT")


def test_the_driver_takes_no_longer_answer_either() -> None:
    def serve(sock: socket.socket) -> None:
        stream, _, _ = take(sock)
        sock.sendall(HEADER.pack(0x84, 0, stream, Opcode.RESULT, 1 << 30))
        while True:
            sock.sendall(bytes(1 << 16))

    with server(serve) as (host, port):
        cluster = driver(host, port, DataSource("cassandra", ((host, port),), "k.t"))
        with pytest.raises(NoHostAvailable, match="16,777,216 at most are taken"):
            cluster.connect()
        cluster.shutdown()


def test_a_login_is_plain_and_its_refusal_has_no_password() -> None:
    seen: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        take(sock)
        sock.sendall(frame(0, Opcode.AUTHENTICATE, string("org.x.PasswordAuthenticator")))
        seen.append(take(sock)[2])
        sock.sendall(error(0, Code.BAD_CREDENTIALS, "Provided username ann is incorrect"))

    with (
        server(serve) as address,
        pytest.raises(AuthenticationError, match="username ann") as found,
    ):
        Connection.open(*address, credentials=Credentials("ann", "s3cret"))
    assert seen == [cell(b"\0ann\0s3cret")]
    assert "s3cret" not in str(found.value)


def test_a_server_that_asks_for_a_login_says_so_through_us() -> None:
    asking = answering(frame(0, Opcode.AUTHENTICATE, string("org.x.PasswordAuthenticator")))
    with (
        server(asking) as address,
        pytest.raises(AuthenticationError, match="asks for a user name"),
    ):
        Connection.open(*address)


def test_an_old_server_is_told_apart() -> None:
    old = answering(frame(0, Opcode.ERROR, INT.pack(10) + string("v3 is all"), version=0x83))
    with (
        server(old) as address,
        pytest.raises(ProtocolError, match=r"Cassandra 3.0 or newer.*v3 is all"),
    ):
        Connection.open(*address)


def test_what_is_not_cassandra_is_told_apart() -> None:
    with (
        server(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as address,
        pytest.raises(ProtocolError, match="not the native protocol"),
    ):
        Connection.open(*address)


def test_nobody_listening_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(DatabaseUnavailable, match="nothing listens there"):
        Connection.open(*address)


def test_silence_is_unavailable() -> None:
    def silent(sock: socket.socket) -> None:
        login(sock)
        take(sock)
        sock.recv(1)

    with server(silent) as address, Connection.open(*address, timeout=0.2) as connection:
        connection.execute(STATEMENT, [], page_rows=1)
        with pytest.raises(DatabaseUnavailable, match="did not answer in time"):
            connection.receive()


def test_an_answer_nobody_asked_for_is_a_protocol_error() -> None:
    def serve(sock: socket.socket) -> None:
        login(sock)
        take(sock)
        sock.sendall(frame(77, Opcode.RESULT, page(1)))

    with server(serve) as address, Connection.open(*address) as connection:
        connection.execute(STATEMENT, [], page_rows=1)
        with pytest.raises(ProtocolError, match="never made"):
            connection.receive()


@settings(max_examples=20)
@given(st.binary(max_size=40))
def test_no_reply_to_a_login_does_more_than_raise_an_error_of_ours(reply: bytes) -> None:
    with server(answering(reply)) as address, suppress(InsituError):
        Connection.open(*address, timeout=5).close()


@pytest.mark.parametrize(
    ("code", "text", "expected", "said"),
    [
        (
            Code.UNAUTHORIZED,
            "User ann has no SELECT permission on <table k.t> or any of its parents",
            AuthenticationError,
            "GRANT SELECT ON table k.t TO ann",
        ),
        (Code.INVALID, "Undefined column name x", Refused, "Undefined column name x"),
        (Code.SYNTAX, "line 1:5", Refused, "line 1:5"),
        (Code.UNPREPARED, "id", Unprepared, "forgotten"),
        (Code.UNAVAILABLE, "Cannot achieve ONE", DatabaseUnavailable, "no live replica"),
        (Code.BOOTSTRAPPING, "not yet", DatabaseUnavailable, "joining"),
        (Code.READ_FAILURE, "failed", ServerError, "0x1300"),
        (Code.PROTOCOL, "bad", ProtocolError, "bad"),
        (0x7777, "new", ServerError, "0x7777"),
    ],
)
def test_what_a_refusal_means(code: int, text: str, expected: type[InsituError], said: str) -> None:
    found = explain("h:9042", code, text)
    assert type(found) is expected
    assert said in str(found)
    assert "h:9042" in str(found)


def test_the_cure_for_tombstones_is_named() -> None:
    fault = explain("h:1", Code.READ_FAILURE, "1 failures: READ_TOO_MANY_TOMBSTONES from /1.2.3.4")
    assert isinstance(fault, ServerError)
    assert "compact the table" in fault.remedy
