"""`insitu checkpoints`: what a job could go on from."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from insitu.checkpoint.records import Commit
from insitu.errors import ConfigurationError
from insitu_operator.cli import options
from insitu_operator.cli.failures import explained
from insitu_operator.cli.report import commit_json
from insitu_operator.local.commits import kept_commits
from insitu_operator.local.prepare import directory_url, stored


@click.command()
@click.argument("place", metavar="FILE|DIR", type=click.Path(exists=True, path_type=Path))
@options.output
@options.store
@options.secrets
@explained
def checkpoints(place: Path, output: str, store: str | None, secrets: tuple[str, ...]) -> None:
    """Lists the kept commits of the TrainingJob in FILE, or of every job in the store DIR."""
    if place.is_dir():
        url = directory_url(place)
        jobs = sorted(path.parent.name for path in place.glob("*/commits"))
        if not jobs:
            raise ConfigurationError(
                f"{place} is no store of checkpoints: no job has commits there"
            )
    else:
        name, url = stored(place, store, options.named_folders(secrets))
        jobs = [name]
    found = [(job, commit) for job in jobs for commit in kept_commits(url, job)]
    if output == "json":
        for job, commit in found:
            click.echo(json.dumps({"job": job, **commit_json(commit)}))
        return
    if not found:
        click.echo(f"{', '.join(jobs)}: no commits in {url}")
        return
    Console().print(_table(url, found))


def _table(url: str, found: list[tuple[str, Commit]]) -> Table:
    table = Table(title=url, title_justify="left")
    for name in ("job", "number", "step", "epoch", "rows", "generation", "committed", "size"):
        table.add_column(name, justify="left" if name in ("job", "committed") else "right")
    for job, commit in found:
        table.add_row(
            job,
            str(commit.seq),
            f"{commit.cursor.step:,}",
            str(commit.cursor.epoch),
            f"{commit.cursor.rows:,}",
            str(commit.generation),
            commit.time.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            f"{sum(part.length for part in commit.parts) / 1e6:,.1f} MB",
        )
    return table
