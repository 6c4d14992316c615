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
from insitu.data.cursor import BegunShard, Cursor, Taken
from insitu.data.gather import Piece, gather
from insitu.data.order import Order
from insitu.data.quota import Remaining, quotas
from insitu.data.stream import RankStream
from insitu.databases import Database, ReadLimits
from insitu.errors import ConfigurationError, Left, NoRows, StaleGeneration
from insitu.progress import ProgressFile
from insitu.session.agreement import Agreement
from insitu.session.arguments import chosen
from insitu.session.audit import AuditLog
from insitu.session.collective import Collective, Intent, Share, Wish
from insitu.session.commits import Commits
from insitu.session.locality import LocalFirst
from insitu.session.meeting import Introduction, Meeting, meet
from insitu.session.process import Place
from insitu.session.speed import Speedometer
from insitu.session.table_check import Judged, TableCheck
from insitu.topology import ShardId

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


class _Finished(Exception):
    """The script asked all ranks to end their batches."""


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
        self._agreement = Agreement(collective)
        self._place = Place()
        self._pending: _Pending | None = None
        self._waiting_rows = 0
        self._commit_due = False
        self._dry = False
        self._epochs = 0
        self.cursor = Cursor()
        try:
            restored = commits.restore()
        except StaleGeneration:  # Whoever starts the next generation has to count on from it.
            self._report(at_once=True)
            raise
        self.cursor = self._position = self._committed = restored.cursor if restored else Cursor()
        self._resumed = restored is not None
        self._taken = restored.taken if restored else {}
        self._stream: RankStream | None = None
        self._begun_before: Mapping[ShardId, BegunShard] | None = None
        self._report(at_once=True)

    def stop(self) -> None:
        """Asks all ranks to commit and to end their batches after this step. One rank is enough;
        safe to call more than once.
        """
        self._agreement.wish = max(self._agreement.wish, Wish.FINISH)

    def leave(self) -> None:
        """Asks all ranks to commit and to leave at the next step: the job is to go on later. Safe
        to call from a signal handler and more than once.

        Raises:
            Left: there is no next step; everything is committed.
        """
        self._agreement.wish = Wish.LEAVE
        if self._speed.state == "done":
            raise Left(f"asked to stop after the last step, {self.cursor.step}")

    def batches(
        self,
        epochs: int | None = None,
        batch_size: int | None = None,
        last_update: Callable[[], None] = lambda: None,
    ) -> Iterator[Batch]:
        """The batches that are left of `epochs` passes over the data, `advance` after each.

        Args:
            epochs: Passes in total, those before a resume included; the job's own by default.
            batch_size: Rows of a step over all ranks; the job's own by default.
            last_update: Called when all is over and batches still wait for an update.

        Raises:
            Left: all ranks were asked to leave, and have committed.
            ConfigurationError: neither the script nor the job says one of the two, or it is no
                number; ranks disagree; `advance` was forgotten; this is another process or thread.
            NoRows: an epoch had none.
            DataLost, DataChanged: an epoch was not exact, and the job wants that to end it.
        """
        self._place.check("batches() are iterated")
        training, said = self._assignment.training, (epochs, batch_size)
        epochs = _chosen("epochs", "epochs", epochs, training.epochs)
        size = _chosen("batch_size", "globalBatchSize", batch_size, training.global_batch_size)
        if not all(said) and not self._assignment.generation:
            self._say_once(
                f"run alone, and the script leaves it open: epochs={epochs}, batch_size={size} rows"
            )
        meeting = self._meet(epochs, size)
        if not self._resumed and not self.cursor.step:
            self.cursor = Cursor(order=Order.sized(training.seed, meeting.row_bytes))
        self._position = self._after_last_update()
        self._pending, self._waiting_rows = None, 0
        self._epochs = epochs
        self._speed.aim(epochs, self._assignment.rows or meeting.rows)
        self._accept(self._table.begin(self._position))
        if self.cursor.epoch >= epochs:
            self._say_once(
                f"the newest commit already has {self.cursor.epoch} epochs, and {epochs} were "
                "asked for: there is nothing left to train"
            )
        self._agreement.begin(meeting.shards)
        try:
            while self._position.epoch < epochs:
                yield from self._epoch(meeting, size)
                last = self._position.epoch + 1 == epochs
                if last and self._waiting_rows:
                    last_update()
                self._end_epoch(last=last)
        except _Finished:
            self._commit_new()
            self._say_ended(f"asked to stop by the script after step {self.cursor.step}")
        self._agreement.finish()
        self._speed.state = "done"
        self._report(at_once=True)

    def before_update(self) -> None:
        """Tells the others that this rank goes on to an update with the batch handed out last.

        Raises:
            ConfigurationError: another rank does not.
        """
        self._agreement.update(self.cursor.step)

    def advance(self, metrics: Mapping[str, float] | None = None, *, updated: bool = True) -> None:
        """The batch handed out last is now part of the parameters. Commits when that is due.

        Args:
            metrics: Numbers to show.
            updated: False where its gradients only wait for a later update: then it counts, and
                can be committed, with that one.

        Raises:
            ConfigurationError: there is no such batch.
            StoreError, StaleGeneration: the commit could not be made.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            if self._audit:
                self._audit.write(pending.batch.epoch, pending.batch.step, pending.batch.table)
            self._position = replace(self._position.after(pending.taken), step=self.cursor.step)
            self._waiting_rows += pending.batch.rows_global
        elif not (updated and self._waiting_rows):
            raise ConfigurationError("there is no batch to advance past: take one from batches()")
        if not updated:
            return
        first = self._speed.steps == 0
        self.cursor = self._position = replace(self._position, step=self.cursor.step + 1)
        self._begun_before = None
        if self._stream is not None:
            self._stream.advanced(self.cursor)
        rows, self._waiting_rows = self._waiting_rows, 0
        self._speed.stepped(rows, metrics or {})
        self._commits.record(self.cursor.step, self._speed.scalars(self.cursor, metrics or {}))
        every = self._assignment.checkpoint.every_steps
        if self._commit_due or (every and self.cursor.step % every == 0):
            if self._commits.kept:
                self._accept(self._table.commit(self._position))
            self._commit()
        self._report(at_once=first)

    def end(self) -> None:
        """The script has left its `with` block in good order: all ranks together, that is. What
        they have updated is committed.

        Raises:
            ConfigurationError: other ranks go on.
            Left: they were asked to leave.
        """
        while self._agreement.taking:
            wish = self._agreement.end(self.cursor.step)
            if wish is None:
                if self._dry and self._pending is None and not self._waiting_rows:
                    self._end_epoch(last=False)
                break
            if wish is Wish.LEAVE:
                self._leave()
            self._commit_new()
            self._agreement.finish()
        else:
            self._agreement.end(self.cursor.step)
        if self._speed.state != "done" and self.cursor.step:
            self._commit_new()
            self._say_ended(f"left by the script after step {self.cursor.step}")
            self._speed.state = "done"

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
        stream = RankStream(
            self._assignment.shards,
            self._position,
            lambda _shard: self._reader,
            self._reader.schema,
            digests=self._taken,
            tracked=self._commits.kept,
        )
        self._stream = stream
        try:
            shares = self._take(0, stream.remaining, ())
            while not self._dry:
                pieces, rows, taken, shares = self._draw(stream, shares, size)
                table = gather(pieces, self._reader.schema)
                yield from self._step(table, rows, taken, meeting.shapes)
            self._take(0, stream.remaining, (), finish=False)  # Are all still there?
        finally:
            stream.close()

    def _draw(
        self, stream: RankStream, shares: list[Share], size: int
    ) -> tuple[list[Piece], int, tuple[Taken, ...], list[Share]]:
        """This rank's pieces of a step, the rows and the use of all ranks, and their last shares.

        Ranks whose rows are estimates may have fewer than they are asked for. Others make up for
        them in a further round, so that only an epoch's last step is short.
        """
        pieces: list[Piece] = []
        taken: list[Taken] = []
        rows = 0
        while rows < size and not self._dry:
            asked = quotas([share.remaining for share in shares], size - rows)
            mine, used = stream.draw(asked[self._collective.rank])
            pieces += mine
            drawn = sum(piece.end - piece.first for piece in mine)
            shares = self._take(drawn, stream.remaining, used)
            rows += sum(share.rows for share in shares)
            taken += [one for share in shares for one in share.taken]
        return pieces, rows, tuple(taken), shares

    def _take(
        self, rows: int, remaining: Remaining, taken: tuple[Taken, ...], *, finish: bool = True
    ) -> list[Share]:
        """What all ranks took, unless one of them asked to stop."""
        shares = self._agreement.take(rows, remaining, taken, self.cursor.step)
        wish = max(share.wish for share in shares)
        if wish is Wish.LEAVE:
            self._leave()
        some_left = any(share.intent is Intent.END for share in shares)
        if wish is Wish.FINISH and (finish or some_left):
            raise _Finished
        self._dry = not any(share.remaining.rows for share in shares)
        return shares

    def _step(
        self,
        table: pa.RecordBatch,
        rows: int,
        taken: tuple[Taken, ...],
        known: Mapping[str, Shape],
    ) -> Iterator[Batch]:
        self._accept(self._table.stepped(self._position, taken))
        if not rows:  # Only empty shards came to their end: that is no step.
            self._position = replace(self._position.after(taken), step=self.cursor.step)
            if not self._waiting_rows:
                self.cursor = self._position
                if self._stream is not None:
                    self._stream.advanced(self.cursor)
            return
        batch = Batch(table, rows, self._position.epoch, self.cursor.step + 1, known)
        self._pending = _Pending(batch, taken)
        yield batch
        self._place.check("batches() are iterated")
        if self._pending is not None:
            raise ConfigurationError(
                f"the batch of step {batch.step} was not used: call step() or advance() once for "
                "each batch"
            )

    def _end_epoch(self, *, last: bool) -> None:
        judged = self._table.end(self._position)
        if judged.problem is not None:
            self._accept(judged)
        if not self._position.rows:
            raise NoRows(
                f"the table is empty: epoch {self._position.epoch + 1} had not one row, on any rank"
            )
        self._position = judged.cursor
        if self._waiting_rows and not last:
            self._commit_due = True
            if self._begun_before is None and self._stream is not None:
                self._begun_before = self._stream.begun(self.cursor)
            return
        if self._waiting_rows:
            self._say_once(
                f"the last {self._waiting_rows} rows are part of no update: the loop ended with "
                "gradients that no optimizer step had used"
            )
        self.cursor = self._position
        self._commit()

    def _leave(self) -> None:
        self._speed.state = "leaving"
        self._report(at_once=True)
        self._commit_new()
        raise Left(f"asked to stop: left after step {self.cursor.step}")

    def _say_ended(self, how: str) -> None:
        done = f"{self.cursor.epoch} of {self._epochs} epochs are complete"
        self._say_once(f"{how}: {done}, and what was trained is committed")

    def _say_once(self, text: str) -> None:
        if self._collective.rank == 0:
            _log.warning("%s", text)

    def _accept(self, judged: Judged) -> None:
        """Takes over what is known of the table. What ends the job is committed before it is
        raised: whoever resumes it has been told.
        """
        self._position = found = judged.cursor
        if self._waiting_rows:  # The last update may lie in an earlier epoch.
            inexact = self.cursor.inexact or found.inexact
            self.cursor = replace(self.cursor, counted=found.counted, inexact=inexact)
        else:
            self.cursor = found
        if judged.problem is not None:
            if self.cursor.step:
                self._commit()
            raise judged.problem

    def _commit_new(self) -> None:
        if self.cursor.step and self._committed != self.cursor:
            self._commit()

    def _commit(self) -> None:
        self._commits.commit(self.cursor, self._begun())
        self._committed, self._commit_due = self.cursor, False
        self._report(at_once=True)

    def _begun(self) -> Mapping[ShardId, BegunShard]:
        """Where this rank's shards go on at the last update; what was drawn since may lie in a
        later epoch.
        """
        if self._begun_before is not None:
            return self._begun_before
        return self._stream.begun(self.cursor) if self._stream is not None else {}

    def _after_last_update(self) -> Cursor:
        """Where a loop begins: one that was left inside of an epoch goes on there."""
        if self._stream is None or not self.cursor.rows:
            return self.cursor
        if not self._commits.kept:
            raise ConfigurationError(
                "batches() was left inside of an epoch before, and without a checkpoint store "
                "nothing knows where that was: name a store, or keep the iterator and go on with it"
            )
        begun = self._begun()
        self._taken = {shard: one.taken for shard, one in begun.items()}
        return replace(self.cursor, blocks={shard: one.block for shard, one in begun.items()})

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
                self.cursor.inexact_epochs + self.cursor.inexact,
            ),
            at_once=at_once,
        )


def _chosen(argument: str, field_name: str, script: int | None, job: int | None) -> int:
    say = f"give batches({argument}=...), or spec.training.{field_name}"
    return chosen(argument, script, job, say)


def _audit(assignment: Assignment, reporting: Reporting) -> AuditLog | None:
    if reporting.audit_directory is None or reporting.audit_column is None:
        return None
    return AuditLog(
        reporting.audit_directory,
        reporting.audit_column,
        assignment.generation,
        assignment.rank,
    )
