"""The shared store: named objects, written whole, in a directory, a bucket or memory.

obstore does all of it but the writing of files, which it leaves to the kernel before they are on
the disk. What commits need beyond that is `create_if_absent`: of any number of writers of one name
exactly one wins, atomically. A bucket does it by a conditional write (If-None-Match), a directory
by a hard link.

What a store has to promise is in docs/checkpoints.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from insitu.checkpoint import directory
from insitu.checkpoint.faults import explained
from insitu.errors import ConfigurationError, StoreError

Buffer = bytes | bytearray | memoryview

_JOINED_BELOW = 8 << 20
"""Below this size buffers are joined and sent in one request instead of a multipart upload."""

_CLIENT = {"connect_timeout": "5s", "timeout": "60s"}
_RETRIES = 8
_RETRY_SECONDS = 60


class StoredObject(NamedTuple):
    """An object's name below the store's URL, and its size in bytes."""

    name: str
    size: int


class Store(Protocol):
    """Objects by name. Every method raises `StoreError` where the store can't do its part, and
    `AuthenticationError` where it refuses the credentials; both name the store.
    """

    @property
    def url(self) -> str: ...

    def put(self, name: str, buffers: Sequence[Buffer]) -> None:
        """Writes the concatenation of `buffers`; durable and visible as a whole on return."""
        ...

    def create_if_absent(self, name: str, data: bytes) -> bool:
        """Writes `data` unless `name` exists; False if it does. Durable on return.

        After a lost answer a retry may find the caller's own object: compare before giving up.
        """
        ...

    def get(self, name: str) -> memoryview | None:
        """The whole object, None if there is none."""
        ...

    def list(self, prefix: str, after: str | None = None) -> list[StoredObject]:
        """All objects below the folder `prefix`, in the order of their names; `after` leaves out
        names up to and including it.
        """
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Removes objects; those that are not there are fine."""
        ...

    def remove_leftovers(self, prefix: str, abandoned: Callable[[str], bool]) -> None:
        """Removes what interrupted writers left in those folders of `prefix` whose names are
        `abandoned`: nobody may write there any more. In a bucket a lifecycle rule has to do it.
        """
        ...


def open_store(url: str) -> Store:
    """The store at `file:///directory`, `s3://bucket/prefix` or `memory:///`.

    A directory is created where it is missing. Buckets take credentials, region and endpoint from
    the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, ...), as all S3 tools do.

    Raises:
        ConfigurationError: the URL names no store.
        StoreError: the directory can't be created.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return _Objects(url, MemoryStore())
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and len(parts.path) > 1:
        root = Path(parts.path)
        with explained(url, "open it"):
            return _Objects(url, LocalStore(root, automatic_cleanup=True, mkdir=True), root)
    if parts.scheme == "s3" and parts.netloc:
        with explained(url, "open it"):
            return _Objects(url, _bucket(url))
    raise ConfigurationError(
        f"'{url}' is no checkpoint store; right would be file:///shared/checkpoints (a directory, "
        f"as an absolute path) or s3://bucket/prefix"
    )


def existing_store(place: str) -> Store:
    """The store at a URL, as `open_store` takes it, or in a directory that is there already.

    Raises:
        ConfigurationError: it is neither.
        StoreError: the directory can't be read.
    """
    if "://" in place:
        return open_store(place)
    folder = Path(place)
    if not folder.is_dir():
        raise ConfigurationError(
            f"there is no directory {folder.absolute()}; right would be the directory of the "
            "commits, as in .insitu/JOB/checkpoints, or a URL like s3://bucket/prefix"
        )
    return open_store(folder.absolute().as_uri())


def probe(store: Store, prefix: str) -> None:
    """Proves that commits are safe in `store`: writes, reads, refuses a second create, deletes.

    Asked once when a job starts, so that a store that can't do it fails there and not at the
    first checkpoint. Leaves nothing below `prefix`.

    Raises:
        StoreError: the store is full, read-only, unreachable, or has no create-if-absent.
        AuthenticationError: the store refused the credentials.
    """
    name = f"{prefix}/probe/{uuid4()}"
    created = store.create_if_absent(name, b"first")
    again = store.create_if_absent(name, b"second")
    found = store.get(name)
    listed = [entry.name for entry in store.list(f"{prefix}/probe")]
    store.delete([name])
    if not created or again or found is None or bytes(found) != b"first":
        raise StoreError(
            f"{store.url} has no working create-if-absent (conditional writes), so two trainers "
            f"could overwrite each other's commits. Use a store that has it: a directory on a "
            f"filesystem with hard links, Amazon S3, MinIO, Ceph 19 or newer"
        )
    if name not in listed:
        raise StoreError(
            f"{store.url} does not list an object right after it was written, so the newest "
            f"commit could be overlooked. Use a store with consistent listings"
        )


def _bucket(url: str) -> ObjectStore:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    client = {**_CLIENT, "allow_http": True} if endpoint.startswith("http://") else _CLIENT
    # obstore types the two dictionaries as unions of TypedDicts over all providers.
    return from_url(  # type: ignore[call-overload,no-any-return]
        url,
        client_options=client,
        retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)},
    )


@dataclass(frozen=True, slots=True)
class _Objects:
    """A `Store` on obstore; `root` is set for a directory."""

    url: str
    backend: ObjectStore
    root: Path | None = None

    def put(self, name: str, buffers: Sequence[Buffer]) -> None:
        size = sum(memoryview(buffer).nbytes for buffer in buffers)
        with explained(self.url, f"write {name}", size):
            if self.root is not None:
                directory.write(self.root, name, buffers, create=False)
                return
            whole = b"".join(buffers) if size < _JOINED_BELOW else iter(buffers)
            obstore.put(self.backend, name, whole)

    def create_if_absent(self, name: str, data: bytes) -> bool:
        with explained(self.url, f"write {name}", len(data)):
            if self.root is not None:
                return directory.write(self.root, name, [data], create=True)
            try:
                obstore.put(self.backend, name, data, mode="create")
            except AlreadyExistsError:
                return False
            return True

    def get(self, name: str) -> memoryview | None:
        with explained(self.url, f"read {name}"):
            try:
                return memoryview(obstore.get(self.backend, name).bytes())
            except FileNotFoundError:
                return None

    def list(self, prefix: str, after: str | None = None) -> list[StoredObject]:
        with explained(self.url, f"list {prefix}"):
            chunks = obstore.list(self.backend, prefix, offset=after, chunk_size=1000)
            return sorted(
                StoredObject(meta["path"], meta["size"]) for chunk in chunks for meta in chunk
            )

    def delete(self, names: Iterable[str]) -> None:
        with explained(self.url, "delete"):
            for name in names:
                try:
                    obstore.delete(self.backend, name)
                except FileNotFoundError:
                    continue

    def remove_leftovers(self, prefix: str, abandoned: Callable[[str], bool]) -> None:
        folder = None if self.root is None else self.root / prefix
        with explained(self.url, f"clean up {prefix}"):
            if folder is not None and folder.is_dir():
                for child in filter(Path.is_dir, folder.iterdir()):
                    if abandoned(child.name):
                        directory.remove_leftovers(child)
