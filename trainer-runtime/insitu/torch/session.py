"""The session a script trains in: joins the ranks, restores, steps, commits, and leaves."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from insitu import session as core
from insitu.checkpoint import Commit, CommitLog, existing_store
from insitu.contract import Reporting, from_environ
from insitu.databases import Database, DataSource, connect
from insitu.errors import ConfigurationError, Left
from insitu.session.commits import Commits, read_state
from insitu.session.process import stopped_by_sigterm, told_by_exit_code
from insitu.torch.batch import Batch
from insitu.torch.gradients import add_gradients, broadcast, say_left
from insitu.torch.group import Group
from insitu.torch.state import Stateful, TrainingState, kept, load_into

_log = logging.getLogger("insitu")


class Session:
    """One rank's training. Made by `insitu.torch.session`.

    A step is `step(loss)`. Where more has to happen between gradient and update (clipping, say)
    it is `backward(loss)`, then whatever it is, then `update()`. An update of several batches is
    `accumulate(loss)` for all but the last of them. A script with a loop or a
    DistributedDataParallel of its own calls `scale(loss).backward()`, its optimizer, `advance()`.

    Leaving the `with` block in good order, after a `break` too, commits what was updated; all
    ranks have to leave after the same step, and `stop()` is how one of them brings that about.
    """

    def __init__(
        self,
        run: core.Session,
        group: Group,
        model: nn.Module,
        optimizer: Optimizer,
        scheduler: LRScheduler | None,
    ) -> None:
        self._run = run
        self._group = group
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._batch: Batch | None = None
        self._loss: float | None = None
        self._losses = _Sum()
        self._own_loop = False
        self._moved = False
        self._moved_in = 0

    @property
    def rank(self) -> int:
        """This process's number, 0 to world_size - 1."""
        return self._group.rank

    @property
    def world_size(self) -> int:
        """How many ranks train together."""
        return self._group.world_size

    @property
    def steps(self) -> int:
        """Optimizer updates of the whole job so far, those before a resume included."""
        return self._run.cursor.step

    def batches(self, epochs: int | None = None, batch_size: int | None = None) -> Iterator[Batch]:
        """This rank's part of every batch that is left, up to the end of `epochs` passes.

        What the script gives wins over the job's `spec.training`; what it leaves out is the
        job's. The ranks share each batch of `batch_size` rows in proportion to what they have
        left, so a rank may get no rows at all: its batch is empty then, and its loss ignored.

        Args:
            epochs: Passes over the data in total, those before a resume included.
            batch_size: Rows of a step over all ranks.

        Raises:
            ConfigurationError: nobody said how many, or a batch was not followed by a step; ranks
                disagree; it is iterated in another process, as by a DataLoader with workers.
            NoRows: the table is empty.
            Left: asked to stop (SIGTERM); parameters and cursor are committed.
        """
        self._losses = _Sum()
        for batch in self._run.batches(epochs, batch_size, self._last_update):
            self._batch = Batch(
                batch.table, batch.rows_global, batch.epoch, batch.step, batch.shapes
            )
            yield self._batch

    def step(self, loss: Tensor, metrics: Mapping[str, float] | None = None) -> None:
        """One update: `backward(loss)` and `update(metrics)`."""
        self.backward(loss)
        self.update(metrics)

    def backward(self, loss: Tensor) -> None:
        """Leaves in every `grad` the gradient of the mean loss over the whole batch of all ranks.

        Args:
            loss: The SUM of the losses of this rank's rows (`reduction="sum"`), a scalar. With a
                mean, ranks with few rows would weigh as much as those with many, and the step
                would be smaller by the rows of the batch. A mean is refused where torch shows it.

        Raises:
            ConfigurationError: the loss is no scalar.
            PeerLost: another rank went away.
        """
        self._own_gradient(loss)
        self._add_gradients()

    def accumulate(self, loss: Tensor) -> None:
        """Adds this batch to the next update, which is then one of all its rows: that of the
        `step` or `backward` which follows, at the latest the job's last. The batch is committed
        with that update, so a crash before it repeats the batch.

            for number, batch in enumerate(session.batches(), 1):
                loss = loss_of(model(batch["x"]), batch["y"])
                session.step(loss) if number % 4 == 0 else session.accumulate(loss)

        Args:
            loss: As for `backward`.

        Raises:
            ConfigurationError: as for `backward`.
        """
        self._own_gradient(loss)
        self._batch = None
        self._run.advance(updated=False)

    def stop(self) -> None:
        """Asks all ranks to commit and to end `batches()` after this step; one rank is enough.
        The scripts go on behind their loops, and the job is complete when they end.
        """
        self._run.stop()

    def update(self, metrics: Mapping[str, float] | None = None) -> None:
        """Moves the parameters along their gradients, the scheduler a step on, and advances."""
        self._optimizer.step()
        if self._scheduler is not None:
            self._scheduler.step()
        self._advance(metrics, updated=True)

    def scale(self, loss: Tensor) -> Tensor:
        """`loss` (a sum, as ever) such that the mean of the ranks' gradients is the gradient of
        the mean loss over the whole batch: what DistributedDataParallel has to be given.
        """
        self._own_loop = True
        _refuse_mean(loss)
        return loss * (self.world_size / self._current().rows_global)

    def advance(self, metrics: Mapping[str, float] | None = None) -> None:
        """The batch is now part of the parameters; commits when that is due.

        A loop of one's own calls it once for each batch. Batches after which the optimizer made
        no step (their gradients are accumulated, or a GradScaler skipped it) count with its next.

        Args:
            metrics: Numbers to show with the job's progress and to draw. They are this rank's;
                nothing is added up. `loss` is there already: the mean over this rank's rows.

        Raises:
            ConfigurationError: for a whole epoch the optimizer has made no step.
        """
        self._own_loop = True
        self._advance(metrics, updated=self._moved)

    def log(self, **scalars: float) -> None:
        """Shows numbers with the job's progress, and draws them in TensorBoard at the step made
        last: `session.log(accuracy=0.97)`. All ranks may call it; those of rank 0 are drawn.
        """
        self._run.log({name: float(value) for name, value in scalars.items()})

    def end(self) -> None:
        """What `insitu.torch.session` does when the `with` block is left in good order."""
        if self._batch is not None and not self._own_loop:
            say_left(self._parameters, self._group.add)
        self._run.end()

    def moved(self) -> None:
        """The optimizer has made a step."""
        self._moved = True

    def _advance(self, metrics: Mapping[str, float] | None, *, updated: bool) -> None:
        epoch = self._batch.epoch if self._batch else self._moved_in
        if updated:
            self._moved_in = epoch
        elif epoch > self._moved_in + 1:
            raise ConfigurationError(
                "for a whole epoch the optimizer that insitu.torch.session was given has made no "
                "step: give it the one that the loop uses, or call step(loss)"
            )
        self._batch, self._moved = None, False
        own = {} if self._loss is None else {"loss": self._loss}
        shown = {**own, **{name: float(v) for name, v in (metrics or {}).items()}}
        self._run.advance(shown, updated=updated)

    def _own_gradient(self, loss: Tensor) -> None:
        """Adds this rank's gradient, of the mean loss over the first batch of the update."""
        batch = self._current()
        if loss.ndim:
            raise ConfigurationError(
                f"the loss has the shape {tuple(loss.shape)}: it has to be one number, the sum "
                'over this rank\'s rows (reduction="sum")'
            )
        if not self._losses.rows_global:
            self._optimizer.zero_grad(set_to_none=True)
            for parameter in self._parameters:  # The optimizer need not have all of them.
                parameter.grad = None
        if batch.rows:  # Without rows there is nothing to add, whatever the script made of it.
            _refuse_mean(loss)
            if not loss.requires_grad:
                raise ConfigurationError(_NOT_TRAINED)
            scaled = loss / (self._losses.first or batch.rows_global)
            scaled.backward()  # type: ignore[no-untyped-call]
        self._losses.add(loss.item() if batch.rows else 0.0, batch.rows, batch.rows_global)

    def _add_gradients(self) -> None:
        """Over all ranks and all batches of the update."""
        summed, self._losses = self._losses, _Sum()
        if summed.rows:
            self._loss = summed.loss / summed.rows
        if summed.rows_global != summed.first:
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(summed.first / summed.rows_global)
        if not add_gradients(self._parameters, self._group.add, when_left=self._run.before_update):
            raise ConfigurationError(_NOT_TRAINED)

    def _last_update(self) -> None:
        if self._losses.rows_global:
            self._add_gradients()
            self.update()

    def _current(self) -> Batch:
        if self._batch is None:
            raise ConfigurationError("there is no batch to step on: take one from batches()")
        return self._batch


