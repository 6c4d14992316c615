"""`python -m examples.demo local|cluster`: the shows of `make demo` and `make demo-cluster`."""

from __future__ import annotations

import click

from examples.demo import cluster, local, shows
from insitu.errors import ConfigurationError

_PLACES = {"local": local.run, "cluster": cluster.run}
_AT = {"local": shows.SHOWS, "cluster": tuple(s for s in shows.SHOWS if s.in_kubernetes)}


@click.command()
@click.argument("where", type=click.Choice(list(_PLACES)))
@click.option("--database", default="ignite", show_default=True)
@click.option("--framework", default="torch", show_default=True)
@click.pass_context
def main(context: click.Context, where: str, database: str, framework: str) -> None:
    """Runs the show; ends with 0 only if everything that it set out to show has been seen."""
    try:
        show = shows.find(_AT[where], database, framework)
    except ConfigurationError as unknown:
        raise click.UsageError(str(unknown)) from unknown
    context.exit(_PLACES[where](show))


if __name__ == "__main__":
    main(prog_name="python -m examples.demo")
