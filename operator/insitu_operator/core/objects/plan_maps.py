"""The ConfigMap that keeps a job's record: its memory, should the operator start anew."""

from __future__ import annotations

import base64
import gzip
import lzma
import zlib
from typing import Any

from insitu.api import TrainingJob
from insitu.errors import ConfigurationError
from insitu_operator.core.objects.names import plan_map_name
from insitu_operator.core.objects.owners import Json, metadata
from insitu_operator.core.record import Record

_PLAIN, _PACKED, _DENSE = "plan.json", "plan.json.gz", "plan.json.xz"
_LARGEST_PLAIN = 512 << 10
_LARGEST = 1000 << 10
"""Kubernetes takes 1 MiB, with names and all."""

_LARGEST_TEXT = 16 << 20
"""Of a record. Its most repetitive text packs to a hundredth, so that nothing else limits what a
ConfigMap unpacks to in the operator's memory."""

_XZ = [
    {
        "id": lzma.FILTER_LZMA2,
        "preset": 3,
        "dict_size": 4 << 20,
        "mode": lzma.MODE_NORMAL,
        "mf": lzma.MF_BT3,
        "nice_len": 32,
        "depth": 16,
    }
]
"""Finds the end of a token range again as the beginning of the next, megabytes away, which gzip
does not: two thirds of its size. It takes seconds and 50 MB, so it is for what gzip can't."""

_GZIP = zlib.MAX_WBITS | 16
"""A gzip header is asked for."""

_XZ_MEMORY = 16 << 20
"""Bytes to unpack with: four times the dictionary above."""


def plan_map(job: TrainingJob, record: Record) -> Json:
    """As it is created.

    Raises:
        ConfigurationError: the record is too large for one ConfigMap.
    """
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(job, plan_map_name(job.metadata.name)),
        **_content(record),
    }


def replaced(config_map: Json, record: Record) -> Json:
    """With the record of a newer generation; only what was read before can be replaced by it.

    Raises:
        ConfigurationError: the record is too large for one ConfigMap.
    """
    kept = {k: v for k, v in config_map.items() if k not in ("data", "binaryData")}
    return {"apiVersion": "v1", "kind": "ConfigMap", **kept, **_content(record)}


def read_record(config_map: Json) -> Record:
    """The record that was written last.

    Raises:
        ConfigurationError: somebody else changed the ConfigMap; the message names it.
    """
    name = f"ConfigMap {config_map['metadata']['name']}"
    data: dict[str, Any] = config_map.get("data") or {}
    binary: dict[str, Any] = config_map.get("binaryData") or {}
    try:
        return Record.from_json(_text(data, binary))
    except (ConfigurationError, ValueError, EOFError, zlib.error, lzma.LZMAError) as problem:
        raise ConfigurationError(
            f"{name} holds no plan of this version of Insitu ({problem}). It is the memory of the"
            " job: restore it, or delete it to have the job planned anew"
        ) from problem


def _content(record: Record) -> Json:
    text = record.to_json()
    if len(text) <= _LARGEST_PLAIN:
        return {"data": {_PLAIN: text.decode()}}
    name, packed = _PACKED, gzip.compress(text, mtime=0)
    if len(packed) > _LARGEST and len(text) <= _LARGEST_TEXT:
        name, packed = _DENSE, lzma.compress(text, lzma.FORMAT_XZ, filters=_XZ)
    if len(packed) > _LARGEST or len(text) > _LARGEST_TEXT:
        raise ConfigurationError(
            f"the plan of {record.plan.world_size} ranks and {len(record.plan.rank_of)} shards is"
            f" {len(packed)} bytes when packed, too large for a ConfigMap, which takes {_LARGEST}."
            " Let the table have fewer shards, or the database fewer nodes"
        )
    return {"binaryData": {name: base64.b64encode(packed).decode()}}


def _text(data: dict[str, Any], binary: dict[str, Any]) -> bytes:
    """The record's text, unpacked no further than a record is long."""
    if _DENSE in binary:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        text = unpacker.decompress(_bytes(binary[_DENSE]), _LARGEST_TEXT + 1)
        ended = unpacker.eof
    elif _PACKED in binary:
        inflater = zlib.decompressobj(wbits=_GZIP)
        text = inflater.decompress(_bytes(binary[_PACKED]), _LARGEST_TEXT + 1)
        ended = inflater.eof
    else:
        return str(data.get(_PLAIN, "")).encode()
    if len(text) > _LARGEST_TEXT:
        raise ConfigurationError(f"it unpacks to more than {_LARGEST_TEXT} bytes")
    if not ended:
        raise ConfigurationError("it ends in the middle")
    return text


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
