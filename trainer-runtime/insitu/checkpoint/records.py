"""Entries of the commit log, and their JSON.

    {"blake2b": "<16 bytes, hex>", "record": {...}}

The digest is of `record` as JSON with sorted keys and no spaces. Every field is readable by a
person; numbers of shards are written as ranges. All formats have this envelope and `format` in
it, so that each release can tell a record of another release from a damaged one.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from insitu.checkpoint.parts import Part
from insitu.contract.ranges import format_ranges, parse_ranges
from insitu.data.cursor import BlockPosition, Cursor
from insitu.data.identity import UNKNOWN, Fingerprint, Origin
from insitu.data.order import Order
from insitu.databases import RowPosition
from insitu.errors import UnknownFormat
from insitu.topology import ShardId

FORMAT = 2
_RANGED_BELOW = 65_536

Json = bool | int | float | str | list["Json"] | dict[str, "Json"] | None


@dataclass(frozen=True, slots=True)
class Commit:
    """A checkpoint: the parts of the parameters, and how much data is in them.

    `parent` is the commit this one trained on from, None for the first. `meta` is the user's.
    `writer` is the process that made it, `fence` the number of the fence that it had set.
    """

    seq: int
    generation: int
    writer: str
    time: datetime
    cursor: Cursor
    world_size: int
    parts: tuple[Part, ...] = ()
    parent: int | None = None
    meta: Mapping[str, Json] = field(default_factory=dict)
    fence: int = 0
    origin: Origin = UNKNOWN


@dataclass(frozen=True, slots=True)
class Fence:
    """From here on only `writer` may commit, for its generation of its run.

    `earlier` are all runs that had set fences before and are over, except this one.
    """

    seq: int
    generation: int
    writer: str
    time: datetime
    origin: Origin = UNKNOWN
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A name of the log whose content is no record; `reason` says why."""

    seq: int
    reason: str


Record = Commit | Fence


def encode(record: Record) -> bytes:
    """The object to store for `record`."""
    body: dict[str, Json] = {
        "format": FORMAT,
        "kind": "commit" if isinstance(record, Commit) else "fence",
        "seq": record.seq,
        "generation": record.generation,
        "writer": record.writer,
        "time": record.time.isoformat(),
        "run": record.origin.run,
        "data": None if record.origin.data is None else asdict(record.origin.data),
    }
    if isinstance(record, Fence):
        body["earlier"] = list(record.earlier)
    else:
        body |= {
            "fence": record.fence,
            "parent": record.parent,
            "worldSize": record.world_size,
            "cursor": encode_cursor(record.cursor),
            "parts": [
                {"name": p.name, "length": p.length, "checksum": p.checksum, "rank": p.rank}
                for p in record.parts
            ],
            "meta": dict(record.meta),
        }
    return _canonical({"blake2b": _digest(body), "record": body})


def decode(seq: int, data: bytes | memoryview) -> Record | Unreadable:
    """What the object of sequence number `seq` says.

    Raises:
        UnknownFormat: it is whole, and another release of Insitu wrote it.
    """
    if not len(data):
        return Unreadable(seq, "it is empty")
    try:
        document = json.loads(bytes(data))
        body = document["record"]
        found = document["blake2b"]
    except (ValueError, KeyError, TypeError):
        return Unreadable(seq, "it is no complete commit record")
    if found != _digest(body):
        return Unreadable(seq, "it is damaged: its digest does not match")
    if body["format"] != FORMAT:
        raise UnknownFormat(
            f"record {seq} of the checkpoints has format {body['format']}, written by "
            f"{_whose(body['format'])} release of Insitu; this one reads format {FORMAT}. Go on "
            "with that release, or give the job another name or store"
        )
    if body["seq"] != seq:
        return Unreadable(seq, f"it is a copy of commit {body['seq']}")
    return _record(body)


