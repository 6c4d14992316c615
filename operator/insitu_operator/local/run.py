"""Runs one job on this machine: gather, decide, act, write the status; until it ends.

processes ─┐
heartbeats ┼─▶ Observed ─▶ reconcile ─▶ actions ─▶ processes
topology ──┘                  └───────▶ status  ─▶ .insitu/<job>/status.json
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType

from insitu.api import ConditionType, Framework, Status
from insitu.api.status import CheckpointStatus
from insitu.contract import SECRET_VARIABLES, Reporting, to_environ, write_document
from insitu.contract.ports import free_port
from insitu.databases import Database, DataSource, connect
from insitu_operator.core.assignments import assignments
from insitu_operator.core.decision import (
    Action,
    BindWorkers,
    CreateWorkers,
    DeleteJob,
    DeleteWorkers,
    RecordPlan,
    StopWorkers,
)
from insitu_operator.core.objects.environment import secret_variables
from insitu_operator.core.observed import Machine, Observed, Reading, Unread, Worker
from insitu_operator.core.progress import newest
from insitu_operator.core.reconcile import reconcile
from insitu_operator.core.refit import refitted
from insitu_operator.core.stores import commit_uri
from insitu_operator.local.commits import Beginning, Start, begin
from insitu_operator.local.environment import (
    base_environment,
    command_line,
    user_environment,
)
from insitu_operator.local.heartbeats import HeartbeatServer
from insitu_operator.local.prepare import Prepared
from insitu_operator.local.process import TrainerProcess
from insitu_operator.local.watch import TopologyWatch
from insitu_operator.local.workers import LocalWorkers

TICK_SECONDS = 0.2
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Snapshot:
    """One pass, for whoever shows it."""

    at: datetime
    observed: Observed
    status: Status
    actions: tuple[Action, ...]
    pids: Mapping[int, int]
    interrupted: bool


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `interrupted` when somebody stopped it before the job had ended."""

    status: Status
    interrupted: bool


def run(
    prepared: Prepared,
    start: Start,
    show: Callable[[Snapshot], None],
    open_database: Callable[[DataSource], Database] = connect,
) -> Outcome:
    """Runs the job to its end. Must be called from the main thread; leaves no process behind.

    The first SIGINT, SIGTERM or SIGHUP lets the ranks commit and leave; the second kills them.

    Raises:
        ConfigurationError: a Secret is missing, the job is running already, or it has commits
            and `start` does not say what to do with them.
        StoreError: the store of the checkpoints can't be read.
    """
    with prepared.folder.locked():
        resume_from = prepared.job.spec.checkpoint.resume_from
        beginning = begin(start, prepared.folder, prepared.store, prepared.name, resume_from)
        prepared = prepared.of_run(beginning.run)
        with (
            HeartbeatServer(prepared.name) as heartbeats,
            TopologyWatch(prepared.source, open_database) as watch,
        ):
            return _Run(prepared, beginning, heartbeats, watch, show).to_the_end()


