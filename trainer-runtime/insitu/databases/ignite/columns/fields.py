"""Where the fields of many complex objects lie, read from all their headers and footers at once.

The layout of one object is told in objects.py; this is the same for whole pages of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from insitu.databases.ignite.binary.codes import OBJECT_HEADER, Code, Flag
from insitu.databases.ignite.binary.metadata import BinaryTypes
from insitu.databases.ignite.columns.gather import Bytes, Mask, Offsets, numbers
from insitu.databases.ignite.columns.rows import sizes


@dataclass(frozen=True, slots=True)
class _Layout:
    """Objects of one type, schema and flags: the rows `where`, and how their footers read."""

    where: Offsets
    names: tuple[str, ...]
    width: int
    ids: Offsets | None

    @property
    def entry(self) -> int:
        return self.width + (0 if self.ids is None else 4)


class Objects:
    """Complex objects, one a row: their type codes are at `at`, their footers at `footers`."""

    def __init__(self, at: Offsets, footers: Offsets, layouts: tuple[_Layout, ...]) -> None:
        """Use `find_objects`."""
        self.at = at
        self.footers = footers
        self._layouts = layouts

    def field(self, page: Bytes, name: str) -> tuple[Offsets, Mask] | None:
        """Offsets of the codes of that field's values, and the rows whose schema lacks it; None
        where the bytes do not add up. A row without the field has its object's own offset.
        """
        at = self.at.copy()
        missing = np.ones(at.size, np.bool_)
        for layout in self._layouts:
            if name not in layout.names:
                continue
            index = layout.names.index(name)
            entries = self.footers[layout.where] + index * layout.entry
            if layout.ids is not None:
                if (numbers(page, entries, "<i4") != layout.ids[index]).any():
                    return None
                entries = entries + 4
            at[layout.where] += numbers(page, entries, f"<u{layout.width}").astype(np.int64)
            missing[layout.where] = False
        there = ~missing
        inside = (at >= self.at + OBJECT_HEADER) & (at < self.footers)
        if not inside[there].all():
            return None
        used = sizes(page, at[there])
        if ((used <= 0) | (at[there] + used > self.footers[there])).any():
            return None
        return at, missing


def find_objects(page: Bytes, at: Offsets, kind: int | None, types: BinaryTypes) -> Objects | None:
    """The objects of type `kind` at `at`, wrapped or not; None where one is something else, or has
    raw data.

    Raises:
        ProtocolError: the cluster does not know a type or a schema.
    """
    roots = unwrapped(page, at)
    ends = at + sizes(page, at)
    if roots is None or (roots + OBJECT_HEADER > ends).any() or (page[roots] != Code.OBJECT).any():
        return None
    header = _Header.read(page, roots)
    flags = header.flags
    usual = (page[roots + 1] == 1) & (header.type_id == kind) & (flags & Flag.HAS_RAW_DATA == 0)
    stop = roots + header.length
    # An object without a schema has no fields, and nothing stands behind them.
    footers = np.where(flags & Flag.HAS_SCHEMA, roots + header.footer, stop)
    if not (usual & (roots + OBJECT_HEADER <= footers) & (footers <= stop) & (stop <= ends)).all():
        return None
    layouts = []
    for where in header.alike():
        layout = _layout(page, header, footers, stop, where, types)
        if layout is None:
            return None
        layouts.append(layout)
    return Objects(roots, footers, tuple(layouts))


def unwrapped(page: Bytes, at: Offsets) -> Offsets | None:
    """Offsets of the root values of those at `at` that are wrapped, of the values else; None where
    a root does not fit into its wrapping.
    """
    wrapped = page[at] == Code.WRAPPED
    if not wrapped.any():
        return at
    # What is not wrapped may end before these offsets do; it reads the page's first bytes then.
    where = np.where(wrapped, at, 0)
    length = np.where(wrapped, numbers(page, where + 1, "<i4"), 0).astype(np.int64)
    root = np.where(wrapped, numbers(page, where + 5 + length, "<i4"), 0).astype(np.int64)
    if ((root < 0) | (wrapped & (root >= length))).any():
        return None
    roots = np.where(wrapped, at + 5 + root, at)
    used = sizes(page, roots)
    if ((used <= 0) | (wrapped & (root + used > length))).any():
        return None
    return roots


@dataclass(frozen=True, slots=True)
class _Header:
    flags: Offsets
    type_id: Offsets
    length: Offsets
    schema: Offsets
    footer: Offsets

    @classmethod
    def read(cls, page: Bytes, at: Offsets) -> _Header:
        """The headers of the objects at `at`; see objects.py."""
        flags = numbers(page, at + 2, "<u2").astype(np.int64)
        four = (numbers(page, at + place, "<i4").astype(np.int64) for place in (4, 12, 16, 20))
        return cls(flags, *four)

    def alike(self) -> Iterator[Offsets]:
        """Indices of the rows of each combination of flags, type and schema."""
        kinds = np.stack([self.flags, self.type_id, self.schema])
        if (kinds == kinds[:, :1]).all():
            yield np.arange(self.flags.size)
            return
        _, kind = np.unique(kinds, axis=1, return_inverse=True)
        for each in range(int(kind.max()) + 1):
            yield np.flatnonzero(kind == each)


def _layout(
    page: Bytes,
    header: _Header,
    footers: Offsets,
    stop: Offsets,
    where: Offsets,
    types: BinaryTypes,
) -> _Layout | None:
    first = where[0]
    flags = Flag(int(header.flags[first]) & 0x3F)
    if not flags & Flag.HAS_SCHEMA:
        return _Layout(where, (), 1, None)
    width = 1 if flags & Flag.OFFSET_ONE_BYTE else 2 if flags & Flag.OFFSET_TWO_BYTES else 4
    ids = None
    if not flags & Flag.COMPACT_FOOTER:
        starts = np.arange(footers[first], stop[first] - (width + 3), width + 4)
        ids = numbers(page, starts, "<i4").astype(np.int64)
    names = types.field_names(
        int(header.type_id[first]),
        int(header.schema[first]),
        None if ids is None else tuple(ids.tolist()),
    )
    layout = _Layout(where, names, width, ids)
    sized = stop[where] - footers[where] == len(names) * layout.entry
    return layout if sized.all() else None
