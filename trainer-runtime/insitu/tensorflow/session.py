"""The session a script trains in: joins the ranks, restores, steps, commits, and leaves."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa

from insitu import session as core
from insitu.checkpoint import Commit, CommitLog, existing_store
from insitu.contract import Reporting, from_environ
from insitu.databases import Database, DataSource, connect
from insitu.errors import ConfigurationError, ExitCode, Left, PeerLost
from insitu.session.commits import Commits, read_state
from insitu.session.process import stopped_by_sigterm, told_by_exit_code
from insitu.tensorflow.batch import Batch, Form
from insitu.tensorflow.link import Link
from insitu.tensorflow.meeting import join
from insitu.tensorflow.patience import Patience
from insitu.tensorflow.reading import Nulls, Reading, Shape
from insitu.tensorflow.require import tensorflow
from insitu.tensorflow.state import TrainingState, make_equal, read_into
from insitu.tensorflow.step import Held, LossOf, Step
from insitu.tensorflow.strategy import addresses, inner, make_strategy


class Session:
    """One rank's training. Made by `insitu.tensorflow.session`.

    Models and optimizers are made in `strategy.scope()` and handed to `keep`; a step is
    `step(loss_of)`. An update of several batches is `accumulate(loss_of)` for all but the last of
    them. A script with a loop of its own uses `strategy.run` and then `advance()`.

    Leaving the `with` block in good order, after a `break` too, commits what was updated; all
    ranks have to leave after the same step, and `stop()` is how one of them brings that about.
    """

    def __init__(
        self,
        tf: Any,
        link: Link,
        strategy: Any,
        patience: Patience,
        start: Callable[[TrainingState], core.Session],
    ) -> None:
        self.strategy = strategy
        self._tf = tf
        self._link = link
        self._patience = patience
        self._start = start
        self._run: core.Session | None = None
        self._model: Any = None
        self._optimizer: Any = None
        self._batch: Batch | None = None
        self._form: Form | None = None
        self._loss: float | None = None
        self._steps: dict[LossOf, Step] = {}
        self._held: Held | None = None
        self._iterations = 0

    @property
    def rank(self) -> int:
        """This process's number, 0 to world_size - 1."""
        return self._link.rank

    @property
    def world_size(self) -> int:
        """How many ranks train together."""
        return self._link.world_size

    @property
    def steps(self) -> int:
        """Optimizer updates of the whole job so far, those before a resume included."""
        return self._running.cursor.step

    def keep(self, *, model: Any, optimizer: Any = None, **more: Any) -> None:
        """Takes what is trained, and gives it the state of the newest commit, if there is one.

        Where there is none all ranks start from the variables of rank 0.

        Args:
            model: With `trainable_variables` and `variables`: of Keras, or a `tf.Module`.
            optimizer: One of Keras; only a script with a loop of its own needs none.
            more: More to keep in commits: anything a `tf.train.Checkpoint` takes.

        Raises:
            ConfigurationError: something was made outside of the strategy's scope, or does not
                fit the commit.
        """
        tf = self._tf
        if self._run is not None:
            raise ConfigurationError("keep() was called before: name everything in one call")
        kept = {"model": model} | ({} if optimizer is None else {"optimizer": optimizer}) | more
        if optimizer is not None and not hasattr(optimizer, "build"):
            raise ConfigurationError(
                f"{type(optimizer).__name__} is no optimizer of Keras, as step() needs one"
            )
        variables = list(model.variables)
        if self.world_size > 1:
            self._check_scope([*variables, *getattr(optimizer, "variables", ())])
        if optimizer is not None:
            with self.strategy.scope():
                optimizer.build(model.trainable_variables)
        make_equal(variables, self._link)
        trained = {id(variable) for variable in model.trainable_variables}
        drifting = [variable for variable in variables if id(variable) not in trained]
        state = TrainingState(tf.train.Checkpoint(**kept), lambda: make_equal(drifting, self._link))
        self._model, self._optimizer = model, optimizer
        self._run = self._start(state)
        self._iterations = self._count_iterations()

    def batches(
        self,
        epochs: int | None = None,
        batch_size: int | None = None,
        *,
        shapes: Mapping[str, Shape | None] | None = None,
        cast: Mapping[str, pa.DataType] | None = None,
        nulls: Nulls = "refuse",
    ) -> Iterator[Batch]:
        """This rank's part of every batch that is left, up to the end of `epochs` passes.

        What the script gives wins over the job's `spec.training`; what it leaves out is the
        job's. The ranks share each batch of `batch_size` rows in proportion to what they have
        left, so a rank may get no rows at all; `step` and `advance` are due all the same.

        Args:
            epochs: Passes over the data in total, those before a resume included.
            batch_size: Rows of a step over all ranks.
            shapes: Of lists, and of bytes to be taken as uint8, by name; see `Reading`.
            cast: Arrow types to turn columns into first, by name.
            nulls: What to take for nulls; see `Reading`.

        Raises:
            ConfigurationError: nobody said how many, or a batch was not followed by a step; ranks
                disagree.
            NoRows: the table is empty.
            UnsupportedType: a column has no tensor; says which, and what to cast it to.
            Left: asked to stop (SIGTERM); parameters and cursor are committed.
        """
        reading = Reading(shapes or {}, cast or {}, nulls)
        self._held = None
        for batch in self._running.batches(epochs, batch_size, self._last_update):
            if self._form is None:
                self._form = Form(batch.table.schema, batch.shapes, reading)
            self._batch = Batch(batch.table, batch.rows_global, batch.epoch, batch.step, self._form)
            yield self._batch

    def step(self, loss_of: LossOf, metrics: Mapping[str, float] | None = None) -> None:
        """One update along the gradient of the mean loss over the whole batch of all ranks.

        Args:
            loss_of: From the dictionary of a batch's columns to the SUM of the losses of its rows
                (`tf.reduce_sum`), a scalar. It is compiled once: use one function for all steps.
            metrics: As for `advance`.

        Raises:
            ConfigurationError: the loss is no scalar, or there is no optimizer.
            PeerLost: another rank went away.
        """
        self._hold(loss_of)
        self._update(metrics)

    def accumulate(self, loss_of: LossOf) -> None:
        """Adds this batch to the next update, which is then one of all its rows: that of the
        `step` which follows, at the latest the job's last. The batch is committed with that
        update, so a crash before it repeats the batch.

        Args:
            loss_of: As for `step`, and the same function.

        Raises:
            ConfigurationError: as for `step`.
        """
        self._hold(loss_of)
        self._batch = None
        self._running.advance(updated=False)

    def stop(self) -> None:
        """Asks all ranks to commit and to end `batches()` after this step; one rank is enough.
        The scripts go on behind their loops, and the job is complete when they end.
        """
        self._running.stop()

    def advance(self, metrics: Mapping[str, float] | None = None) -> None:
        """The batch is now part of the variables; commits when that is due.

        A loop of one's own calls it once for each batch. Batches after which the optimizer that
        was kept made no step count with its next one.

        Args:
            metrics: Numbers to show with the job's progress and to draw. They are this rank's;
                nothing is added up. `loss` is there after `step`: the mean over this rank's rows.
        """
        before, self._iterations = self._iterations, self._count_iterations()
        self._advance(metrics, updated=self._optimizer is None or before != self._iterations)

    def log(self, **scalars: float) -> None:
        """Shows numbers with the job's progress, and draws them in TensorBoard at the step made
        last: `session.log(accuracy=0.97)`. All ranks may call it; those of rank 0 are drawn.
        """
        self._running.log({name: float(value) for name, value in scalars.items()})

    def end(self) -> None:
        """What `insitu.tensorflow.session` does when the `with` block is left in good order."""
        if self._run is not None:
            self._run.end()

    def _hold(self, loss_of: LossOf) -> None:
        batch = self._current()
        assert self._form is not None
        if self._optimizer is None:
            raise ConfigurationError("step() needs an optimizer: keep(model=..., optimizer=...)")
        if loss_of not in self._steps:
            self._steps[loss_of] = Step(
                self._tf,
                self.strategy,
                self._model,
                self._optimizer,
                loss_of,
                self._form.spec,
                self._patience,
            )
        step = self._steps[loss_of]
        if self._held is None:
            self._held = Held(step)
        if self._held.step is not step:
            raise ConfigurationError(
                "accumulate() was given another function for the loss before: all batches of one "
                "update need the same"
            )
        self._held.add(batch.columns, batch.rows, batch.rows_global)

    def _update(self, metrics: Mapping[str, float] | None) -> None:
        held, self._held = self._held, None
        assert held is not None
        if self.world_size > 1:  # A rank that left would be waited for in TensorFlow.
            self._running.before_update()
        held.step.update(held.gradients)
        if held.rows:
            self._loss = held.loss / held.rows
        self._advance(metrics, updated=True)

    def _last_update(self) -> None:
        if self._held is not None:
            self._update(None)

    def _advance(self, metrics: Mapping[str, float] | None, *, updated: bool) -> None:
        self._batch = None
        own = {} if self._loss is None else {"loss": self._loss}
        shown = {**own, **{name: float(v) for name, v in (metrics or {}).items()}}
        self._running.advance(shown, updated=updated)

    def _count_iterations(self) -> int:
        return 0 if self._optimizer is None else int(self._optimizer.iterations.numpy())

    @property
    def _running(self) -> core.Session:
        if self._run is None:
            raise ConfigurationError("say first what is trained: session.keep(model=...)")
        return self._run

    def _current(self) -> Batch:
        if self._batch is None:
            raise ConfigurationError("there is no batch to step on: take one from batches()")
        return self._batch

    def _check_scope(self, variables: list[Any]) -> None:
        for variable in variables:
            if not self.strategy.extended.variable_created_in_scope(inner(self._tf, variable)):
                raise ConfigurationError(
                    f"variable '{variable.name}' was made outside of session.strategy.scope(), so "
                    "ranks would train it apart: make model and optimizer in that scope"
                )


