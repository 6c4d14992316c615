"""The commit log: what makes a checkpoint exist, and what keeps forgotten writers out.

`<job>/commits/<seq>.json` holds one record each, created if absent, numbered without gaps, and
never deleted or replaced. A new writer appends a `Fence` before it does anything else. A writer
from before then finds the next number taken, sees by whom, and stops: after a fence the log can
only grow by its own writer, or by that of a later fence. (The pattern of SlateDB's manifest,
https://github.com/slatedb/slatedb/tree/main/rfcs. Deleting old names would let a writer that slept
through it succeed.)

**Order.** Fences are ordered by the log alone. Whether a writer may set one is decided by its run,
which is one life of a job, and within the run by its generation: an older generation comes too
late, and so does a run that another one has taken over from. A run that has never been here may
take over, so a job that is made again begins with generation 1.

**What a store may lose.** A store should keep what it has confirmed. For one that does not (an NFS
server that answers before it writes, a backup put back, a person's hand) three things hold:
- `<job>/fences/<seq>.json` is a copy of each fence, written before its writer makes any commit. A
  fence counts as long as one of the two is there.
- A commit that lies above a newer fence than its own is void: nobody resumes from it.
- A writer looks whether its last record is there, and its own, before and after each append. So if
  another writer got the number of a record that was lost, this one stops.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from insitu.checkpoint.parts import Damaged, Part, check_job, data_folder, load_part, place
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
from insitu.data.identity import UNKNOWN, Origin
from insitu.errors import ConfigurationError, OtherJob, StaleGeneration, StoreError

_NAME = re.compile(r"(\d{12,})\.json")
_ATTEMPTS = 100
_LISTED = 1000
"""Names that a bucket lists in one request."""
_MISSING = "it is missing"


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
class History:
    """The log as it was at one moment: `last` is the highest number in use, -1 if there is none;
    `fences` are the numbers of all fences with a copy, ascending.
    """

    log: CommitLog
    last: int
    fences: tuple[int, ...]

    def newest_first(self) -> Iterator[Record | Unreadable]:
        """All records from the end; each is read when it is asked for. Void commits are
        `Unreadable`. Left out are numbers whose records are lost, and fences that got such a number
        below commits of an earlier writer: nobody has begun with one of those.
        """
        writing = self.last + 1
        for seq in range(self.last, -1, -1):
            record = self.record(seq)
            if isinstance(record, Unreadable) and record.reason == _MISSING:
                continue
            if isinstance(record, Fence) and writing < seq:
                continue
            if isinstance(record, Commit):
                writing = record.fence
            yield record

    def record(self, seq: int) -> Record | Unreadable:
        """The record number `seq`, for what it counts as."""
        at = bisect.bisect_right(self.fences, seq)
        newest_fence = self.fences[at - 1] if at else -1
        if newest_fence == seq:
            return self.log.fence_record(seq)
        record = self.log.record(seq)
        if isinstance(record, Commit) and record.fence < newest_fence:
            return Unreadable(
                seq,
                f"generation {record.generation} wrote it after a newer writer had taken over in "
                f"record {newest_fence}",
            )
        return record

    def newest_record(self) -> Record | None:
        """The newest record that can be read; None for an empty log.

        Raises:
            StoreError: a fence above it can't be read, so nobody knows who may write.
        """
        for record in self.newest_first():
            if not isinstance(record, Unreadable):
                return record
            if record.seq in self.fences:
                raise StoreError(
                    f"record {record.seq} of job '{self.log.job}' in {self.log.store.url} says "
                    f"which generation may write, and both its copies can't be read: "
                    f"{record.reason}. Restore one of them from a backup, or give the job another "
                    "name"
                )
        return None

    def runs(self, newest: Record | None) -> tuple[str, ...]:
        """All runs that have set fences up to `newest`, which is the newest record."""
        if newest is None:
            return ()
        if isinstance(newest, Fence):
            return (*newest.earlier, newest.origin.run)
        at = bisect.bisect_left(self.fences, newest.fence)
        for seq in (newest.fence, *reversed(self.fences[:at])):
            fence = self.log.fence_record(seq)
            if isinstance(fence, Fence):
                return tuple(dict.fromkeys((*fence.earlier, fence.origin.run, newest.origin.run)))
        return (newest.origin.run,)


@dataclass(frozen=True, slots=True)
class CommitLog:
    """The log of `job` in `store`, for reading; `fence` gives the right to write.

    Everything that reads records raises `UnknownFormat` for one of another release.
    """

    store: Store
    job: str

    def __post_init__(self) -> None:
        check_job(self.job)

    def sequence(self, after: int = -1) -> list[int]:
        """Numbers of all records above `after`, ascending. Costs a listing, no reads."""
        return self._numbers("commits", self._name(after) if after >= 0 else None)

    def history(self, known: int | None = None) -> History:
        """The log as it is now: a few reads and two listings, however long it is; only the listings
        if a number is `known` to be in use.
        """
        if known is None:
            last = self._last_number()
        else:
            last = max(self.sequence(after=known), default=known)
        fences = tuple(self._numbers("fences"))  # Afterwards: a commit is younger than its fence.
        return History(self, max(last, *fences[-1:], -1), fences)

    def record(self, seq: int) -> Record | Unreadable:
        """What is stored under number `seq`."""
        data = self.store.get(self._name(seq))
        return Unreadable(seq, _MISSING) if data is None else decode(seq, data)

    def fence_record(self, seq: int) -> Fence | Unreadable:
        """The fence number `seq`, from whichever of its two objects can be read."""
        data = self.store.get(self._copy_name(seq))
        copy = Unreadable(seq, _MISSING) if data is None else decode(seq, data)
        if isinstance(copy, Fence):
            return copy
        record = self.record(seq)
        if isinstance(record, Commit):
            return Unreadable(seq, "its fence is lost")
        return record

    def newest_first(self) -> Iterator[Record | Unreadable]:
        """All records from the end of the log; each is read when it is asked for."""
        return self.history().newest_first()

    def commits(self) -> list[Commit]:
        """All readable commits, oldest first; the parts of old ones may be gone (`keep_last`)."""
        return [r for r in self.newest_first() if isinstance(r, Commit)][::-1]

    def kept(self) -> list[Commit]:
        """Commits whose parts are all there with their lengths, oldest first."""
        sizes = self.sizes()
        found = whole(self.recent(sizes), sizes)
        return list(found)[::-1]

    def recent(self, sizes: Mapping[str, int], history: History | None = None) -> Iterator[Commit]:
        """Commits from the newest on, back to where no part of `sizes` was made any more."""
        oldest = min((p for name in sizes if (p := place(self.job, name))), default=(-1, -1))
        for record in (history or self.history()).newest_first():
            if isinstance(record, Commit):
                if (record.fence, record.cursor.step) < oldest:
                    return
                yield record

    def generation(self) -> int | None:
        """The generation of the newest record, None for an empty log."""
        last = self.history().newest_record()
        return None if last is None else last.generation

    def newest(
        self, *, run: str | None = None, verify: bool = True, history: History | None = None
    ) -> Newest:
        """The newest commit whose parts are all there and whole; with `run`, of that run only.

        With `verify` every byte of its parts is read and checked, without it only names and
        lengths. Ask after `fence`, so that nobody can commit in between; its writer knows the
        `history`, which saves looking for the end.

        Raises:
            StoreError: the store can't be read now.
        """
        sizes = self.sizes()
        skipped: list[Skipped] = []
        for record in (history or self.history()).newest_first():
            # A run that was taken over never writes again, so the records of a run lie together.
            if run is not None and isinstance(record, Commit | Fence) and record.origin.run != run:
                break
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
        record = self.history().record(seq)
        problem = self._problem(record, self.sizes(), verify=verify)
        if problem is None and isinstance(record, Commit):
            return record
        kept = ", ".join(str(commit.seq) for commit in self.kept() if commit.seq != seq)
        raise ConfigurationError(
            f"can't resume {self.job} from commit {seq} in {self.store.url}: "
            f"{problem or 'it is no commit but the start of a generation'}. There are: "
            f"{kept or 'no others'}"
        )

    def sizes(self, fence: int | None = None) -> dict[str, int]:
        """Length in bytes of every part by its name; with `fence` of that writer's only."""
        found = self.store.list(data_folder(self.job, fence))
        return {name: size for name, size in found if place(self.job, name)}

    def fence(
        self, generation: int, *, writer: str, time: datetime, origin: Origin = UNKNOWN
    ) -> Writer:
        """Opens the log for `generation` of the run of `origin`, and shuts out all before it.

        `writer` is a fresh UUID. A generation is one start of the world, so it fences once.

        Raises:
            StaleGeneration: this or a newer generation of the run has been here already.
            OtherJob: another run has taken over from this one.
            UnknownFormat: another release writes this log; nothing was changed.
            StoreError: the store can't be written.
        """
        for _ in range(_ATTEMPTS):
            history = self.history()
            last = history.newest_record()
            if isinstance(last, Fence) and last.writer == writer:  # An earlier answer got lost.
                fence = last
            else:
                self._check_turn(generation, origin.run, history, last)
                earlier = tuple(run for run in history.runs(last) if run != origin.run)
                fence = Fence(history.last + 1, generation, writer, time, origin, earlier)
                if not self.append(fence):
                    continue
            # It may have got the number of a lost record, below others: then it is none.
            if self.history(fence.seq).last == fence.seq and self._copied(fence):
                return Writer(self, fence, history.fences)
        raise StoreError(
            f"{self.store.url} refused {_ATTEMPTS} times to create the next record of {self.job}. "
            f"Is another process filling its log?"
        )

    def append(self, record: Record) -> bool:
        """Creates `record` under its number; False if there is a record of that number."""
        return self.store.create_if_absent(self._name(record.seq), encode(record))

    def has_fence_copy(self, seq: int) -> bool:
        """Whether a writer has taken over with number `seq`, whatever its record says now."""
        return self.store.get(self._copy_name(seq)) is not None

    def _check_turn(self, generation: int, run: str, history: History, last: Record | None) -> None:
        if last is None:
            return
        if last.origin.run == run:
            if last.generation >= generation:
                raise StaleGeneration(
                    f"generation {generation} of {self.job} comes too late: generation "
                    f"{last.generation} has taken over its checkpoints in {self.store.url}",
                    last.generation,
                )
        elif run in history.runs(last):
            raise OtherJob(taken_over(self, run, last))

    def _copied(self, fence: Fence) -> bool:
        """Makes the fence count even if its record gets lost. False if that has happened already,
        and another fence has got its number.
        """
        if self.store.create_if_absent(self._copy_name(fence.seq), encode(fence)):
            return True
        there = self.fence_record(fence.seq)
        return isinstance(there, Fence) and there.writer == fence.writer

    def _last_number(self) -> int:
        """The highest number in use, -1 if there is none.

        Any number in use is a place to list from, so lost records in between mislead nobody;
        reads in growing and then halved strides find one that is near the end.
        """
        if not self._has(0):
            return max(self.sequence(), default=-1)
        low, stride = 0, _LISTED
        while self._has(low + stride):
            low, stride = low + stride, 2 * stride
        high = low + stride
        while high - low > _LISTED:
            middle = (low + high) // 2
            low, high = (middle, high) if self._has(middle) else (low, middle)
        return max(self.sequence(after=low), default=low)

    def _has(self, seq: int) -> bool:
        return self.store.get(self._name(seq)) is not None

    def _numbers(self, kind: str, after: str | None = None) -> list[int]:
        folder = f"{self.job}/{kind}"
        names = [entry.name.removeprefix(f"{folder}/") for entry in self.store.list(folder, after)]
        return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))

    def _problem(
        self, record: Record | Unreadable, sizes: Mapping[str, int], *, verify: bool
    ) -> str | None:
        """Why `record` can't be resumed from; None for a whole commit, and for a fence."""
        if isinstance(record, Unreadable):
            return record.reason
        if isinstance(record, Fence):
            return None
        return missing_part(record.parts, sizes) or (self._damaged_part(record) if verify else None)

    def _damaged_part(self, commit: Commit) -> str | None:
        for part in commit.parts:
            data = load_part(self.store, part)
            if isinstance(data, Damaged):
                return data.reason
        return None

    def _name(self, seq: int) -> str:
        return f"{self.job}/commits/{seq:012d}.json"

    def _copy_name(self, seq: int) -> str:
        return f"{self.job}/fences/{seq:012d}.json"


