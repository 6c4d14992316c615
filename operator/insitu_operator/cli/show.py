"""The three ways to follow a run: a live table, plain lines, JSON lines."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Protocol, Self

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from insitu_operator.cli.events import INTERRUPTED, Event, changes, progress_line
from insitu_operator.cli.plan_table import plan_table
from insitu_operator.cli.rates import Rates
from insitu_operator.core.decision import RecordPlan
from insitu_operator.core.progress import newest, rows_per_second
from insitu_operator.core.status import state_of
from insitu_operator.core.summary import explanation, short_time
from insitu_operator.local.run import Snapshot

_MOST_RANKS = 32
_COLOURS = {
    "Running": "green",
    "Succeeded": "green",
    "Failed": "red",
    "Stopping": "yellow",
    "Stopped": "yellow",
}


class Show(Protocol):
    """Shows each pass of a run, and how it ended."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def update(self, snapshot: Snapshot) -> None: ...

    def end(self, event: Event) -> None: ...


class Lines:
    """A line for each change; `as_json` makes each of them one JSON object."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._before: Snapshot | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def update(self, snapshot: Snapshot) -> None:
        for event in changes(self._before, snapshot):
            self._say(event)
        self._before = snapshot

    def end(self, event: Event) -> None:
        self._say(event)

    def _say(self, event: Event) -> None:
        if self._as_json:
            time = event.at.isoformat(timespec="milliseconds")
            click.echo(json.dumps({"event": event.kind, "time": time, **event.data}))
            return
        clock = event.at.astimezone().strftime("%H:%M:%S")
        for line in event.lines:
            click.echo(f"{clock}  {line}")


class LiveTable:
    """A table that is drawn again while the job runs; plans and ends stay above it."""

    def __init__(self, name: str, console: Console) -> None:
        self._name = name
        self._rates = Rates()
        self._live = Live(console=console, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def update(self, snapshot: Snapshot) -> None:
        for action in snapshot.actions:
            if isinstance(action, RecordPlan) and snapshot.observed.reading:
                if action.record.cause:
                    self._live.console.print(Text(action.record.cause, style="yellow"))
                topology = snapshot.observed.reading.topology
                self._live.console.print(plan_table(action.record.plan, topology))
        self._rates.note(snapshot)
        self._live.update(self._drawn(snapshot))

    def end(self, event: Event) -> None:
        self._live.stop()
        for line in event.lines:
            self._live.console.print(Text(line))

    def _drawn(self, snapshot: Snapshot) -> RenderableType:
        status = snapshot.status
        head = Text.assemble((self._name, "bold"), f"  {status.summary.status}")
        if status.summary.nodes:
            head.append(f"  {status.summary.nodes}")
        if status.restarts:
            head.append(f"  restarts: {status.restarts}")
        parts: list[RenderableType] = [head, self._ranks(snapshot), *_overall(snapshot)]
        told = INTERRUPTED if snapshot.interrupted else explanation(status)
        if told:
            parts.append(Text(told, style="yellow"))
        return Group(*parts)

    def _ranks(self, snapshot: Snapshot) -> Table:
        table = Table(box=None, pad_edge=False)
        for name in ("rank", "database node", "state", "rows read", "rows/s", "process"):
            table.add_column(
                name, justify="left" if name in ("database node", "state") else "right"
            )
        nodes = {n.rank: n.database_node for n in snapshot.status.nodes}
        for worker in snapshot.observed.workers[:_MOST_RANKS]:
            state, progress = state_of(worker), worker.progress
            rows = progress.rows_local + progress.rows_remote if progress else 0
            table.add_row(
                str(worker.rank),
                nodes.get(worker.rank, ""),
                Text(state, style=_COLOURS.get(state, "")),
                f"{rows:,}",
                f"{self._rates.of(worker.rank):,.0f}",
                str(snapshot.pids.get(worker.rank, "")),
            )
        if (more := len(snapshot.observed.workers) - _MOST_RANKS) > 0:
            table.add_row("", f"and {more} more")
        return table


def _overall(snapshot: Snapshot) -> list[RenderableType]:
    progress, trainer = newest(snapshot.observed.workers), snapshot.status.trainer_status
    parts: list[RenderableType] = []
    line = Table.grid(padding=(0, 1))
    if progress is not None and progress.percent is not None:
        bar: RenderableType = ProgressBar(total=100, completed=progress.percent, width=30)
    else:
        bar = ""
    if trainer is not None:
        now = trainer
        if progress is not None and progress.step >= trainer.step:
            left = progress.eta_seconds
            now = trainer.model_copy(
                update={
                    "epoch": progress.epoch,
                    "step": progress.step,
                    "progress_percentage": None
                    if progress.percent is None
                    else int(progress.percent),
                    "estimated_remaining_seconds": None if left is None else round(left),
                    "rows_per_second": round(rows_per_second(progress) or 0),
                }
            )
        line.add_row(bar, progress_line(now))
        parts.append(line)
    commit = snapshot.status.checkpoint
    if commit is not None:
        age = ""
        if commit.time is not None:
            age = f", {short_time((snapshot.at - commit.time).total_seconds())} ago"
        parts.append(Text(f"last checkpoint: step {commit.step}{age}", style="dim"))
    return parts
