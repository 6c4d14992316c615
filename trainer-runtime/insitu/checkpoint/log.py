"""The commit log: what makes a checkpoint exist, and what keeps forgotten writers out.

`<job>/commits/<seq>.json` holds one record each, created if absent, numbered without gaps, and
never deleted or replaced. A new generation appends a `Fence` before it does anything else. A
writer of an older generation then finds the next number taken, sees by whom, and stops: after a
fence the log can only grow by its own writer or by a newer generation's. (The pattern of SlateDB's
manifest, https://github.com/slatedb/slatedb/tree/main/rfcs. Deleting old names would let a
writer that slept through it succeed.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from insitu.checkpoint.parts import Damaged, Part, check_job, data_folder, load_part
from insitu.checkpoint.records import (
    Commit,
    Fence,
    Json,
    Record,
    Unreadable,
    decode,
    encode,
)
from insitu.checkpoint.store import Store
from insitu.data.cursor import Cursor
from insitu.errors import ConfigurationError, StaleGeneration, StoreError

_NAME = re.compile(r"(\d{12,})\.json")
_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class Skipped:
    """A commit that was passed over, and why: a person should be told."""

    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest commit that is whole, None if there is none, and the damaged ones above it."""

    commit: Commit | None
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True)
class CommitLog:
    """The log of `job` in `store`, for reading; `fence` gives the right to write."""

    store: Store
    job: str

    def __post_init__(self) -> None:
        check_job(self.job)

    def sequence(self, after: int = -1) -> list[int]:
        """Numbers of all records above `after`, ascending. Costs a listing, no reads."""
        folder = f"{self.job}/commits"
        start = self._name(after) if after >= 0 else None
        names = [entry.name.removeprefix(f"{folder}/") for entry in self.store.list(folder, start)]
        return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))

    def record(self, seq: int) -> Record | Unreadable:
        """The record number `seq`."""
        data = self.store.get(self._name(seq))
        return Unreadable(seq, "it is missing") if data is None else decode(seq, data)

    def newest_first(self) -> Iterator[Record | Unreadable]:
        """All records from the end of the log; each is read when it is asked for."""
        return map(self.record, reversed(self.sequence()))

    def commits(self) -> list[Commit]:
        """All readable commits, oldest first; the parts of old ones may be gone (`keep_last`)."""
        return [r for r in map(self.record, self.sequence()) if isinstance(r, Commit)]

    def kept(self) -> list[Commit]:
        """Commits whose parts are all there with their lengths, oldest first."""
        sizes = self.sizes()
        return [commit for commit in self.commits() if missing_part(commit, sizes) is None]

    def generation(self) -> int | None:
        """The newest generation that has written here, None for an empty log."""
        last = self._last(self.sequence())
        return None if last is None else last.generation

    def newest(self, *, verify: bool = True) -> Newest:
        """The newest commit whose parts are all there and whole.

        With `verify` every byte of its parts is read and checked, without it only names and
        lengths. Ask after `fence`, so that nobody can commit in between.

        Raises:
            StoreError: the store can't be read now.
        """
        sizes = self.sizes()
        skipped: list[Skipped] = []
        for record in self.newest_first():
            if isinstance(record, Fence):
                continue
            problem = self._problem(record, sizes, verify=verify)
            if problem is None and isinstance(record, Commit):
                return Newest(record, tuple(skipped))
            skipped.append(Skipped(record.seq, problem or "it is no commit"))
        return Newest(None, tuple(skipped))

    def at(self, seq: int, *, verify: bool = True) -> Commit:
        """The commit number `seq`, to resume from.

        Raises:
            ConfigurationError: it does not exist, is no longer kept or is damaged; says which
                commits are there.
            StoreError: the store can't be read now.
        """
        record = self.record(seq)
        problem = self._problem(record, self.sizes(), verify=verify)
        if problem is None and isinstance(record, Commit):
            return record
        kept = ", ".join(str(commit.seq) for commit in self.kept() if commit.seq != seq)
        raise ConfigurationError(
            f"can't resume {self.job} from commit {seq} in {self.store.url}: "
            f"{problem or 'it is no commit but the start of a generation'}. There are: "
            f"{kept or 'no others'}"
        )

    def sizes(self) -> dict[str, int]:
        """Length in bytes of every object that parts could be, by name."""
        return dict(self.store.list(data_folder(self.job)))

    def fence(self, generation: int, *, writer: str, time: datetime) -> Writer:
        """Opens the log for `generation` and shuts out all older ones.

        `writer` is a fresh UUID. A generation is one start of the world, so it fences once.

        Raises:
            StaleGeneration: this or a newer generation has been here already.
            StoreError: the store can't be written.
        """
        for _ in range(_ATTEMPTS):
            numbers = self.sequence()
            last = self._last(numbers)
            if isinstance(last, Fence) and last.writer == writer:  # An earlier answer got lost.
                return Writer(self, generation, writer, last.seq)
            if last is not None and last.generation >= generation:
                raise StaleGeneration(
                    f"generation {generation} of {self.job} comes too late: generation "
                    f"{last.generation} has taken over its checkpoints in {self.store.url}",
                    last.generation,
                )
            seq = numbers[-1] + 1 if numbers else 0
            if self.append(Fence(seq, generation, writer, time)):
                return Writer(self, generation, writer, seq)
        raise StoreError(
            f"{self.store.url} refused {_ATTEMPTS} times to create the next record of {self.job}. "
            f"Is another process filling its log?"
        )

    def append(self, record: Record) -> bool:
        """Creates `record` under its number; False if there is a record of that number."""
        return self.store.create_if_absent(self._name(record.seq), encode(record))

    def _last(self, numbers: Sequence[int]) -> Record | None:
        records = map(self.record, reversed(numbers))
        return next((r for r in records if not isinstance(r, Unreadable)), None)

    def _problem(
        self, record: Record | Unreadable, sizes: Mapping[str, int], *, verify: bool
    ) -> str | None:
        """Why `record` can't be resumed from; None for a whole commit, and for a fence."""
        if isinstance(record, Unreadable):
            return record.reason
        if isinstance(record, Fence):
            return None
        return missing_part(record, sizes) or (self._damaged_part(record) if verify else None)

    def _damaged_part(self, commit: Commit) -> str | None:
        for part in commit.parts:
            data = load_part(self.store, part)
            if isinstance(data, Damaged):
                return data.reason
        return None

    def _name(self, seq: int) -> str:
        return f"{self.job}/commits/{seq:012d}.json"


