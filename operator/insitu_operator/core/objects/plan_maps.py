"""The ConfigMap that keeps a job's record: its memory, should the operator start anew."""

from __future__ import annotations

import base64
import binascii
import gzip
import zlib
from typing import Any

from insitu.api import TrainingJob
from insitu.errors import ConfigurationError
from insitu_operator.core.objects.names import plan_map_name
from insitu_operator.core.objects.owners import Json, metadata
from insitu_operator.core.record import Record

_PLAIN, _PACKED = "plan.json", "plan.json.gz"
_LARGEST_PLAIN = 512 << 10
_LARGEST = 1000 << 10
"""Kubernetes takes 1 MiB, with names and all."""


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
        if _PACKED in binary:
            return Record.from_json(gzip.decompress(base64.b64decode(binary[_PACKED])))
        return Record.from_json(data.get(_PLAIN, "").encode())
    except (ConfigurationError, binascii.Error, OSError, EOFError, zlib.error) as problem:
        raise ConfigurationError(
            f"{name} holds no plan of this version of Insitu ({problem}). It is the memory of the"
            " job: restore it, or delete it to have the job planned anew"
        ) from problem


def _content(record: Record) -> Json:
    text = record.to_json()
    if len(text) <= _LARGEST_PLAIN:
        return {"data": {_PLAIN: text.decode()}}
    packed = gzip.compress(text, mtime=0)
    if len(packed) > _LARGEST:
        raise ConfigurationError(
            f"the plan of {record.plan.world_size} ranks and {len(record.plan.rank_of)} shards is"
            f" {len(packed)} bytes, too large for a ConfigMap, which takes {_LARGEST}"
        )
    return {"binaryData": {_PACKED: base64.b64encode(packed).decode()}}
