"""Small messages between ranks over TCP: a star with rank 0 in its middle.

TensorFlow waits for a worker that does not come without letting Python run. So the ranks meet
here first, under a time limit; here they tell each other their row counts, and here a rank that
goes away is noticed at once. Gradients go TensorFlow's own way.

A message is eight bytes of little-endian length and then that many bytes. Rank 0 collects those of
all ranks and sends each rank all of them, as one message of messages.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from insitu.errors import PeerLost
from insitu.session.collective import Ints

_LENGTH_BYTES: Final = 8


class Link:
    """The `Collective` of a generation's ranks; `meeting.join` makes one.

    Args:
        rank: This rank.
        world_size: Ranks of the generation.
        peers: On rank 0 connections to the ranks 1, 2, ...; on all others one to rank 0.
        timeout_seconds: How long an exchange may take: longer than the slowest step of any rank,
            for that is what the others wait for.
    """

    def __init__(
        self, rank: int, world_size: int, peers: Sequence[socket.socket], timeout_seconds: float
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self._peers = peers
        self._timeout = timeout_seconds

    def all_gather(self, values: Ints) -> Ints:
        """`values` (n,) of every rank, as (world_size, n)."""
        found = self.all_gather_bytes(values.astype("<i8").tobytes())
        return np.stack([np.frombuffer(each, "<i8").astype(np.int64) for each in found])

    def all_gather_bytes(self, value: bytes) -> Sequence[bytes]:
        """`value` of every rank, of any length, in the order of ranks."""
        if self.world_size == 1:
            return [value]
        deadline = time.monotonic() + self._timeout
        with self._peer_lost():
            if self.rank:
                send(self._peers[0], value, deadline)
                return unpack(receive(self._peers[0], deadline))
            values = [value, *(receive(peer, deadline) for peer in self._peers)]
            whole = pack(values)
            for peer in self._peers:
                send(peer, whole, deadline)
            return values

    def close(self, *, together: bool) -> None:
        """`together` waits for all ranks, so that none leaves while another still listens."""
        try:
            if together and self._peers:
                self.all_gather_bytes(b"leaving")
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        for peer in self._peers:
            peer.close()
        self._peers = ()

    @contextlib.contextmanager
    def _peer_lost(self) -> Iterator[None]:
        if not self._peers:
            raise PeerLost("another rank went away before")
        try:
            yield
        except (OSError, EOFError) as error:
            # The others learn of it by our own going, whoever it was.
            self._hang_up()
            raise PeerLost(
                f"another rank went away or stopped answering, while exchanging row counts: {error}"
            ) from error


def send(peer: socket.socket, value: bytes, deadline: float) -> None:
    """One message, sent before `deadline` (of `time.monotonic`). Raises OSError."""
    _limit(peer, deadline)
    peer.sendall(len(value).to_bytes(_LENGTH_BYTES, "little"))
    peer.sendall(value)


def receive(peer: socket.socket, deadline: float, most: int = 1 << 40) -> bytes:
    """One message of at most `most` bytes, whole before `deadline`.

    Raises:
        OSError: the connection failed, or `deadline` was reached.
        EOFError: the other side has closed it.
    """
    length = int.from_bytes(_exactly(peer, _LENGTH_BYTES, deadline), "little")
    if length > most:
        raise EOFError(f"a message of {length} bytes is none of ours")
    return bytes(_exactly(peer, length, deadline))


def pack(values: Sequence[bytes]) -> bytes:
    """Several messages as one."""
    return b"".join(len(each).to_bytes(_LENGTH_BYTES, "little") + each for each in values)


def unpack(whole: bytes) -> list[bytes]:
    """What `pack` made one of. Raises EOFError where the end is missing."""
    values = []
    start = 0
    while start < len(whole):
        begin = start + _LENGTH_BYTES
        start = begin + int.from_bytes(whole[start:begin], "little")
        if start > len(whole):
            raise EOFError("a message ends too early")
        values.append(whole[begin:start])
    return values


def _exactly(peer: socket.socket, length: int, deadline: float) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        _limit(peer, deadline)
        count = peer.recv_into(view)
        if not count:
            raise EOFError("the connection was closed")
        view = view[count:]
    return data


def _limit(peer: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    peer.settimeout(left)
