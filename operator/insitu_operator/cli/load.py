"""`insitu load`: files into a table, many batches at once, and again without harm."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from insitu.databases import Credentials, Database, DataSource, Tls, Writer, connect
from insitu.errors import ConfigurationError
from insitu_operator.cli.failures import explained
from insitu_operator.cli.files import Rows, in_runs, numbered, open_files
from insitu_operator.cli.keys import check_names, check_values

_GENERATED_KEY = "id"
_PORTS = {"ignite": 10800, "cassandra": 9042}
_PLAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load did."""

    rows: int
    bytes: int
    seconds: float


Report = Callable[[int], None]
"""Takes the number of rows written since the last call."""


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
@click.option(
    "--ignite",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Any live Ignite node; give it again to name a second one to try.",
)
@click.option(
    "--cassandra",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Any live Cassandra node, instead; again for a second one.",
)
@click.option(
    "--table",
    required=True,
    metavar="NAME",
    help="To fill: a SQL table or cache of Ignite, or KEYSPACE.TABLE of Cassandra.",
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="COLUMN",
    help="Key column; give it again for a key of several (in Cassandra the first one decides on"
    " the node, and the others sort). Without it rows are numbered.",
)
@click.option("--backups", type=click.IntRange(0), help="Ignite: backups of a new table.  [1]")
@click.option("--template", metavar="NAME", help="Ignite: cache template for a new table.")
@click.option(
    "--replicas", type=click.IntRange(1), help="Cassandra: copies in a new keyspace.  [3]"
)
@click.option("--datacenter", metavar="NAME", help="Cassandra: where those are.")
@click.option("--consistency", metavar="LEVEL", help="Cassandra: of writes.  [LOCAL_QUORUM]")
@click.option(
    "--pack",
    type=click.IntRange(2),
    metavar="N",
    help="Cassandra: so many samples in one row of a new table, for small ones that are only read"
    " all together.",
)
@click.option("--username", metavar="NAME", help="Needs --password-file.")
@click.option("--password-file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--ca", type=click.Path(path_type=Path), metavar="PEM", help="Speak TLS, trust this.")
@click.option("--certificate", type=click.Path(path_type=Path), metavar="PEM", help="Our own.")
@click.option("--certificate-key", type=click.Path(path_type=Path), metavar="PEM")
@click.option("--writers", type=click.IntRange(1, 32), default=4, show_default=True)
@explained
def load(
    files: tuple[Path, ...],
    ignite: tuple[str, ...],
    cassandra: tuple[str, ...],
    table: str,
    keys: tuple[str, ...],
    backups: int | None,
    template: str | None,
    replicas: int | None,
    datacenter: str | None,
    consistency: str | None,
    pack: int | None,
    username: str | None,
    password_file: Path | None,
    ca: Path | None,
    certificate: Path | None,
    certificate_key: Path | None,
    writers: int,
) -> None:
    """Fills a table from Parquet, CSV or npz files.

    Rows with the same key replace each other, so a load that broke off is just run again. Arrays
    of an npz file become columns, one row for each index of their first dimension.
    """
    kind, endpoints = _database(ignite, cassandra)
    new = {"template": template, "backups": backups, "replicas": replicas}
    asked = {name: str(value) for name, value in new.items() if value is not None}
    own = {**asked, "datacenter": datacenter, "consistency": consistency, "pack": pack}
    _check_options(kind, [name for name, value in own.items() if value is not None])
    rows, key = _keyed(open_files(files), keys)
    if pack:
        rows = in_runs(rows, pack)
    for note in rows.notes:
        click.echo(note)
    source = DataSource(
        kind=kind,
        endpoints=endpoints,
        table=table,
        credentials=_credentials(username, password_file),
        tls=_tls(ca, certificate, certificate_key),
        options={"datacenter": datacenter} if datacenter else {},
    )
    with closing(connect(source)) as database:
        options = _options(kind, database, table, asked)
        quoted = None if pack else quoted_columns(kind, table, rows.schema.names)
        if quoted is not None:
            click.echo(quoted)
        if consistency:
            options["consistency"] = consistency
        if pack:
            options["pack"] = str(pack)
        with (
            closing(database.writer(rows.schema, key=key, options=options)) as writer,
            _progress(rows.count) as report,
        ):
            done = fill(rows, writer, writers, report, time.monotonic)
        click.echo(summary(done, table, database.count()))


def fill(
    rows: Rows, writer: Writer, writers: int, report: Report, clock: Callable[[], float]
) -> Loaded:
    """Writes all rows, `writers` batches at a time; the first failure ends it."""
    started = clock()
    total = size = 0
    waiting: deque[tuple[Future[None], pa.RecordBatch]] = deque()

    def settle() -> None:
        nonlocal total, size
        future, batch = waiting.popleft()
        future.result()
        total += batch.num_rows
        size += batch.nbytes
        report(batch.num_rows)

    with ThreadPoolExecutor(writers, "load") as pool:
        try:
            for batch in rows.read(rows.schema.names):
                if len(waiting) == 2 * writers:
                    settle()
                waiting.append((pool.submit(writer.write, batch), batch))
            while waiting:
                settle()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return Loaded(total, size, clock() - started)


