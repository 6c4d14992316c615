"""What there is to show: for a database and a framework, an example and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from insitu.errors import ConfigurationError
from testbed import cassandra, ignite
from testbed.node import Node

EXAMPLES = Path(__file__).parents[1]


class Nodes(Protocol):
    """A running cluster of a database."""

    nodes: list[Node]


@dataclass(frozen=True, slots=True)
class Database:
    """A database, the same in all its shows.

    Attributes:
        name: as in `make demo DATABASE=...`, and the option of `insitu load` for its nodes.
        title: as its makers write it.
        endpoint: in the examples' job.yaml, where a real one has to be put.
        start: starts nodes of it on this machine.
    """

    name: str
    title: str
    endpoint: str
    start: Callable[[int], AbstractContextManager[Nodes]]


@dataclass(frozen=True, slots=True)
class Show:
    """One example on one database.

    Attributes:
        database: that the rows are in.
        framework: as in `make demo FRAMEWORK=...`.
        example: a folder of examples/, and the name of its job. Its data.py writes the rows and
            prints their file, its evaluate.py prints the accuracy on rows that are held out.
        rows: what is loaded.
        held_out: what the model is judged by.
        table: for `insitu load`.
        load: the other options of `insitu load`, for two copies of each row.
        wanted_accuracy: of the trained model.
        kill_at_step: when a trainer dies.
    """

    database: Database
    framework: str
    example: str
    rows: str
    held_out: str
    table: str
    load: tuple[str, ...]
    wanted_accuracy: float
    kill_at_step: int

    @property
    def folder(self) -> Path:
        return EXAMPLES / self.example

    @property
    def in_kubernetes(self) -> bool:
        """Whether the example has manifests for it."""
        return (self.folder / "kubernetes").is_dir()

    @property
    def scripts(self) -> list[Path]:
        """All that its user would have beside the job."""
        return sorted(self.folder.glob("*.py"))


IGNITE = Database("ignite", "Apache Ignite", "127.0.0.1:10800", ignite.start)
CASSANDRA = Database("cassandra", "Apache Cassandra", "127.0.0.1:9042", cassandra.start)

SHOWS = (
    Show(
        database=IGNITE,
        framework="torch",
        example="digits",
        rows="1,437 handwritten digits",
        held_out="digits that never were in the database",
        table="DIGITS",
        load=("--key", "id", "--backups", "1"),
        wanted_accuracy=0.97,
        kill_at_step=120,
    ),
    Show(
        database=CASSANDRA,
        framework="torch",
        example="vectors-cassandra",
        rows="embeddings of 1,437 handwritten digits",
        held_out="embeddings that never were in the database",
        table="vectors.digits",
        load=("--key", "sheet", "--key", "place", "--replicas", "2"),
        wanted_accuracy=0.97,
        kill_at_step=60,
    ),
    Show(
        database=IGNITE,
        framework="tensorflow",
        example="digits-tensorflow",
        rows="1,437 handwritten digits",
        held_out="digits that never were in the database",
        table="DIGITS",
        load=("--key", "id", "--backups", "1"),
        wanted_accuracy=0.97,
        kill_at_step=120,
    ),
    Show(
        database=CASSANDRA,
        framework="tensorflow",
        example="text-cassandra",
        rows="3,600 paragraphs of documentation",
        held_out="paragraphs that never were in the database",
        table="library.paragraphs",
        load=("--key", "id", "--replicas", "2"),
        wanted_accuracy=0.84,
        kill_at_step=120,
    ),
)


def find(shows: Sequence[Show], database: str, framework: str) -> Show:
    """The show of that database and framework.

    Raises:
        ConfigurationError: there is none; the message names those that there are.
    """
    for show in shows:
        if (show.database.name, show.framework) == (database, framework):
            return show
    known = ", ".join(f"DATABASE={show.database.name} FRAMEWORK={show.framework}" for show in shows)
    raise ConfigurationError(
        f"there is no demo with DATABASE={database} FRAMEWORK={framework}; there is {known}"
    )