@dataclass(slots=True)
class _Sum:
    """Of the batches of one update: this rank's loss and rows, and the rows of all ranks; `first`
    are those of the first batch.
    """

    loss: float = 0.0
    rows: int = 0
    rows_global: int = 0
    first: int = 0

    def add(self, loss: float, rows: int, rows_global: int) -> None:
        self.loss += loss
        self.rows += rows
        self.rows_global += rows_global
        self.first = self.first or rows_global


_NOT_TRAINED = (
    "the loss depends on no parameter of the model that insitu.torch.session was given: nothing "
    "would be trained. Give it the model that the loss is computed with"
)
_MEAN = 1  # torch.nn._reduction


def _refuse_mean(loss: Tensor) -> None:
    """Where torch tells what the loss is made by. Whatever was computed with it since hides it."""
    made_by = loss.grad_fn
    if made_by is None:
        return
    if made_by.name() != "MeanBackward0" and getattr(made_by, "_saved_reduction", None) != _MEAN:
        return
    raise ConfigurationError(
        f"the loss is a mean over this rank's rows ({made_by.name()}): it has to be their sum "
        '(reduction="sum", or .sum()). The step divides by the rows of the whole batch'
    )


def _check_optimizer(model: nn.Module, optimizer: Optimizer) -> None:
    own = {id(parameter): name for name, parameter in model.named_parameters()}
    moved = [p for group in optimizer.param_groups for p in group["params"]]
    strange = [p for p in moved if id(p) not in own]
    if strange:
        raise ConfigurationError(
            f"{len(strange)} of the {len(moved)} parameters that the optimizer moves are not the "
            f"model's (one has the shape {tuple(strange[0].shape)}): no commit would hold them, "
            "and ranks would train them apart. Make the optimizer with model.parameters(), after "
            "anything that replaces them, or put all that is trained into one model"
        )


