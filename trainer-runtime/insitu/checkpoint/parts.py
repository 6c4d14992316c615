"""Data objects of a commit: immutable, named once, checked when read.

A part is `<job>/data/<fence>/<step>/<uuid>-<rank>`: `fence` is the number of its writer's fence in
the commit log. No two writers ever use one name, so a part that a commit lists can't be changed by
anybody later, however late a forgotten writer is.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from insitu.checkpoint.store import Buffer, Store
from insitu.errors import ConfigurationError, StoreError

_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_PLACE = re.compile(r"(?P<fence>\d+)/(?P<step>\d+)/[^/]+-\d+")


@dataclass(frozen=True, slots=True)
class Part:
    """One object of a commit: `length` in bytes, `checksum` of all of them, `rank` of its writer.

    The checksum is CRC-32, as filesystems, S3 and databases use: with the length it finds every
    flipped bit and every truncation, at several times the speed of a cryptographic hash on the
    cores that training needs. It guards against damage, not against an attacker.
    """

    name: str
    length: int
    checksum: str
    rank: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """Why a part can't be used."""

    reason: str


def check_job(job: str) -> str:
    """`job` if it can be a folder of the store.

    Raises:
        ConfigurationError: it can't.
    """
    if not _JOB.fullmatch(job):
        raise ConfigurationError(
            f"'{job}' can't name a job in a checkpoint store; right would be letters, digits, "
            f"'-', '_' and '.', as in digits-1 or team/digits-1"
        )
    return job


def data_folder(job: str, fence: int | None = None) -> str:
    """The folder of all parts of a job, or of one writer's."""
    folder = f"{check_job(job)}/data"
    return folder if fence is None else f"{folder}/{fence}"


def place(job: str, name: str) -> tuple[int, int] | None:
    """`(fence, step)` that the part `name` of `job` was written in; None for any other object.

    Another job may lie below this one's folder, so nothing but the exact form is this job's.
    """
    folder = f"{data_folder(job)}/"
    match = _PLACE.fullmatch(name.removeprefix(folder)) if name.startswith(folder) else None
    return None if match is None else (int(match["fence"]), int(match["step"]))


def write_part(
    store: Store,
    job: str,
    *,
    fence: int,
    step: int,
    rank: int,
    unique: str,
    buffers: Sequence[Buffer],
) -> Part:
    """Writes the concatenation of `buffers` as a new part, durable on return.

    `fence` is the number of the writer's fence. `unique` is a fresh UUID: the same one may be
    shared by the ranks of a step.

    Raises:
        StoreError: the store is full, read-only or unreachable.
    """
    name = f"{data_folder(job, fence)}/{step}/{unique}-{rank}"
    store.put(name, buffers)
    length = sum(memoryview(buffer).nbytes for buffer in buffers)
    return Part(name, length, checksum(buffers), rank)


def load_part(store: Store, part: Part) -> memoryview | Damaged:
    """The bytes of `part`, or what is wrong with it.

    Raises:
        StoreError: the store can't be read now, which says nothing about the part.
    """
    data = store.get(part.name)
    if data is None:
        return Damaged(f"{part.name} is missing")
    if data.nbytes != part.length:
        return Damaged(f"{part.name} has {data.nbytes:,} bytes instead of {part.length:,}")
    if (found := checksum([data])) != part.checksum:
        return Damaged(f"{part.name} is damaged: its checksum is {found}, not {part.checksum}")
    return data


def read_part(store: Store, part: Part) -> memoryview:
    """The bytes of `part`, verified.

    Raises:
        StoreError: the part is missing or damaged, or the store can't be read.
    """
    data = load_part(store, part)
    if isinstance(data, Damaged):
        raise StoreError(
            f"the checkpoint store {store.url} has lost data: {data.reason}. Resume from an "
            f"earlier commit"
        )
    return data


def checksum(buffers: Sequence[Buffer]) -> str:
    """CRC-32 of the concatenation, as `crc32:` and eight hexadecimal digits."""
    value = 0
    for buffer in buffers:
        value = zlib.crc32(buffer, value)
    return f"crc32:{value:08x}"
