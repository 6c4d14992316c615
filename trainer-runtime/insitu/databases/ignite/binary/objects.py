"""Where the fields of a complex object lie: its header and its footer.

    byte 103 | byte version (1) | uint16 flags | int32 type id | int32 hash | int32 length
    | int32 schema id | int32 footer offset | fields | footer | [int32 raw offset]

Offsets count from byte 0 of the object. The footer holds one offset a field, 1, 2 or 4 bytes wide;
without COMPACT_FOOTER the id of its field (int32) stands before each. Source: Apache Ignite
documentation, "Binary Client Protocol: Data Format, Complex Objects".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from insitu.databases.ignite.binary.codes import OBJECT_HEADER, Code, Flag
from insitu.databases.ignite.binary.hashes import type_id
from insitu.databases.ignite.binary.leaves import Span, string
from insitu.databases.ignite.binary.metadata import BinaryTypes
from insitu.errors import ProtocolError

HEADER: Final = struct.Struct("<BBHiiiii")
_KNOWN_FLAGS: Final = 0x3F


@dataclass(frozen=True, slots=True)
class ObjectFrame:
    """One complex object, its field values not decoded. All offsets are into the buffer.

    `offsets[i]` is where field `names[i]` starts; the fields end at `fields_end`, raw data is
    `[raw_start, raw_end)`, and the whole object ends at `end`.
    """

    type_id: int
    type_name: str
    names: tuple[str, ...]
    offsets: tuple[int, ...]
    fields_start: int
    fields_end: int
    raw_end: int
    end: int


def read_frame(span: Span, at: int, types: BinaryTypes, path: str) -> ObjectFrame:
    """The frame of the object whose type code is at `at`.

    Raises:
        ProtocolError: header and footer do not fit together or into `span`, or the cluster does
            not know the type.
    """
    span.need(at, OBJECT_HEADER, path)
    _, version, bits, number, _, length, schema, footer = HEADER.unpack_from(span.buffer, at)
    flags = Flag(bits & _KNOWN_FLAGS)
    if version != 1:
        raise span.malformed(at, path, f"an object is written in version {version}, not 1")
    if length < OBJECT_HEADER:
        raise span.malformed(at, path, f"an object can't have {length} bytes")
    span.need(at, length, path)
    end, fields_start = at + length, at + OBJECT_HEADER
    if number == 0:
        number, fields_start = read_class_name(span, fields_start, path)

    fields_end = raw_end = end
    names: tuple[str, ...] = ()
    offsets: tuple[int, ...] = ()
    if flags & Flag.HAS_SCHEMA:
        footer_end = end - 4 if flags & Flag.HAS_RAW_DATA else end
        if not at + OBJECT_HEADER <= at + footer <= footer_end:
            raise span.malformed(at, path, f"an object can't have its footer at {footer}")
        fields_end = raw_end = at + footer
        ids, starts = _read_footer(span, at + footer, footer_end, flags, path)
        try:
            names = types.field_names(number, schema, ids)
        except ProtocolError as error:
            raise span.malformed(at, path, str(error)) from error
        if len(names) != len(starts):
            raise span.malformed(at, path, f"{len(starts)} fields came, {len(names)} are known")
        offsets = tuple(at + start for start in starts)
    if flags & Flag.HAS_RAW_DATA:
        raw = span.integer(end - 4, path) if flags & Flag.HAS_SCHEMA else footer
        if not fields_start <= at + raw <= raw_end:
            raise span.malformed(at, path, "raw data lies outside of its object")
        fields_end = at + raw
    kind = types.find(number)
    return ObjectFrame(
        type_id=number,
        type_name=kind.name if kind else str(number),
        names=names,
        offsets=offsets,
        fields_start=fields_start,
        fields_end=fields_end,
        raw_end=raw_end,
        end=end,
    )


def read_class_name(span: Span, at: int, path: str) -> tuple[int, int]:
    """Type id of a class that is named instead of numbered, and the offset after its name."""
    span.need(at, 1, path)
    if span.buffer[at] != Code.STRING:
        raise span.malformed(at, path, "a class has neither an id nor a name")
    name, end = string(span, at + 1, path)
    return type_id(name), end


def _read_footer(
    span: Span, start: int, end: int, flags: Flag, path: str
) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    width = 1 if flags & Flag.OFFSET_ONE_BYTE else 2 if flags & Flag.OFFSET_TWO_BYTES else 4
    compact = bool(flags & Flag.COMPACT_FOOTER)
    layout = np.dtype(
        [("start", f"<u{width}")] if compact else [("id", "<i4"), ("start", f"<u{width}")]
    )
    if (end - start) % layout.itemsize:
        raise span.malformed(start, path, f"a footer can't have {end - start} bytes")
    footer = np.frombuffer(span.buffer[start:end], layout)
    ids = None if compact else tuple(footer["id"].tolist())
    return ids, tuple(footer["start"].tolist())
