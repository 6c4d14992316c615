"""`fit` of Keras 3 on one worker: the same cursor and the same commits as any other training."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa

from insitu.contract import Assignment, Reporting, from_environ
from insitu.data.cursor import Cursor, Digests, Taken
from insitu.data.stream import RankStream
from insitu.databases import Database, DataSource, connect
from insitu.errors import ConfigurationError, InsituError, Left, NoRows
from insitu.keras.require import keras, refuse_many
from insitu.progress import ProgressFile
from insitu.session.arguments import chosen
from insitu.session.collective import Alone, Wish
from insitu.session.commits import Commits
from insitu.session.process import stopped_by_sigterm, told_by_exit_code
from insitu.session.speed import Speedometer
from insitu.session.table_check import Judged, TableCheck
from insitu.tensorflow.dataset import batched
from insitu.tensorflow.feed import Feed
from insitu.tensorflow.leaves import leaves
from insitu.tensorflow.pipeline import batches_of_rows
from insitu.tensorflow.reading import Nulls, Reading, Shape
from insitu.tensorflow.require import tensorflow
from insitu.tensorflow.state import TrainingState
from insitu.topology import ShardId

_log = logging.getLogger("insitu")
Select = Callable[[Mapping[str, Any]], Any]
_SAY = "give session({}=...)"
_OURS = ("x", "y", "batch_size", "epochs", "initial_epoch", "steps_per_epoch", "shuffle")


class Session:
    """One training by `fit`. Made by `insitu.keras.session`.

    TensorFlow reads ahead, so the cursor follows the batches that Keras says it has trained on.
    An optimizer with `gradient_accumulation_steps` keeps what waits in its own variables, and so
    in each commit.
    """

    def __init__(
        self,
        assignment: Assignment,
        feed: Feed,
        table: TableCheck,
        reporting: Reporting,
        reading: Reading,
        batch_size: int,
        epochs: int,
    ) -> None:
        self.cursor = Cursor()
        self.epochs = epochs
        self._assignment = assignment
        self._feed = feed
        self._table = table
        self._reading = reading
        self._batch_size = batch_size
        self._commits: Commits | None = None
        self._stream: RankStream | None = None
        self._taken: Mapping[ShardId, Digests] = {}
        self._handed: deque[tuple[Taken, ...]] = deque()
        self._failed: InsituError | None = None
        self._wish = Wish.GO_ON
        self._model: Any = None
        self._speed = Speedometer()
        self._file = ProgressFile(reporting.progress)

    def fit(self, model: Any, select: Select, **options: Any) -> Any:
        """`model.fit` from the newest commit to the end of all epochs.

        A training that goes on inside of an epoch calls `model.fit` twice: for the rest of that
        epoch, and for all others.

        Args:
            model: Of Keras; built and compiled.
            select: From the dictionary of a batch's columns to what `fit` takes: `(x, y)`, or
                `(x, y, sample_weight)`.
            options: Further ones of `model.fit`: `callbacks`, `validation_data`, `verbose`.

        Returns:
            The `History` of the last call; None where nothing was left to do.

        Raises:
            ConfigurationError: the model can't be trained so, or an option is Insitu's to set.
            NoRows: the table is empty.
            Left: asked to stop (SIGTERM); parameters and cursor are committed.
        """
        refuse_many(self._assignment.world_size, model)
        self._check(model, options)
        self._model = model
        self._begin(model)
        callbacks = [Callback(self), *_as_list(options.pop("callbacks", None))]
        history = None
        if self.cursor.rows and not self._rows_left():
            self._end_epoch()  # It was left after the last step of an epoch.
        if self.cursor.epoch >= self.epochs:
            _log.warning(
                "the newest commit already has %d epochs, and %d were asked for: there is nothing "
                "left to train",
                self.cursor.epoch,
                self.epochs,
            )
        while self.cursor.epoch < self.epochs:
            epoch = self.cursor.epoch
            history = self._fit(
                model,
                self._dataset(select),
                initial_epoch=epoch,
                epochs=epoch + 1 if self.cursor.rows else self.epochs,
                callbacks=callbacks,
                shuffle=False,  # The data order is the job's.
                **options,
            )
            if model.stop_training:
                break
        self._speed.state = "done"
        self.report(at_once=True)
        return history

    def log(self, **scalars: float) -> None:
        """Shows numbers with the job's progress, and draws them at the step made last."""
        self._speed.tell(scalars)
        self._kept.record(self.cursor.step, scalars)

    def close(self) -> None:
        """Tells and writes what is left; safe to call twice."""
        self.report(at_once=True)
        if self._commits is not None:
            self._commits.close()

    def stop(self) -> None:
        """Asks to commit and to end `fit` after the batch that is under way. The script goes on
        behind it, and the job is complete when it ends.
        """
        self._wish = max(self._wish, Wish.FINISH)

    def leave(self) -> None:
        """Asks to commit and to leave after the batch that is under way.

        Raises:
            Left: there is none; everything is committed.
        """
        self._wish = Wish.LEAVE
        if self._speed.state == "done":
            raise Left(f"asked to stop after the last step, {self.cursor.step}")

    def batch_done(self, metrics: Mapping[str, float]) -> None:
        """Keras has trained on one more batch.

        Raises:
            Left: asked to stop; everything is committed.
        """
        taken = self._handed.popleft()
        judged = self._table.stepped(self.cursor, taken)
        self.cursor = judged.cursor.after(taken)
        if self._stream is not None:
            self._stream.advanced(self.cursor)
        self._speed.stepped(sum(each.rows for each in taken), metrics)
        self._kept.record(self.cursor.step, self._speed.scalars(self.cursor, metrics))
        self._accept(Judged(self.cursor, judged.problem))
        every = self._assignment.checkpoint.every_steps
        if self._wish is Wish.FINISH:
            self._model.stop_training = True
        if self._wish is Wish.LEAVE:
            self._speed.state = "leaving"
            self.commit()
            raise Left(f"asked to stop: left after step {self.cursor.step}")
        if every and self.cursor.step % every == 0:
            self._accept(self._table.commit(self.cursor))
            self.commit()
        self.report(at_once=self._speed.steps == 1)

    def epoch_done(self) -> None:
        """Keras has come to the end of an epoch, or was stopped inside of it."""
        shards = {shard.id for shard in self._assignment.shards}
        if self._model.stop_training and not shards <= self.cursor.finished:
            self.commit()
            _log.warning(
                "fit was stopped after step %d: %d of %d epochs are complete, and what was trained "
                "is committed",
                self.cursor.step,
                self.cursor.epoch,
                self.epochs,
            )
            return
        self._end_epoch()

    def _rows_left(self) -> bool:
        with closing(self._pass()) as left:
            return next(left, None) is not None

    def _end_epoch(self) -> None:
        self._accept(self._table.end(self.cursor))
        self.commit()

    def _accept(self, judged: Judged) -> None:
        """Takes over what is known of the table; commits it before it ends the training."""
        self.cursor = judged.cursor
        if judged.problem is not None:
            if self.cursor.step:
                self.commit()
            raise judged.problem

    def commit(self) -> None:
        """Makes model, optimizer and cursor one checkpoint."""
        self._kept.commit(self.cursor, self._stream.begun(self.cursor) if self._stream else {})
        self.report(at_once=True)

    def report(self, *, at_once: bool = False) -> None:
        """Says how far it is."""
        commits = self._commits
        self._file.write(
            lambda: self._speed.progress(
                self.cursor,
                self._feed.share,
                commits.newest if commits else None,
                commits.log_generation if commits else 0,
                self.cursor.inexact_epochs + self.cursor.inexact,
            ),
            at_once=at_once,
        )

    @property
    def _kept(self) -> Commits:
        """Raises `ConfigurationError` before `fit`."""
        if self._commits is None:
            raise ConfigurationError("nothing is trained yet: call fit() first")
        return self._commits

    def _check(self, model: Any, options: Mapping[str, Any]) -> None:
        if taken := [name for name in _OURS if name in options]:
            raise ConfigurationError(f"fit({taken[0]}=...) is for Insitu to say: leave it out")
        if not model.built or getattr(model, "optimizer", None) is None:
            raise ConfigurationError(
                "the model has to be built and compiled before fit: begin it with keras.Input or "
                "call model.build(...), then model.compile(...)"
            )
        if model.steps_per_execution != 1:
            raise ConfigurationError(
                f"steps_per_execution={model.steps_per_execution}: a commit needs to know each "
                "step, so it has to be 1"
            )

    def _begin(self, model: Any) -> None:
        if self._commits is not None:
            raise ConfigurationError("fit() was called before: open another session for another")
        model.optimizer.build(model.trainable_variables)
        kept = tensorflow().train.Checkpoint(model=model, optimizer=model.optimizer)
        self._commits = Commits(self._assignment, Alone(), TrainingState(kept, lambda: None))
        seed = self._assignment.training.seed
        restored = self._commits.restore()
        self.cursor = restored.cursor if restored else self._feed.start(0, seed)
        self._taken = restored.taken if restored else {}
        self._speed.aim(self.epochs, self._assignment.rows or 0)
        self._accept(self._table.begin(self.cursor))
        if self._feed.sample is None and not self._rows_left():
            raise NoRows(f"the table is empty: epoch {self.cursor.epoch + 1} has not one row")
        self.report(at_once=True)

    def _fit(self, model: Any, data: Any, **options: Any) -> Any:
        try:
            return model.fit(data, **options)
        except tensorflow().errors.OpError:
            if self._failed is not None:  # TensorFlow tells it as text.
                raise self._failed from None
            raise

    def _dataset(self, select: Select) -> Any:
        found = leaves(self._feed.schema, self._reading, self._feed.sample)
        rows = batches_of_rows(self._pass, found, self._reading, self._fail)
        data = batched(rows, self._batch_size).map(select)
        if total := self._assignment.rows:
            # Without it Keras takes each end of an epoch for a lack of data, and warns.
            left = -(-(total - self.cursor.rows) // self._batch_size)
            data = data.apply(tensorflow().data.experimental.assert_cardinality(left))
        return data

    def _pass(self) -> Generator[pa.RecordBatch, None, None]:
        """From the cursor to the end of its epoch; Keras begins a new one for each epoch."""
        handed: deque[tuple[Taken, ...]] = deque()
        self._handed = handed
        yield from self._feed.blocks(
            self.cursor,
            self._batch_size,
            handed.append,
            digests=self._taken,
            opened=self._opened if self._kept.kept else None,
        )

    def _opened(self, stream: RankStream) -> None:
        self._stream = stream

    def _fail(self, error: InsituError) -> None:
        self._failed = error


def Callback(session: Session) -> Any:  # noqa: N802 - a class, once there is Keras
    """What tells a session how far `fit` is; `Session.fit` adds one by itself."""

    class _Callback(keras().callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            session.batch_done({name: float(value) for name, value in (logs or {}).items()})

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
            session.epoch_done()
            seen = {k: float(v) for k, v in (logs or {}).items() if k.startswith("val_")}
            session.log(**seen)

    return _Callback()


@contextmanager
def session(
    *,
    batch_size: int | None = None,
    epochs: int | None = None,
    columns: Sequence[str] | None = None,
    shapes: Mapping[str, Shape | None] | None = None,
    cast: Mapping[str, pa.DataType] | None = None,
    nulls: Nulls = "refuse",
    store: str | None = None,
    environ: Mapping[str, str] | None = None,
    open_database: Callable[[DataSource], Database] = connect,
) -> Iterator[Session]:
    """Trains a Keras model beside the database, on one worker.

        with insitu.keras.session(batch_size=256, epochs=20) as session:
            session.fit(model, lambda row: (row["pixels"], row["label"]))

    An `InsituError` that reaches the end of the `with` block is printed as one line and ends the
    process with its `ExitCode`; the script's own exceptions pass through.

    Args:
        batch_size: Rows of a step; the job's `globalBatchSize` by default.
        epochs: Passes over the data in total, those before a resume included; the job's own by
            default.
        columns: Which ones to read; all by default.
        shapes: Of lists, and of bytes to be taken as uint8, by name; see `Reading`.
        cast: Arrow types to turn columns into first, by name.
        nulls: What to take for nulls; see `Reading`.
        store: URL to commit to, in place of the job's; without either nothing is committed.
        environ: The contract's variables; the process's own by default.
        open_database: Connects to a data source.
    """
    environ = os.environ if environ is None else environ
    with told_by_exit_code(environ), ExitStack() as stack:
        keras()
        tensorflow()
        reading = Reading(shapes or {}, cast or {}, nulls)
        assignment = from_environ(environ, open_database)
        refuse_many(assignment.world_size)
        if store is not None:
            assignment = replace(assignment, checkpoint=replace(assignment.checkpoint, store=store))
        if columns is not None:
            source = replace(assignment.source, columns=tuple(columns))
            assignment = replace(assignment, source=source)
        training = assignment.training
        database = open_database(assignment.source)
        stack.callback(database.close)
        opened = Session(
            assignment,
            Feed(assignment, open_database),
            TableCheck(assignment, Alone(), database),
            Reporting.from_environ(environ),
            reading,
            chosen("batch_size", batch_size, training.global_batch_size, _SAY.format("batch_size")),
            chosen("epochs", epochs, training.epochs, _SAY.format("epochs")),
        )
        stack.callback(opened.close)
        stack.enter_context(stopped_by_sigterm(opened.leave))
        yield opened


def _as_list(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