def quoted_columns(kind: str, table: str, columns: Sequence[str]) -> str | None:
    """What somebody who writes SQL has to know of the names of a loaded table's columns; None
    where those need no quotes. Tables keep them as they are in the files.
    """
    plain, fold = ("capital", str.upper) if kind == "ignite" else ("small", str.lower)
    language = "SQL" if kind == "ignite" else "CQL"
    names = [f'"{name}"' for name in columns if name != fold(name) or not name.isidentifier()]
    if not names:
        return None
    others = ", ..." if len(names) > len(names[:3]) else ""
    said = f"{language} reads names without quotes in {plain} letters, so it needs quotes around "
    return f"{said}{', '.join(names[:3])}{others}, as in {names[0]} of table {table}"


def summary(done: Loaded, table: str, now: int | None) -> str:
    """The last line of a load."""
    line = f"{done.rows:,} rows, {done.bytes / 1e6:,.1f} MB in {done.seconds:.1f} s"
    return line if now is None else f"{line}; table {table} has {now:,} rows"


def _keyed(rows: Rows, keys: Sequence[str]) -> tuple[Rows, Sequence[str]]:
    """The rows with a key that is known to be one."""
    if keys:
        check_names(keys, rows.schema)
        check_values(pa.Table.from_batches(rows.read(keys), _only(rows.schema, keys)))
        return rows, keys
    if _GENERATED_KEY in (name.lower() for name in rows.schema.names):
        raise ConfigurationError(
            "without --key a column 'id' with row numbers is added, and the files have one "
            "already: give --key id if it is the key, or rename it"
        )
    click.echo("no --key is given: rows are numbered from 0 in a new column 'id', which is the key")
    return numbered(rows, _GENERATED_KEY), [_GENERATED_KEY]


def _only(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    return pa.schema([schema.field(name) for name in names])


def _database(
    ignite: Sequence[str], cassandra: Sequence[str]
) -> tuple[str, tuple[tuple[str, int], ...]]:
    """Which kind of database, and where its nodes are."""
    if bool(ignite) == bool(cassandra):
        raise ConfigurationError("name the nodes of one database: with --ignite, or --cassandra")
    kind = "ignite" if ignite else "cassandra"
    return kind, tuple(_endpoint(kind, text) for text in ignite or cassandra)


def _check_options(kind: str, given: Sequence[str]) -> None:
    known = {
        "ignite": ("template", "backups"),
        "cassandra": ("replicas", "datacenter", "consistency", "pack"),
    }
    for name in given:
        if name not in known[kind]:
            raise ConfigurationError(f"--{name} is not an option of {kind.capitalize()} tables")


def _options(kind: str, database: Database, table: str, asked: Mapping[str, str]) -> dict[str, str]:
    """For a table that has to be created; none for one that is there."""
    try:
        count = database.count()
        if count is None:
            database.check()
    except ConfigurationError:
        options = dict(asked)
        if kind == "ignite" and not asked:
            options["backups"] = "1"
        chosen = ", ".join(f"{name} {value}" for name, value in options.items())
        click.echo(f"creating table {table}" + (f" with {chosen}" if chosen else ""))
        return options
    click.echo(f"table {table} exists" + (f", with {count:,} rows" if count is not None else ""))
    if asked:
        names = " and ".join(f"--{name}" for name in asked)
        click.echo(f"{names}: for new tables, so nothing is changed here")
    return {}


@contextmanager
def _progress(total: int | None) -> Iterator[Report]:
    """A bar on a terminal, and a line every few seconds elsewhere; both on standard error."""
    if not sys.stderr.isatty():
        yield _plain_lines(total, time.monotonic)
        return
    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("load", total=total)
        yield lambda rows: bar.advance(task, rows)


def _plain_lines(total: int | None, clock: Callable[[], float]) -> Report:
    done, said = 0, clock()
    of = "" if total is None else f" of {total:,}"

    def report(rows: int) -> None:
        nonlocal done, said
        done += rows
        if clock() - said >= _PLAIN_SECONDS:
            said = clock()
            click.echo(f"{done:,}{of} rows", err=True)

    return report


def _endpoint(kind: str, text: str) -> tuple[str, int]:
    """`host`, `host:port` or `[IPv6]:port`."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(_PORTS[kind])
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigurationError(f"--{kind} {text}: write HOST:PORT, as in 10.0.0.5:{_PORTS[kind]}")
    return host.strip("[]"), int(port)


def _credentials(username: str | None, password_file: Path | None) -> Credentials | None:
    if username is None and password_file is None:
        return None
    if username is None or password_file is None:
        raise ConfigurationError("--username and --password-file belong together; give both")
    try:
        lines = password_file.read_text().splitlines()
    except OSError as error:
        raise ConfigurationError(f"--password-file {password_file}: {error.strerror}") from error
    if not lines:
        raise ConfigurationError(f"--password-file {password_file}: the file is empty")
    return Credentials(username, lines[0])


def _tls(ca: Path | None, certificate: Path | None, key: Path | None) -> Tls | None:
    if ca is None and certificate is None and key is None:
        return None
    return Tls(ca=ca, certificate=certificate, key=key)
