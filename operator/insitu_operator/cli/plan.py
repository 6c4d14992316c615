"""`insitu plan`: who would read what, without starting anything."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from insitu.databases import connect
from insitu.errors import DataLost
from insitu_operator.cli import options
from insitu_operator.cli.failures import explained
from insitu_operator.cli.plan_table import plan_json, plan_table
from insitu_operator.core.planner import plan as make_plan
from insitu_operator.core.policies.planning import orphans_message
from insitu_operator.local.prepare import prepare


@click.command()
@options.manifest
@options.output
@options.secrets
@explained
def plan(manifest: Path, output: str, secrets: tuple[str, ...]) -> None:
    """Prints the plan of the TrainingJob in FILE, made from the live database."""
    prepared = prepare(manifest, None, options.named_folders(secrets))
    database = connect(prepared.source)
    try:
        database.check()
        topology = database.topology()
    finally:
        database.close()
    if topology.orphans:
        raise DataLost(orphans_message(topology.orphans))
    placement = prepared.job.spec.placement
    made = make_plan(
        topology,
        generation=1,
        locality=str(placement.locality),
        previous=None,
        max_ranks=placement.max_ranks,
        eligible=None,
    )
    if output == "json":
        click.echo(json.dumps(plan_json(made, topology)))
    else:
        Console().print(plan_table(made, topology))