@dataclass(slots=True)
class Writer:
    """The right of one generation to commit, until a newer one takes it. Use it from one thread.

    `last` is the number of this writer's own newest record.
    """

    log: CommitLog
    generation: int
    writer: str
    last: int
    stale: bool = field(default=False, init=False)

    def commit(
        self,
        cursor: Cursor,
        parts: Sequence[Part],
        *,
        world_size: int,
        time: datetime,
        parent: int | None = None,
        meta: Mapping[str, Json] | None = None,
    ) -> Commit:
        """Makes a checkpoint exist, durable on return. All parts must have been written before.

        Raises:
            StaleGeneration: a newer generation has taken over; nothing was committed, for ever.
            ConfigurationError: `meta` is no JSON.
            StoreError: the store can't be written; the same call may be tried again.
        """
        record = Commit(
            seq=self.last + 1,
            generation=self.generation,
            writer=self.writer,
            time=time,
            cursor=cursor,
            world_size=world_size,
            parts=tuple(sorted(parts, key=lambda part: part.rank)),
            parent=parent,
            meta={} if meta is None else meta,
        )
        self._check_meta(record)
        while not self.stale:
            if self.log.append(record):
                self.last = record.seq
                return record
            there = self.log.record(record.seq)
            if isinstance(there, Unreadable) or there.writer != self.writer:
                self.stale = True
                break
            # This writer's own: it was stored by an earlier call whose answer got lost.
            self.last = there.seq
            if replace(record, time=there.time) == there:
                return record
            record = replace(record, seq=there.seq + 1)
        raise self._overtaken()

    def check_current(self) -> None:
        """Raises `StaleGeneration` if a newer generation has taken over."""
        if self.stale or self.log.sequence(after=self.last):
            self.stale = True
            raise self._overtaken()

    def _overtaken(self) -> StaleGeneration:
        record = self.log.record(self.last + 1)
        generation = None if isinstance(record, Unreadable) else record.generation
        by = "another writer" if generation is None else f"generation {generation}"
        return StaleGeneration(
            f"generation {self.generation} of {self.log.job} is over: {by} has taken over its "
            f"checkpoints in {self.log.store.url}",
            generation,
        )

    @staticmethod
    def _check_meta(record: Commit) -> None:
        try:
            encode(replace(record, parts=()))
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"the metadata of a commit has to be JSON (text, finite numbers, lists, "
                f"dictionaries with text keys): {error}"
            ) from error


def missing_part(commit: Commit, sizes: Mapping[str, int]) -> str | None:
    """The first part of `commit` that is not there with its length, in words; pure."""
    for part in commit.parts:
        if part.name not in sizes:
            return f"{part.name} is missing"
        if sizes[part.name] != part.length:
            return f"{part.name} has {sizes[part.name]:,} bytes instead of {part.length:,}"
    return None
