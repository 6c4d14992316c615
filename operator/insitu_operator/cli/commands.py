"""The `insitu` command."""

from __future__ import annotations

import click

from insitu_operator.cli.checkpoints import checkpoints
from insitu_operator.cli.load import load
from insitu_operator.cli.plan import plan
from insitu_operator.cli.run import run
from insitu_operator.cli.tensorboard import tensorboard


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="insitu-operator")
def main() -> None:
    """Train where the data lives."""


for command in (load, plan, run, checkpoints, tensorboard):
    main.add_command(command)
