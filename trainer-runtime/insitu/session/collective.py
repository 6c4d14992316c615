"""What ranks tell each other every step: small, and the same on all of them afterwards."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from insitu import errors
from insitu.data.cursor import Taken
from insitu.data.quota import Remaining
from insitu.errors import InsituError
from insitu.topology import ShardId

Ints = npt.NDArray[np.int64]


class Collective(Protocol):
    """All ranks of one generation. Every call is made by all of them, in the same order.

    Both raise `PeerLost` when a rank has gone away, and never wait for longer than their own
    time-out.
    """

    @property
    def rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    def all_gather(self, values: Ints) -> Ints:
        """`values` (n,) of every rank, as (world_size, n); n is the same on all ranks."""
        ...

    def all_gather_bytes(self, value: bytes) -> Sequence[bytes]:
        """`value` of every rank, of any length, in the order of ranks."""
        ...


class Alone:
    """The collective of a world of one."""

    rank = 0
    world_size = 1

    def all_gather(self, values: Ints) -> Ints:
        return values[None, :]

    def all_gather_bytes(self, value: bytes) -> Sequence[bytes]:
        return [value]


def together(collective: Collective, work: Callable[[], bytes]) -> Sequence[bytes]:
    """What `work` gives on every rank; an `InsituError` of one is raised on all.

    So a full disk beside one rank ends all of them with the same words and the same exit code,
    and none has to guess why another one left.
    """
    mine: InsituError | None = None
    try:
        message = b"\0" + work()
    except InsituError as error:
        mine = error
        message = b"\1" + json.dumps([type(error).__name__, str(error)]).encode()
    messages = collective.all_gather_bytes(message)
    if mine is not None:
        raise mine
    for rank, other in enumerate(messages):
        if other[:1] == b"\1":
            kind, text = json.loads(other[1:])
            raise _error(kind, f"rank {rank}: {text}")
    return [other[1:] for other in messages]


def on_rank_0(collective: Collective, work: Callable[[], bytes]) -> bytes:
    """What `work` gives on rank 0, on every rank; its `InsituError` likewise."""
    return together(collective, work if collective.rank == 0 else lambda: b"")[0]


def _error(kind: str, text: str) -> InsituError:
    found = getattr(errors, kind, InsituError)
    error: InsituError = found.__new__(found)
    error.args = (text,)
    return error


class Wish(enum.IntEnum):
    """What a rank asks of all ranks: the highest wish of any of them is granted."""

    GO_ON = 0
    #: Commit, and end the batches: the script has decided so.
    FINISH = 1
    #: Commit, and leave: the process was asked to, and the job is not over.
    LEAVE = 2


class Intent(enum.IntEnum):
    """Where in its script a rank is. All ranks have to be at the same place."""

    TAKE = 0
    UPDATE = 1
    END = 2

    def __str__(self) -> str:
        return _IN_WORDS[self]


_IN_WORDS = {
    Intent.TAKE: "asked for the next batch",
    Intent.UPDATE: "went on to an update",
    Intent.END: "left its `with` block",
}


class Share(NamedTuple):
    """One rank's part of a step. `remaining` is what it has left after it."""

    rows: int
    remaining: Remaining
    wish: Wish = Wish.GO_ON
    taken: tuple[Taken, ...] = ()
    intent: Intent = Intent.TAKE


#: Of a rank that takes no rows.
NOTHING_LEFT = Remaining(0, exact=True)


class Exchange:
    """Shares of all ranks in one all-gather of a fixed length, nearly always.

    A message holds rows, rows remaining, whether that is exact, wish, intent, the number of
    shards, and four numbers a shard: its own, rows, finished, and changed. When a rank has used
    more shards than there is room for, all ranks see it in the numbers, make room, and gather once
    more.

    Args:
        collective: The ranks.
        shards: All shards of all ranks, in the same order on every rank.
        room: Shards a rank can report in a first try.
    """

    _HEAD = 6
    _EACH = 4

    def __init__(self, collective: Collective, shards: Sequence[ShardId], room: int = 16) -> None:
        self._collective = collective
        self._shards = shards
        self._number = {shard: number for number, shard in enumerate(shards)}
        self._room = room

    def __call__(self, share: Share) -> list[Share]:
        """The shares of all ranks, in the order of ranks."""
        found = self._collective.all_gather(self._encode(share))
        most = int(found[:, self._HEAD - 1].max())
        if most > self._room:
            self._room = most
            found = self._collective.all_gather(self._encode(share))
        return [self._decode(row) for row in found]

    def _encode(self, share: Share) -> Ints:
        message = np.zeros(self._HEAD + self._EACH * self._room, np.int64)
        message[: self._HEAD] = (
            share.rows,
            share.remaining.rows,
            share.remaining.exact,
            share.wish,
            share.intent,
            len(share.taken),
        )
        flat = np.array([self._numbers(one) for one in share.taken[: self._room]], np.int64)
        flat = flat.reshape(-1)
        message[self._HEAD : self._HEAD + flat.size] = flat
        return message

    def _decode(self, message: Ints) -> Share:
        rows, left, exact, wish, intent, count = (int(value) for value in message[: self._HEAD])
        used = message[self._HEAD : self._HEAD + self._EACH * count].reshape(-1, self._EACH)
        taken = tuple(self._taken(numbers) for numbers in used.tolist())
        return Share(rows, Remaining(left, bool(exact)), Wish(wish), taken, Intent(intent))

    def _numbers(self, taken: Taken) -> tuple[int, ...]:
        return (self._number[taken.shard], taken.rows, taken.finished, taken.changed)

    def _taken(self, numbers: Sequence[int]) -> Taken:
        number, rows, finished, changed = numbers
        return Taken(self._shards[number], rows, bool(finished), bool(changed))