@dataclass(slots=True)
class Writer:
    """The right to commit, until a newer writer takes it. Use it from one thread.

    `earlier` are the numbers of the fences before `fence`. `last` is the number of this writer's
    own newest record. `kept` are the commits that it keeps, oldest first; None before its first
    sweep has looked.
    """

    log: CommitLog
    fence: Fence
    earlier: tuple[int, ...] = ()
    last: int = field(init=False)
    stale: bool = field(default=False, init=False)
    kept: list[Commit] | None = field(default=None, init=False)
    _made: Commit | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.last = self.fence.seq

    @property
    def generation(self) -> int:
        return self.fence.generation

    @property
    def history(self) -> History:
        """The log up to this writer's newest record."""
        fences = sorted({*self.earlier, self.fence.seq})
        return History(self.log, self.last, tuple(fences))

    @property
    def writer(self) -> str:
        """The process."""
        return self.fence.writer

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

        Costs a listing of this writer's own parts and a handful of requests, however long the log
        is.

        Raises:
            StaleGeneration: a newer generation has taken over; nothing was committed, for ever.
            OtherJob: another job has; likewise.
            ConfigurationError: `meta` is no JSON.
            StoreError: the store can't be written, and the same call may be tried again; or it has
                lost a part or a record that it had confirmed.
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
            fence=self.fence.seq,
            origin=self.fence.origin,
        )
        self._check_meta(record)
        self._check_own(self.last)
        self._check_parts(record.parts)
        while not self.stale:
            if self.log.append(record):
                return self._confirmed(record)
            there = self.log.record(record.seq)
            if isinstance(there, Commit):
                if there.writer == self.writer:  # An earlier call's, whose answer got lost.
                    found = self._confirmed(there)
                    if replace(record, time=there.time) == there:
                        return found
                    record = replace(record, seq=there.seq + 1)
                    continue
                if not self.log.has_fence_copy(record.seq):
                    # Only a fence ends this writer's turn. A commit of anybody else is void.
                    record = replace(record, seq=record.seq + 1)
                    continue
            self.stale = True
        raise self._overtaken()

    def check_current(self) -> None:
        """Raises `StaleGeneration` or `OtherJob` if a newer writer has taken over."""
        if self.stale or self._is_over(self.last + 1):
            self.stale = True
            raise self._overtaken()

    def _confirmed(self, record: Commit) -> Commit:
        """`record`, which is stored, if nobody has got the number of a lost record meanwhile."""
        self._check_own(self.last)
        if self.stale or self.log.has_fence_copy(record.seq):
            self.stale = True
            raise self._overtaken()
        self.last, self._made = record.seq, record
        if self.kept is not None:
            self.kept.append(record)
        return record

    def _check_own(self, seq: int) -> None:
        """Whether this writer's record `seq` is there; if it is another's, this one is stale."""
        there = self.log.record(seq)
        if isinstance(there, Unreadable):
            raise StoreError(
                f"{self.log.store.url} has confirmed record {seq} of {self.log.job} and has lost "
                f"it: {there.reason}. Use a store that keeps what it confirms: a bucket, a local "
                "disk, NFS exported with sync"
            )
        if there.writer != self.writer:
            self.stale = True

    def _check_parts(self, parts: Sequence[Part]) -> None:
        """The new parts have to be there, and those of the commit before, which is the newest."""
        before = self._made.parts if self._made else ()
        if not parts and not before:
            return
        sizes = self.log.sizes(self.fence.seq)
        if problem := missing_part(parts, sizes) or missing_part(before, sizes):
            raise StoreError(
                f"the checkpoint store {self.log.store.url} has lost data that it had confirmed: "
                f"{problem}. Nothing that it takes can be relied on; use another one"
            )

    def _is_over(self, seq: int) -> bool:
        """Whether the record behind this writer's last one says that somebody has taken over."""
        there = self.log.record(seq)
        if isinstance(there, Commit):
            return there.writer != self.writer and self.log.has_fence_copy(seq)
        if isinstance(there, Unreadable) and there.reason == _MISSING:
            return self.log.has_fence_copy(seq)
        return True

    def _overtaken(self) -> StaleGeneration | OtherJob:
        log, run = self.log, self.fence.origin.run
        newest = log.history().newest_record()
        if newest is not None and newest.origin.run != run:
            return OtherJob(taken_over(log, run, newest))
        known = newest is not None and newest.writer != self.writer
        generation = newest.generation if newest is not None and known else None
        by = "another writer" if generation is None else f"generation {generation}"
        return StaleGeneration(
            f"generation {self.generation} of {log.job} is over: {by} has taken over its "
            f"checkpoints in {log.store.url}",
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


def whole(commits: Iterable[Commit], sizes: Mapping[str, int]) -> Iterator[Commit]:
    """Those of `commits` whose parts are there with their lengths; pure."""
    return (commit for commit in commits if missing_part(commit.parts, sizes) is None)


def missing_part(parts: Iterable[Part], sizes: Mapping[str, int]) -> str | None:
    """The first of `parts` that is not there with its length, in words; pure."""
    for part in parts:
        if part.name not in sizes:
            return f"{part.name} is missing"
        if sizes[part.name] != part.length:
            return f"{part.name} has {sizes[part.name]:,} bytes instead of {part.length:,}"
    return None


def taken_over(log: CommitLog, run: str, by: Record) -> str:
    """That `run` may not write any more, for the person who has two jobs in one place."""
    return (
        f"another job (uid {by.origin.run or 'unknown'}, in its generation {by.generation}) writes "
        f"the checkpoints of {log.job} in {log.store.url} now, so this one (uid "
        f"{run or 'unknown'}) may not any more. Two jobs of one name need two stores: give one of "
        "them another name or another prefix"
    )
