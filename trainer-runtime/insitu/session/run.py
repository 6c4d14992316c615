"""A training run, whatever the framework: epochs, steps, the cursor, commits, leaving together.

Every step the ranks tell each other what they took, so each of them holds the whole cursor and
decides the same: that the step counts, that the epoch is over, that a commit is due, or that all
leave. Only what a step's optimizer update has made part of the parameters enters the cursor.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

from insitu.columns import Shape, shapes
from insitu.contract import Assignment, Reporting
from insitu.data.cursor import Cursor, Taken
from insitu.data.order import Order
from insitu.data.quota import quotas
from insitu.data.stream import RankStream
from insitu.databases import Database, ReadLimits
from insitu.errors import ConfigurationError, Left, StaleGeneration
from insitu.progress import ProgressFile
from insitu.session.audit import AuditLog
from insitu.session.collective import Collective, Exchange, Share
from insitu.session.commits import Commits
from insitu.session.locality import LocalFirst
from insitu.session.meeting import Introduction, Meeting, meet
from insitu.session.speed import Speedometer
from insitu.session.table_check import TableCheck

_log = logging.getLogger("insitu")
_SAMPLED_SHARDS = 3


@dataclass(frozen=True, slots=True)
class Batch:
    """This rank's rows of step number `step` (the job's first is 1), out of `rows_global`.

    `shapes` are the shapes of a row of each column, known also where `table` has no rows.
    """

    table: pa.RecordBatch
    rows_global: int
    epoch: int
    step: int
    shapes: Mapping[str, Shape] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A batch that was handed out and is not yet part of the parameters."""

    batch: Batch
    taken: tuple[Taken, ...]