@contextmanager
def session(
    *,
    store: str | None = None,
    timeout_seconds: float = 60.0,
    join_seconds: float = 120.0,
    environ: Mapping[str, str] | None = None,
    open_database: Callable[[DataSource], Database] = connect,
) -> Iterator[Session]:
    """Joins the other ranks, and leaves in good order: what was updated is committed, unless an
    exception ends the `with` block.

        with insitu.tensorflow.session() as session:
            with session.strategy.scope():
                model, optimizer = make_model(), keras.optimizers.Adam()
            session.keep(model=model, optimizer=optimizer)
            for batch in session.batches(epochs=20, batch_size=256):
                session.step(loss_of)

    It has to be the first use of TensorFlow in the process. An `InsituError` that reaches the end
    of the `with` block is printed as one line and ends the process with its `ExitCode`; the
    script's own exceptions pass through. TensorFlow can't change its ranks in place: another
    generation is another process, which goes on from the last commit.

    Args:
        store: URL to commit to, in place of the job's; without either nothing is committed.
        timeout_seconds: How long a rank waits for the others in one exchange; longer than the
            slowest step. A rank whose process ended is noticed at once.
        join_seconds: How long all ranks may take to come together.
        environ: The contract's variables; the process's own by default.
        open_database: Connects to a data source.
    """
    environ = os.environ if environ is None else environ
    with told_by_exit_code(environ), ExitStack() as stack:
        stack.push(_never_wait_for_the_lost)
        tf = tensorflow()
        assignment = from_environ(environ, open_database)
        if store is not None:
            assignment = replace(assignment, checkpoint=replace(assignment.checkpoint, store=store))
        link = join(assignment, join_seconds=join_seconds, timeout_seconds=timeout_seconds)
        stack.push(lambda kind, _error, _trace: link.close(together=kind in (None, Left)))
        strategy = make_strategy(
            tf,
            addresses(assignment, link, environ),
            assignment.rank,
            join_seconds,
        )

        def start(state: TrainingState) -> core.Session:
            run = core.Session(
                assignment,
                link,
                open_database(assignment.source),
                Commits(assignment, link, state),
                Reporting.from_environ(environ),
            )
            stack.callback(run.close)
            stack.enter_context(stopped_by_sigterm(run.leave))
            return run

        opened = Session(tf, link, strategy, Patience(timeout_seconds), start)
        yield opened
        opened.end()


def load(store: str, *, job: str, sequence: int | None = None, **objects: Any) -> Commit:
    """Gives `objects` the state of a commit, outside any training.

    Args:
        store: URL of the checkpoint store, or its directory.
        job: The job's name.
        sequence: Which commit; the newest whole one by default.
        objects: What was kept, by the names it had in `Session.keep`: `model=...`, for example.

    Returns:
        The commit: its `cursor.step` and `time`, for example.

    Raises:
        ConfigurationError: there is no such commit, or it does not fit.
        StoreError: the store can't be read.
    """
    tf = tensorflow()
    log = CommitLog(existing_store(store), job)
    commit = log.at(sequence) if sequence is not None else log.newest().commit
    if commit is None:
        raise ConfigurationError(f"job '{job}' has no commit in {store} yet")
    read_into(tf.train.Checkpoint(**objects), *read_state(log.store, commit))
    return commit


def _never_wait_for_the_lost(kind: type[BaseException] | None, *_: object) -> None:
    """TensorFlow's servers wait for a lost rank when the process ends; it is not to come back."""
    if kind is not None and issubclass(kind, PeerLost):
        atexit.register(_end_at_once)


def _end_at_once() -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(ExitCode.PEER_LOST))