def encode_cursor(cursor: Cursor) -> dict[str, Json]:
    """Shards with the same count share an entry: `[[128, "0-7,12"], ...]`."""
    by_count: defaultdict[int, list[ShardId]] = defaultdict(list)
    for shard, rows in cursor.taken.items():
        by_count[rows].append(shard)
    return {
        "epoch": cursor.epoch,
        "step": cursor.step,
        "rows": cursor.rows,
        "seed": cursor.order.seed,
        "blockRows": cursor.order.block_rows,
        "taken": [[rows, *_pack(by_count[rows])] for rows in sorted(by_count)],
        "finished": _pack(cursor.finished),
        "blocks": {shard: encode_block(block) for shard, block in cursor.blocks.items()},
        "counted": cursor.counted,
        "inexact": cursor.inexact,
        "inexactEpochs": cursor.inexact_epochs,
    }


def decode_cursor(body: Mapping[str, Any]) -> Cursor:
    """The inverse of `encode_cursor`."""
    return Cursor(
        epoch=body["epoch"],
        step=body["step"],
        taken={shard: rows for rows, *packed in body["taken"] for shard in _unpack(packed)},
        finished=frozenset(_unpack(body["finished"])),
        order=Order(body["seed"], body["blockRows"]),
        blocks={ShardId(s): decode_block(place) for s, place in body["blocks"].items()},
        counted=body["counted"],
        inexact=body["inexact"],
        inexact_epochs=body["inexactEpochs"],
    )


def encode_block(block: BlockPosition) -> dict[str, Json]:
    """Keys of rows are written in base64."""
    place: dict[str, Json] = {"number": block.number, "first": _position(block.first)}
    if block.last is not None:
        place |= {"last": _position(block.last), "rows": block.rows, "taken": block.taken}
    return place


def decode_block(place: Mapping[str, Any]) -> BlockPosition:
    """The inverse of `encode_block`."""
    last = _row(place["last"]) if "last" in place else None
    rows, taken = place.get("rows", 0), place.get("taken", 0)
    return BlockPosition(_row(place["first"]), last, rows, taken, place["number"])


def _position(position: RowPosition) -> list[Json]:
    return [position.number, base64.b64encode(position.key).decode()]


def _row(written: Sequence[Any]) -> RowPosition:
    number, key = written
    return RowPosition(number, base64.b64decode(key))


def _record(body: dict[str, Any]) -> Record:
    seq, generation, writer = body["seq"], body["generation"], body["writer"]
    time = datetime.fromisoformat(body["time"])
    data = body["data"]
    origin = Origin(body["run"], None if data is None else Fingerprint(**data))
    if body["kind"] == "fence":
        return Fence(seq, generation, writer, time, origin, tuple(body["earlier"]))
    return Commit(
        seq=seq,
        generation=generation,
        writer=writer,
        time=time,
        cursor=decode_cursor(body["cursor"]),
        world_size=body["worldSize"],
        parts=tuple(Part(**part) for part in body["parts"]),
        parent=body["parent"],
        meta=body["meta"],
        fence=body["fence"],
        origin=origin,
    )


def _whose(found: Any) -> str:
    return "a newer" if isinstance(found, int) and found > FORMAT else "another"


def _pack(shards: Iterable[ShardId]) -> list[Json]:
    """One text of ranges for shards that are small numbers, then all other ids as they are."""
    numbers: list[int] = []
    names: list[Json] = []
    for shard in sorted(shards):
        if shard.isdecimal() and str(number := int(shard)) == shard and number < _RANGED_BELOW:
            numbers.append(number)
        else:
            names.append(shard)
    return [format_ranges(numbers), *names]


def _unpack(packed: list[str]) -> list[ShardId]:
    ranges, *names = packed
    return [ShardId(str(n)) for n in parse_ranges(ranges) or ()] + [ShardId(n) for n in names]


def _digest(body: Json) -> str:
    return hashlib.blake2b(_canonical(body), digest_size=16).hexdigest()


def _canonical(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
