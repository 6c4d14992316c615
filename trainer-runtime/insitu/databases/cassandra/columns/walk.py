"""Where records start whose length nobody knows before it is read: the one loop in Python."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np

from insitu.databases.cassandra.columns.cells import Offsets

INT_SIZE: Final = 4
_INT: Final = struct.Struct(">i")


def record_starts(
    data: memoryview, start: int, count: int, widths: Sequence[int | None]
) -> Offsets | None:
    """Where each of `count` records starts, the first at `start`.

    A record is a cell for each of `widths`; those with a width are taken to have it, and are not
    looked at.

    Returns:
        None where one would start beyond the end of `data`.
    """
    jumps, tail = _jumps(widths)
    if not jumps:
        starts = start + tail * np.arange(count, dtype=np.int64)
        return starts if start + tail * count <= len(data) else None
    try:
        found = (
            _one_jump(data, start, count, jumps[0], tail)
            if len(jumps) == 1
            else _many_jumps(data, start, count, jumps, tail)
        )
    except struct.error:
        return None
    return np.array(found, np.int64)


def _jumps(widths: Sequence[int | None]) -> tuple[list[int], int]:
    """Bytes from the end of what was last looked at to each length to look at, and the rest."""
    jumps: list[int] = []
    passed = 0
    for each in widths:
        if each is None:
            jumps.append(passed)
            passed = 0
        else:
            passed += INT_SIZE + each
    return jumps, passed


def _one_jump(data: memoryview, start: int, count: int, jump: int, tail: int) -> list[int]:
    found: list[int] = []
    append, unpack = found.append, _INT.unpack_from
    at, step = start, jump + INT_SIZE + tail
    for _ in range(count):
        append(at)
        size = unpack(data, at + jump)[0]
        at += step + size if size > 0 else step
    return found


def _many_jumps(
    data: memoryview, start: int, count: int, jumps: Sequence[int], tail: int
) -> list[int]:
    found: list[int] = []
    append, unpack = found.append, _INT.unpack_from
    at = start
    for _ in range(count):
        append(at)
        for jump in jumps:
            at += jump
            size = unpack(data, at)[0]
            at += INT_SIZE + size if size > 0 else INT_SIZE
        at += tail
    return found
