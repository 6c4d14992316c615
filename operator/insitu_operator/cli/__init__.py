"""The command line: thin commands over the core and the local backend."""

from insitu_operator.cli.commands import main

__all__ = ["main"]
