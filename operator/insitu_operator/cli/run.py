"""`insitu run`: a TrainingJob on this machine, from its plan to its end."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from insitu.api import ConditionType, Status
from insitu_operator.cli import options
from insitu_operator.cli.events import Event
from insitu_operator.cli.failures import COMPLETE, FAILED, INTERRUPTED, REFUSED, explained
from insitu_operator.cli.report import report, report_json
from insitu_operator.cli.show import Lines, LiveTable, Show
from insitu_operator.local.commits import Start, kept_commits
from insitu_operator.local.prepare import prepare
from insitu_operator.local.run import Outcome
from insitu_operator.local.run import run as run_job


@click.command()
@options.manifest
@click.option("--resume", is_flag=True, help="Go on from the newest commit.")
@click.option("--fresh", is_flag=True, help="Begin anew, beside the commits there are.")
@options.output
@options.store
@options.secrets
@explained
def run(
    manifest: Path,
    resume: bool,
    fresh: bool,
    output: str,
    store: str | None,
    secrets: tuple[str, ...],
) -> None:
    """Runs the TrainingJob in FILE here, with one trainer process for each database node.

    The first Ctrl-C lets the trainers write a checkpoint and leave, the second kills them. Logs,
    plan and status are in .insitu/<job> beside FILE.

    Exit code: 0 the job is complete, 1 it failed, 2 something has to be corrected first,
    130 it was interrupted.
    """
    if resume and fresh:
        raise click.UsageError("--resume and --fresh contradict each other; give one of them")
    prepared = prepare(manifest, store, options.named_folders(secrets))
    start = Start.RESUME if resume else Start.FRESH if fresh else Start.NEW
    began = datetime.now(UTC)
    with _show(prepared.name, output) as show:
        outcome = run_job(prepared, start, show.update)
        commits = kept_commits(prepared.store, prepared.name)
        now = datetime.now(UTC)
        lines = report(prepared, outcome, commits, now - began)
        show.end(Event("end", now, lines, report_json(prepared, outcome, commits)))
    raise click.exceptions.Exit(exit_code(outcome))


def exit_code(outcome: Outcome) -> int:
    """How the process ends."""
    status: Status = outcome.status
    if status.is_true(ConditionType.COMPLETE):
        return COMPLETE
    if outcome.interrupted:
        return INTERRUPTED
    return FAILED if status.is_true(ConditionType.FAILED) else REFUSED


def _show(name: str, output: str) -> Show:
    console = Console()
    if output == "text" and console.is_terminal:
        return LiveTable(name, console)
    return Lines(as_json=output == "json")
