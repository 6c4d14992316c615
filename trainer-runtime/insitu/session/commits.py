"""Commits made by all ranks together: each writes its share, rank 0 makes the checkpoint exist.

Parts of a commit are safetensors files. One of them holds, as bytes under the name `skeleton`,
what of the state is no tensor (see checkpoint/tree.py).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Protocol
from uuid import uuid4

import numpy as np

from insitu.checkpoint import (
    Commit,
    CommitLog,
    Part,
    Skipped,
    Store,
    Writer,
    open_store,
    probe,
    read_part,
    sweep,
    write_part,
)
from insitu.checkpoint.records import Json, decode_block, encode_block
from insitu.checkpoint.tensors import Tensor, decode_tensors, encode_tensors, merged, share
from insitu.contract import Assignment
from insitu.data.cursor import BegunShard, Cursor, Digests
from insitu.data.identity import Fingerprint, Origin, ShardSet
from insitu.errors import ConfigurationError, StaleGeneration, StoreError
from insitu.scalars import Recorder
from insitu.session.collective import Collective, on_rank_0, together
from insitu.session.speed import Newest
from insitu.topology import ShardId

_log = logging.getLogger("insitu")
_SKELETON = "skeleton"
_TAKEN = "insitu.taken/"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A framework's state at one moment, not yet turned into bytes.

    `sizes` are the bytes of all tensors that are the same on every rank, by name; `encode` gives
    one of them. `own` are tensors that only this rank has, under names of its own.
    """

    skeleton: Json
    sizes: Mapping[str, int]
    encode: Callable[[str], Tensor]
    own: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a training goes on: a cursor, and the digests of the rows that were taken of the
    blocks that it is in the middle of.
    """

    cursor: Cursor
    taken: Mapping[ShardId, Digests]


class State(Protocol):
    """What a framework keeps in commits."""

    def capture(self) -> Snapshot:
        """Called on all ranks at the same step."""
        ...

    def restore(self, skeleton: Json, tensors: Mapping[str, Tensor]) -> None:
        """Raises `ConfigurationError` where the state doesn't fit the script's model."""
        ...


class Commits:
    """The job's checkpoints; keeps nothing where the assignment names no store.

    A run goes on from its own newest commit. Before it has made one, it starts from the commit
    that `resume_from` names, which may be another run's, or else at the first row: a job that is
    made again under its name is another run.

    A generation of 0 is one that nobody counts (a script run alone): it becomes the next one of
    the log.

    `log_generation` is the highest generation that the log was seen with, 0 before it was read.

    Args:
        assignment: Store, job, generation, and how many commits to keep.
        collective: All ranks.
        state: Taken at each commit, and given back by `restore`.
        now: The wall clock.
    """

    def __init__(
        self,
        assignment: Assignment,
        collective: Collective,
        state: State,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.newest: Newest | None = None
        self.log_generation = 0
        self._job = assignment.job
        self._assignment = assignment
        self._checkpoint = assignment.checkpoint
        self._generation = assignment.generation
        self._collective = collective
        self._state = state
        self._now = now
        self._fence = 0
        self._log: CommitLog | None = None
        self._writer: Writer | None = None
        self._recorder: Recorder | None = None
        if url := self._checkpoint.store:
            if self._checkpoint.keep_last < 1:
                raise ConfigurationError("checkpoint.keepLast has to be 1 or more")
            self._log = CommitLog(open_store(url), self._job)

    def restore(self) -> Restored | None:
        """Shuts out older generations, and gives back the commit to go on from, if there is one.

        Returns:
            Where it goes on; None for a fresh start.

        Raises:
            StaleGeneration: this or a newer generation has been here already.
            OtherJob: another job writes to the same place now.
            StoreError: the store can't be used.
            ConfigurationError: there is no such commit to resume from, it does not fit, or it
                counts the rows of another table or of other shards.
        """
        log = self._log
        if log is None:
            return None
        mine = ShardSet.of(shard.id for shard in self._assignment.shards)
        answers = self._collective.all_gather_bytes(mine.to_bytes())
        shards = sum(map(ShardSet.from_bytes, answers), ShardSet())
        data = Fingerprint.of(self._assignment.source, shards)
        found = json.loads(self._on_rank_0(lambda: self._open(log, data)))
        self._generation = self.log_generation = found["generation"]
        self._fence = found["fence"]
        if found["seq"] is None:
            self._record_after(log.store, 0)
            return None
        commit = log.record(found["seq"])
        if not isinstance(commit, Commit):
            raise StoreError(f"{log.store.url} shows commit {found['seq']} to rank 0 only")
        skeleton, tensors, taken = _read(log.store, commit)
        for shard, block in commit.cursor.blocks.items():
            if len(taken.get(shard, ())) != block.taken:
                raise StoreError(
                    f"commit {commit.seq} in {log.store.url} does not name the {block.taken:,} rows"
                    f" that were taken of shard {shard}"
                )
        self._state.restore(skeleton, tensors)
        self.newest = Newest(commit.seq, commit.cursor.step)
        self._record_after(log.store, commit.cursor.step)
        return Restored(commit.cursor, taken)

    @property
    def kept(self) -> bool:
        """Whether there is a store, so that commits are more than a word."""
        return self._log is not None

    def record(self, step: int, scalars: Mapping[str, float]) -> None:
        """Keeps numbers of update number `step` for TensorBoard, beside the commits; those of
        rank 0 only. Never fails.
        """
        if self._recorder and scalars:
            self._recorder.add(step, scalars)

    def close(self) -> None:
        """Writes what was recorded and not yet written. Safe to call twice."""
        if self._recorder:
            self._recorder.close()

    def commit(
        self, cursor: Cursor, begun: Mapping[ShardId, BegunShard] = MappingProxyType({})
    ) -> None:
        """Makes parameters and `cursor` one checkpoint, durable on return.

        `begun` are the shards of this rank that the cursor is in the middle of.

        Raises:
            StaleGeneration: a newer generation has taken over; nothing was committed.
            StoreError: a rank could not write its share, or rank 0 not commit.
        """
        log = self._log
        if log is None:
            return
        if self._recorder:  # It writes while the parts are written.
            self._recorder.commit(cursor.step)
        snapshot = self._state.capture()
        mine = lambda: self._write(log.store, snapshot, begun, cursor.step)  # noqa: E731
        answers = [json.loads(answer) for answer in together(self._collective, mine)]
        parts = [Part(**answer["part"]) for answer in answers]
        blocks = {s: decode_block(b) for each in answers for s, b in each["blocks"].items()}
        cursor = replace(cursor, blocks=blocks)
        if self._recorder:  # Nobody will make these steps again.
            self._recorder.settle()
        sequence = int(self._on_rank_0(lambda: self._commit(cursor, parts)))
        self.newest = Newest(sequence, cursor.step)

    def _on_rank_0(self, work: Callable[[], bytes]) -> bytes:
        try:
            return on_rank_0(self._collective, work)
        except StaleGeneration as error:
            self.log_generation = max(self.log_generation, error.generation or 0)
            raise

    def _record_after(self, store: Store, step: int) -> None:
        if self._collective.rank == 0:
            self._recorder = Recorder(
                store, self._job, fence=self._fence, generation=self._generation, after=step
            )

    def _open(self, log: CommitLog, data: Fingerprint) -> bytes:
        """On rank 0: opens the log for this generation and chooses where to go on."""
        probe(log.store, self._job)
        origin = Origin(self._assignment.run, data)
        generation = self._generation or _next_generation(log, origin.run)
        self._writer = log.fence(generation, writer=str(uuid4()), time=self._now(), origin=origin)
        chosen = self._chosen(log, self._writer)
        if chosen is not None:
            _check_same_data(log, chosen, origin)
        answer = {
            "generation": generation,
            "fence": self._writer.fence.seq,
            "seq": chosen.seq if chosen else None,
        }
        return json.dumps(answer).encode()

    def _chosen(self, log: CommitLog, writer: Writer) -> Commit | None:
        newest = log.newest(run=self._assignment.run, history=writer.history)
        if newest.skipped and newest.commit is None:
            raise StoreError(_all_damaged(log, newest.skipped))
        for skipped in newest.skipped:
            _log.warning("commit %d is passed over: %s", skipped.seq, skipped.reason)
        if newest.commit is None and (wanted := self._checkpoint.resume_from) is not None:
            return log.at(wanted)
        return newest.commit

    def _write(
        self,
        store: Store,
        snapshot: Snapshot,
        begun: Mapping[ShardId, BegunShard],
        step: int,
    ) -> bytes:
        rank = self._collective.rank
        mine = share(snapshot.sizes, self._collective.world_size)[rank]
        tensors = {name: snapshot.encode(name) for name in mine} | dict(snapshot.own)
        for shard, (_, taken) in begun.items():
            if len(taken):
                tensors[_TAKEN + shard] = Tensor("U64", taken.shape, taken.astype("<u8").tobytes())
        if rank == 0:
            text = json.dumps(snapshot.skeleton, allow_nan=False).encode()
            tensors[_SKELETON] = Tensor("U8", (len(text),), text)
        part = write_part(
            store,
            self._job,
            fence=self._fence,
            step=step,
            rank=rank,
            unique=str(uuid4()),
            buffers=encode_tensors(tensors),
        )
        blocks = {shard: encode_block(block) for shard, (block, _) in begun.items()}
        return json.dumps({"part": asdict(part), "blocks": blocks}).encode()

    def _commit(self, cursor: Cursor, parts: list[Part]) -> bytes:
        assert self._writer is not None
        commit = self._writer.commit(
            cursor,
            parts,
            world_size=self._collective.world_size,
            time=self._now(),
            parent=self.newest.sequence if self.newest else None,
        )
        try:
            sweep(self._writer, self._checkpoint.keep_last)
        except StoreError as error:  # The commit stands; only old ones take up room still.
            _log.warning("old checkpoints are kept: %s", error)
        return str(commit.seq).encode()


def _all_damaged(log: CommitLog, skipped: Sequence[Skipped]) -> str:
    first = skipped[0]
    return (
        f"no commit of job '{log.job}' in {log.store.url} is whole, commit {first.seq} for one: "
        f"{first.reason}. Restore the store from a backup, or start anew (`insitu run --fresh`, or "
        "delete the job and create it again)"
    )


def _next_generation(log: CommitLog, run: str) -> int:
    last = log.history().newest_record()
    return 1 if last is None or last.origin.run != run else last.generation + 1


def _check_same_data(log: CommitLog, commit: Commit, mine: Origin) -> None:
    """A cursor counts rows of each shard, so it means nothing for any others."""
    if commit.origin.data == mine.data:
        return
    if commit.origin.run == mine.run:
        remedy = (
            "A plan keeps a job's shards for life, so it was lost (its ConfigMap, or plan.json "
            "in the folder .insitu): put it back, or begin anew (delete the job and create it "
            "again, or `insitu run --fresh`)"
        )
    else:
        remedy = "checkpoint.resumeFrom needs a commit of the same table in the same shards"
    raise ConfigurationError(
        f"commit {commit.seq} of {log.job} in {log.store.url} counts rows of {commit.origin.data}, "
        f"and this run reads {mine.data}: rows would be missed or used twice. {remedy}"
    )


def read_state(store: Store, commit: Commit) -> tuple[Json, Mapping[str, Tensor]]:
    """The skeleton and the tensors of a commit, of all ranks that wrote it.

    Raises:
        StoreError: a part is missing or damaged, or the store can't be read.
    """
    skeleton, tensors, _ = _read(store, commit)
    return skeleton, tensors


def _read(
    store: Store, commit: Commit
) -> tuple[Json, Mapping[str, Tensor], dict[ShardId, Digests]]:
    """What `read_state` gives, and the digests of rows that were taken."""
    parts = [decode_tensors(read_part(store, part)) for part in commit.parts]
    tensors = merged(parts)
    taken = {
        ShardId(name.removeprefix(_TAKEN)): np.frombuffer(tensors.pop(name).data, "<u8")
        for name in [name for name in tensors if name.startswith(_TAKEN)]
    }
    if _SKELETON not in tensors:
        raise StoreError(f"commit {commit.seq} in {store.url} holds no state of a training")
    skeleton: Json = json.loads(bytes(tensors.pop(_SKELETON).data))
    return skeleton, tensors, taken