class Session:
    """One rank's part of a job, from the newest commit to the end.

    Args:
        assignment: What this rank is told.
        collective: All ranks of the generation.
        database: The table; closed with the session.
        commits: Where parameters and cursor are kept, and how they are taken and given back.
        reporting: Where to tell how it goes.
        clock: Seconds, ever growing.
    """

    def __init__(
        self,
        assignment: Assignment,
        collective: Collective,
        database: Database,
        commits: Commits,
        reporting: Reporting = Reporting(),  # noqa: B008 - a value
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._assignment = assignment
        self._collective = collective
        self._database = database
        self._commits = commits
        self._reader = LocalFirst(assignment, database.reader)
        self._table = TableCheck(assignment, collective, database)
        self._audit = _audit(assignment, reporting)
        self._speed = Speedometer(clock)
        self._file = ProgressFile(reporting.progress, clock)
        self._pending: _Pending | None = None
        self._stopping = False
        self._committed_step: int | None = None
        self.cursor = Cursor()
        try:
            restored = commits.restore()
        except StaleGeneration:  # Whoever starts the next generation has to count on from it.
            self._report(at_once=True)
            raise
        self.cursor = restored.cursor if restored else Cursor()
        self._taken = restored.taken if restored else {}
        self._stream: RankStream | None = None
        self._resumed = restored is not None
        self._report(at_once=True)

    def stop(self) -> None:
        """Asks all ranks to commit and leave at the next step. Safe to call from a signal handler
        and more than once.

        Raises:
            Left: there is no next step; everything is committed.
        """
        self._stopping = True
        if self._speed.state == "done":
            raise Left(f"asked to stop after the last step, {self.cursor.step}")

    def batches(self, epochs: int | None = None, batch_size: int | None = None) -> Iterator[Batch]:
        """The batches that are left of `epochs` passes over the data, `advance` after each.

        Args:
            epochs: Passes in total, those before a resume included; the job's own by default.
            batch_size: Rows of a step over all ranks; the job's own by default.

        Raises:
            Left: all ranks were asked to stop, and have committed.
            ConfigurationError: neither the script nor the job says one of the two; ranks
                disagree; `advance` was forgotten.
            DataLost, DataChanged: an epoch was not exact, and the job wants that to end it.
        """
        training = self._assignment.training
        epochs = _chosen("epochs", "epochs", epochs, training.epochs)
        size = _chosen("batch_size", "globalBatchSize", batch_size, training.global_batch_size)
        meeting = self._meet(epochs, size)
        if not self._resumed and not self.cursor.step:
            self.cursor = Cursor(order=Order.sized(training.seed, meeting.row_bytes))
        self._speed.aim(epochs, self._assignment.rows or meeting.rows)
        self._table.check()
        while self.cursor.epoch < epochs:
            yield from self._epoch(meeting, size)
            self._table.check_epoch(self.cursor.rows)
            self.cursor = self.cursor.next_epoch()
            self._commit()
        self._speed.state = "done"
        self._report(at_once=True)

    def advance(self, metrics: Mapping[str, float] | None = None) -> None:
        """The batch handed out last is now part of the parameters. Commits when that is due.

        Raises:
            ConfigurationError: there is no such batch.
            StoreError, StaleGeneration: the commit could not be made.
        """
        if self._pending is None:
            raise ConfigurationError("there is no batch to advance past: take one from batches()")
        pending, self._pending = self._pending, None
        if self._audit:
            self._audit.write(pending.batch.epoch, pending.batch.step, pending.batch.table)
        first = self._speed.steps == 0
        self.cursor = self.cursor.after(pending.taken)
        if self._stream is not None:
            self._stream.advanced(self.cursor)
        self._speed.stepped(pending.batch.rows_global, metrics or {})
        self._commits.record(self.cursor.step, self._speed.scalars(self.cursor, metrics or {}))
        every = self._assignment.checkpoint.every_steps
        if every and self.cursor.step % every == 0:
            self._commit()
        self._report(at_once=first)

    def log(self, scalars: Mapping[str, float]) -> None:
        """Shows numbers with the job's progress, and draws those of rank 0 at the step that was
        made last.
        """
        self._speed.tell(scalars)
        self._commits.record(self.cursor.step, scalars)

    def close(self) -> None:
        """Ends all reading; safe to call twice. Commits nothing."""
        self._report(at_once=True)
        self._commits.close()
        self._reader.close()
        self._database.close()
        if self._audit:
            self._audit.close()

    def _epoch(self, meeting: Meeting, size: int) -> Iterator[Batch]:
        exchange = Exchange(self._collective, meeting.shards)
        stream = RankStream(
            self._assignment.shards,
            self.cursor,
            lambda _shard: self._reader,
            self._reader.schema,
            digests=self._taken,
            tracked=self._commits.kept,
        )
        self._stream = stream
        try:
            shares = exchange(Share(0, stream.remaining, self._stopping, ()))
            while any(share.remaining.rows for share in shares):
                self._leave_if_asked(shares)
                asked = quotas([share.remaining for share in shares], size)
                table, taken = stream.take(asked[self._collective.rank])
                shares = exchange(Share(table.num_rows, stream.remaining, self._stopping, taken))
                self._leave_if_asked(shares)
                yield from self._step(table, shares, meeting.shapes)
            self._leave_if_asked(shares)
        finally:
            stream.close()

    def _step(
        self, table: pa.RecordBatch, shares: list[Share], known: Mapping[str, Shape]
    ) -> Iterator[Batch]:
        rows = sum(share.rows for share in shares)
        taken = tuple(one for share in shares for one in share.taken)
        if not rows:  # Only empty shards came to their end: that is no step.
            self.cursor = replace(self.cursor.after(taken), step=self.cursor.step)
            if self._stream is not None:
                self._stream.advanced(self.cursor)
            return
        batch = Batch(table, rows, self.cursor.epoch, self.cursor.step + 1, known)
        self._pending = _Pending(batch, taken)
        yield batch
        if self._pending is not None:
            raise ConfigurationError(
                f"the batch of step {batch.step} was not used: call step() or advance() once for "
                "each batch"
            )

    def _leave_if_asked(self, shares: list[Share]) -> None:
        if not any(share.stop for share in shares):
            return
        self._speed.state = "leaving"
        self._report(at_once=True)
        if self.cursor.step and self._committed_step != self.cursor.step:
            self._commit()
        raise Left(f"asked to stop: left after step {self.cursor.step}")

    def _commit(self) -> None:
        self._commits.commit(self.cursor, self._stream.begun(self.cursor) if self._stream else {})
        self._committed_step = self.cursor.step
        self._report(at_once=True)

    def _meet(self, epochs: int, size: int) -> Meeting:
        sample = self._sample()
        if sample and (rows := self._assignment.page_rows):
            self._ask_for_pages(int(rows * sample.nbytes / sample.num_rows))
        return meet(
            self._collective,
            Introduction(
                job=self._assignment.job,
                generation=self._assignment.generation,
                epochs=epochs,
                batch_size=size,
                columns=str(self._reader.schema.remove_metadata()),
                weights={shard.id: shard.weight for shard in self._assignment.shards},
                shapes=shapes(sample) if sample else {},
                row_bytes=sample.nbytes / sample.num_rows if sample else 0.0,
            ),
        )

    def _sample(self) -> pa.RecordBatch | None:
        """The first rows of one of the largest shards, for their shapes and size."""
        largest = sorted(self._assignment.shards, key=lambda shard: (-shard.weight, shard.id))
        for shard in largest[:_SAMPLED_SHARDS]:
            stream = self._reader.open(shard.id)
            try:
                for batch in stream:
                    if batch.num_rows:
                        return batch
            finally:
                stream.close()
        return None

    def _ask_for_pages(self, page_bytes: int) -> None:
        """Opens the readers afresh; they still ask for no more than their database can bear."""
        self._reader.close()
        limits = ReadLimits(page_bytes=max(1, page_bytes))
        self._reader = LocalFirst(
            self._assignment, lambda node: self._database.reader(node, limits)
        )

    def _report(self, *, at_once: bool) -> None:
        self._file.write(
            lambda: self._speed.progress(
                self.cursor,
                self._reader.share,
                self._commits.newest,
                self._commits.log_generation,
                self._table.inexact_epochs,
            ),
            at_once=at_once,
        )


def _chosen(argument: str, field_name: str, script: int | None, job: int | None) -> int:
    value = job if script is None else script
    if value is None:
        raise ConfigurationError(
            f"nobody said {argument}: give batches({argument}=...), or spec.training.{field_name}"
        )
    if value < 1:
        raise ConfigurationError(f"{argument} has to be 1 or more, not {value}")
    return value


def _audit(assignment: Assignment, reporting: Reporting) -> AuditLog | None:
    if reporting.audit_directory is None or reporting.audit_column is None:
        return None
    return AuditLog(
        reporting.audit_directory,
        reporting.audit_column,
        assignment.generation,
        assignment.rank,
    )