@contextmanager
def session(
    *,
    model: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler | None = None,
    state: Mapping[str, Stateful] | None = None,
    store: str | None = None,
    timeout_seconds: float = 60.0,
    join_seconds: float = 120.0,
    environ: Mapping[str, str] | None = None,
    open_database: Callable[[DataSource], Database] = connect,
) -> Iterator[Session]:
    """Joins the other ranks, restores the newest commit, and leaves in good order: what was
    updated is committed, unless an exception ends the `with` block.

    Where there is no commit yet all ranks start from the parameters and buffers of rank 0, whose
    buffers also are those of every commit. Random numbers of torch go on too; each rank has its
    own. An
    `InsituError` that reaches the end of the `with` block is printed as one line and ends the
    process with its `ExitCode`; the script's own exceptions pass through.

    Args:
        model: What is trained, and kept in commits with its buffers.
        optimizer: Over the model's parameters; its state is kept too.
        scheduler: Moved on after every update, and kept. One that moves on by epochs belongs
            into `state`, and is the script's own to move.
        state: More to keep: anything with `state_dict` and `load_state_dict`, by name. It has to
            be the same on all ranks.
        store: URL to commit to, in place of the job's; without either nothing is committed.
        timeout_seconds: How long a rank waits for the others in one exchange; longer than the
            slowest step. A rank whose process ended is noticed at once.
        join_seconds: How long all ranks may take to come together.
        environ: The contract's variables; the process's own by default.
        open_database: Connects to a data source.
    """
    environ = os.environ if environ is None else environ
    with told_by_exit_code(environ), ExitStack() as stack:
        assignment = from_environ(environ, open_database)
        group = Group(
            assignment.rank,
            assignment.world_size,
            assignment.master,
            join_seconds=join_seconds,
            timeout_seconds=timeout_seconds,
        )
        stack.push(lambda kind, _error, _trace: group.close(together=kind in (None, Left)))
        if store is not None:
            assignment = replace(assignment, checkpoint=replace(assignment.checkpoint, store=store))
        _check_optimizer(model, optimizer)
        broadcast([*model.parameters(), *model.buffers()], group.broadcast)
        if group.rank:  # Ranks with the same seed would all drop the same units.
            torch.manual_seed(torch.initial_seed() + group.rank)
        training = TrainingState(
            kept(model, optimizer, scheduler, state or {}),
            group.rank,
            before=lambda: broadcast(model.buffers(), group.broadcast),
        )
        run = core.Session(
            assignment,
            group,
            open_database(assignment.source),
            Commits(assignment, group, training),
            Reporting.from_environ(environ),
        )
        stack.callback(run.close)
        stack.enter_context(stopped_by_sigterm(run.leave))
        opened = Session(run, group, model, optimizer, scheduler)
        hook = optimizer.register_step_post_hook(lambda *_: opened.moved())
        stack.callback(hook.remove)
        yield opened
        opened.end()


def load(
    store: str,
    *,
    job: str,
    model: nn.Module,
    optimizer: Optimizer | None = None,
    state: Mapping[str, Stateful] | None = None,
    sequence: int | None = None,
) -> Commit:
    """Gives `model`, and what else is asked for, the state of a commit, outside any training.

    Args:
        store: URL of the checkpoint store, or its directory.
        job: The job's name.
        model: A model like the one that was trained.
        optimizer: One like that of the training.
        state: More that was kept, by name.
        sequence: Which commit; the newest whole one by default.

    Returns:
        The commit: its `cursor.step` and `time`, for example.

    Raises:
        ConfigurationError: there is no such commit, or it does not fit.
        StoreError: the store can't be read.
    """
    log = CommitLog(existing_store(store), job)
    commit = log.at(sequence) if sequence is not None else log.newest().commit
    if commit is None:
        raise ConfigurationError(f"job '{job}' has no commit in {store} yet")
    load_into(kept(model, optimizer, None, state or {}), *read_state(log.store, commit))
    return commit