class _Run:
    def __init__(
        self,
        prepared: Prepared,
        beginning: Beginning,
        heartbeats: HeartbeatServer,
        watch: TopologyWatch,
        show: Callable[[Snapshot], None],
    ) -> None:
        self._prepared = prepared
        self._beginning = beginning
        self._heartbeats = heartbeats
        self._watch = watch
        self._show = show
        self._workers = LocalWorkers(heartbeats.newest)
        self._record = beginning.record
        self._status = beginning.status
        self._commit = beginning.commit
        self._reading: Reading | None = None
        self._interrupts = 0
        # Resolved before anything starts, so that a missing Secret is said at once.
        self._variables = user_environment(prepared.job.spec, prepared.secret)

    def to_the_end(self) -> Outcome:
        with self._signals():
            try:
                while True:
                    wait = self._pass()
                    if self._over():
                        return Outcome(self._status, self._interrupts > 0 and not self._finished)
                    if self._interrupts > 1:
                        return Outcome(self._status, interrupted=not self._finished)
                    time.sleep(min(TICK_SECONDS, wait))
            finally:
                self._workers.kill()

    @property
    def _finished(self) -> bool:
        return self._status.is_true(ConditionType.FINISHED)

    def _over(self) -> bool:
        if self._workers.pids:
            return False
        ends = (ConditionType.FINISHED, ConditionType.SUSPENDED, ConditionType.STALLED)
        return any(self._status.is_true(end) for end in ends)

    def _pass(self) -> float:
        newest, unread = self._watch.newest()
        reading = refitted(newest, self._prepared.job.spec.data.kind, self._record)
        self._reading = reading
        observed = self._observe(reading, unread)
        now = datetime.now(UTC)
        decision = reconcile(observed, now)
        for action in decision.actions:
            self._act(action)
        if decision.status != self._status:
            self._prepared.folder.write_status(decision.status)
        self._status = decision.status
        self._show(
            Snapshot(
                now,
                observed,
                decision.status,
                decision.actions,
                self._workers.pids,
                self._interrupts > 0,
            )
        )
        return TICK_SECONDS if decision.requeue_after is None else decision.requeue_after

    def _observe(self, reading: Reading | None, unread: Unread | None) -> Observed:
        job = self._prepared.job
        spec = job.spec.model_copy(update={"suspend": self._interrupts > 0})
        workers = self._workers.observe()
        self._note_commit(workers)
        nodes = reading.topology.nodes if reading else ()
        return Observed(
            job=job.model_copy(update={"spec": spec, "status": self._status}),
            record=self._record,
            reading=reading,
            unread=unread,
            workers=workers,
            machines={node.id: Machine(node.host) for node in nodes},
            commit=self._commit,
            committed_generation=max(self._beginning.generation, self._heartbeats.log_generation),
        )

    def _act(self, action: Action) -> None:
        match action:
            case RecordPlan(record):
                self._prepared.folder.write_record(record)
                self._record = record
                self._heartbeats.advance(record.generation)
            case CreateWorkers():
                self._workers.create(action)
            case BindWorkers(generation):
                self._bind(generation)
            case StopWorkers():
                self._workers.stop(action)
            case DeleteWorkers():
                self._workers.delete(action)
            case DeleteJob():
                """A manifest on disk is its author's."""

    def _bind(self, generation: int) -> None:
        prepared, record, reading = self._prepared, self._record, self._reading
        assert record is not None
        assert reading is not None
        parts = assignments(
            prepared.job,
            record,
            reading.topology,
            source=prepared.source,
            store=prepared.store,
            master=(LOOPBACK, _free_port()),
            workers=self._tensorflow_servers(record.plan.world_size),
        )
        base = base_environment(record.plan.world_size)

        def start(rank: int) -> TrainerProcess:
            document = prepared.folder.document(generation, rank)
            document.parent.mkdir(parents=True, exist_ok=True)
            write_document(parts[rank], document)
            reporting = Reporting(
                progress=prepared.folder.progress(generation, rank), heartbeat=self._heartbeats.url
            )
            own = {
                **to_environ(parts[rank], document),
                **reporting.to_environ(),
                SECRET_VARIABLES: secret_variables(prepared.job),
            }
            return TrainerProcess(
                command_line(prepared.job.spec, self._variables | own),
                base | self._variables | own,
                prepared.workdir,
                prepared.folder.log(generation, rank),
            )

        self._workers.bind(generation, start)

    def _tensorflow_servers(self, count: int) -> tuple[tuple[str, int], ...]:
        if self._prepared.job.spec.trainer.framework is not Framework.TENSORFLOW:
            return ()
        ports: set[int] = set()
        while len(ports) < count:
            ports.add(free_port())
        return tuple((LOOPBACK, port) for port in sorted(ports))

    def _note_commit(self, workers: tuple[Worker, ...]) -> None:
        progress = newest(workers)
        if progress is None or progress.commit is None:
            return
        step = progress.commit_step or 0
        uri = commit_uri(self._prepared.store, self._prepared.name, progress.commit)
        if self._commit is None or (self._commit.step, self._commit.uri) != (step, uri):
            self._commit = CheckpointStatus(
                step=step, time=datetime.now(UTC).replace(microsecond=0), uri=uri
            )

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def interrupt(_number: int, _frame: FrameType | None) -> None:
            self._interrupts += 1

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, interrupt) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
