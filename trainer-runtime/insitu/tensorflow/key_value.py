"""`IgniteDataset` as its users remember it, without its old limits.

The original (tensorflow/tensorflow contrib/ignite, later tensorflow/io) gave one element a cache
entry, `{'key': ..., 'val': {...}}`, with the fields of objects by name. `IgniteDataset` takes the
arguments of tensorflow-io's, in its order, and gives the same elements. What is different:

- It is a function, not a class: its result is a `tf.data.Dataset` and has no `cache_type`.
- Its arguments are plain values, and not tensors.
- Rows come from Python in large blocks, so there is no kernel to build.
- Nulls, UUIDs, maps, object arrays, enums, dates, several schemas of a type and empty caches work.
  Decimals are their text.
- A wrong host, cache or certificate raises an error of Insitu's, not a RuntimeError.
- User name, password and certificates given here are used for reading, not for the schema alone.
- With TLS the server's certificate and name are verified; `cafile` names who is trusted.
- `IGNITE_DATASET_LOCAL=false` means false, and `IGNITE_DATASET_PART` may be a list with ranges.
- A char is a string of one character.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from insitu.contract.names import CASSANDRA, IGNITE, Names
from insitu.contract.standalone import assign
from insitu.databases import Database, DataSource, connect
from insitu.errors import ConfigurationError
from insitu.tensorflow.feed import Feed
from insitu.tensorflow.leaves import leaves
from insitu.tensorflow.pipeline import batches_of_rows, single_rows, with_options
from insitu.tensorflow.reading import Leaf, Nulls, Path, Reading
from insitu.tensorflow.require import tensorflow

_PAGE_SIZE = 100


@runtime_checkable
class Entries(Protocol):
    """A database whose rows are entries of a key and a value."""

    def places(self) -> Mapping[str, Path]:
        """Where in an entry each column lies, as in `("val", "NAME")`."""
        ...


def IgniteDataset(  # noqa: N802 - the name its users know
    cache_name: str,
    host: str = "localhost",
    port: int = IGNITE.port,
    schema_host: str | None = None,
    schema_port: int | None = None,
    local: bool = False,
    part: int | str = -1,
    page_size: int = _PAGE_SIZE,
    username: str | None = None,
    password: str | None = None,
    certfile: str | None = None,
    keyfile: str | None = None,
    cert_password: str | None = None,
    *,
    cafile: str | None = None,
    nulls: Nulls = "fill",
    environ: Mapping[str, str] | None = None,
    open_database: Callable[[DataSource], Database] = connect,
) -> Any:
    """The entries of an Ignite cache as a `tf.data.Dataset` of `{'key': ..., 'val': ...}`.

    Variables `IGNITE_DATASET_*` win over arguments, so that each worker of a cluster can read its
    own partitions with the same script.

    Args:
        cache_name: A cache, or a SQL table (`SQL_PUBLIC_KITTEN` or `KITTEN`).
        host: Any node's.
        port: Of its client connector.
        schema_host: Which node to ask for the columns first; `host` by default.
        schema_port: Of its client connector; `port` by default.
        local: Read only what that node is the primary of.
        part: One partition's number, a list such as `"0-7,12"`, or -1 for all.
        page_size: Entries of a page; at its default pages are sized in bytes.
        username: For a cluster with authentication.
        password: Likewise.
        certfile: PEM with the client's certificate; turns TLS on.
        keyfile: PEM with its key, `certfile` by default.
        cert_password: Of the key.
        cafile: PEM with who may have signed the server's certificate; turns TLS on. The system's
            trust store by default.
        nulls: What to take for nulls: by default NaN, 0, False, empty text, no elements; see
            `insitu.tensorflow.reading`.
        environ: Where to look for `IGNITE_DATASET_*`; the process's own by default.
        open_database: Connects to a data source.

    Raises:
        ConfigurationError: TensorFlow is missing, or an argument or variable can't work.
        AuthenticationError, DatabaseUnavailable: the cluster can't be reached with these.
        UnsupportedType: values have no tensor; says which.
    """
    if isinstance(schema_host, bool):
        raise ConfigurationError(
            f"the fourth argument is schema_host, as in tensorflow-io, and not {schema_host}: in "
            "tf.contrib.ignite it was local; give local, part, page_size and what follows by name"
        )
    schema = (schema_host, schema_port) if schema_host or schema_port else None
    table = {"CACHE_NAME": cache_name, "PART": str(part)}
    node = {"HOST": host, "PORT": str(port), "LOCAL": "true" if local else None}
    page = {"PAGE_SIZE": str(page_size) if page_size != _PAGE_SIZE else None}
    access = _access(username, password, certfile, keyfile, cert_password, cafile)
    said = table | node | page | access
    environ = os.environ if environ is None else environ
    return _entries(IGNITE, said, environ, nulls, open_database, schema)


def CassandraDataset(  # noqa: N802 - the twin of IgniteDataset
    keyspace: str,
    table: str,
    host: str = "localhost",
    port: int = CASSANDRA.port,
    local: bool = False,
    token_ranges: str = "-1",  # noqa: S107 - of a hash ring
    page_size: int = _PAGE_SIZE,
    username: str | None = None,
    password: str | None = None,
    certfile: str | None = None,
    keyfile: str | None = None,
    cert_password: str | None = None,
    *,
    cafile: str | None = None,
    nulls: Nulls = "fill",
    environ: Mapping[str, str] | None = None,
    open_database: Callable[[DataSource], Database] = connect,
) -> Any:
    """The rows of a Cassandra table as a `tf.data.Dataset` of `{'key': ..., 'val': {...}}`.

    The primary key is `key`: its value where it is one column, else a dictionary. Everything else
    is as with `IgniteDataset`, with the variables `CASSANDRA_DATASET_*`.

    Args:
        keyspace: The table's.
        table: Its name.
        host: Any node's.
        port: Where it speaks CQL.
        local: Read only ranges that node is the primary of.
        token_ranges: Some ranges of tokens, `"-5:10,10:99"`, or `"-1"` for all.
        page_size: Rows of a page; at its default pages are sized in bytes.
        username: For a cluster with authentication.
        password: Likewise.
        certfile: PEM with the client's certificate; turns TLS on.
        keyfile: PEM with its key, `certfile` by default.
        cert_password: Of the key.
        cafile: PEM with who may have signed the server's certificate; turns TLS on.
        nulls: As with `IgniteDataset`.
        environ: Where to look for `CASSANDRA_DATASET_*`; the process's own by default.
        open_database: Connects to a data source.

    Raises:
        ConfigurationError, AuthenticationError, DatabaseUnavailable, UnsupportedType: as with
            `IgniteDataset`.
    """
    rows = {"KEYSPACE": keyspace, "TABLE": table, "TOKEN_RANGES": token_ranges}
    node = {"HOST": host, "PORT": str(port), "LOCAL": "true" if local else None}
    page = {"PAGE_SIZE": str(page_size) if page_size != _PAGE_SIZE else None}
    access = _access(username, password, certfile, keyfile, cert_password, cafile)
    said = rows | node | page | access
    environ = os.environ if environ is None else environ
    return _entries(CASSANDRA, said, environ, nulls, open_database)


def _access(
    username: str | None,
    password: str | None,
    certfile: str | None,
    keyfile: str | None,
    cert_password: str | None,
    cafile: str | None,
) -> dict[str, str | None]:
    if not certfile and (keyfile or cert_password):
        raise ConfigurationError(
            f"{'keyfile' if keyfile else 'cert_password'} is given without the certificate it "
            "belongs to: give certfile too"
        )
    return {
        "USERNAME": username,
        "PASSWORD": password,
        "CAFILE": cafile,
        "CERTFILE": certfile,
        "KEYFILE": keyfile,
        "CERT_PASSWORD": cert_password,
    }


def _entries(
    names: Names,
    said: Mapping[str, str | None],
    environ: Mapping[str, str],
    nulls: Nulls,
    open_database: Callable[[DataSource], Database],
    schema: tuple[str | None, int | None] | None = None,
) -> Any:
    """One element a row, in the order of the database; `environ` wins where it is not empty.

    `schema` is where to ask for the columns first, each part that of the node by default.
    """
    tensorflow()
    variables = {names(name): value for name, value in said.items() if value}
    variables |= {
        name: value for name, value in environ.items() if value and name.startswith(names.prefix)
    }
    assignment = assign(names, variables, open_database, job="dataset", generation=0)
    if schema is not None:
        assignment = replace(assignment, source=_asked_first(schema, assignment.source))
    feed = Feed(assignment, open_database)
    reading = Reading(nulls=nulls, original=True)
    with closing(open_database(assignment.source)) as database:
        found = _placed(leaves(feed.schema, reading, feed.sample), database)
    rows = single_rows(batches_of_rows(feed.scan, found, reading), found)
    return with_options(rows.prefetch(1024))


def _asked_first(at: tuple[str | None, int | None], source: DataSource) -> DataSource:
    """`source` with `at` in front of its endpoints: control work asks the first that answers."""
    host, port = source.endpoints[0]
    first = (at[0] or host, at[1] or port)
    return replace(source, endpoints=tuple(dict.fromkeys((first, *source.endpoints))))


def _placed(found: list[Leaf], database: Database) -> list[Leaf]:
    """`found` where its columns lie in an entry; all in `val` where the database has no keys."""
    places = database.places() if isinstance(database, Entries) else {}
    return [
        replace(leaf, path=(*places.get(leaf.path[0], ("val", leaf.path[0])), *leaf.path[1:]))
        for leaf in found
    ]
