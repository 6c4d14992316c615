"""Tensors as bytes, in the safetensors format: no pickle, so reading one never runs code.

The format (https://github.com/huggingface/safetensors#format): eight bytes of little-endian
header length, a JSON header, then the tensors' bytes without gaps. It is written here and not by
the package because that copies the whole state once more and belongs to the PyTorch extra only; a
test holds the two together.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from insitu.checkpoint.store import Buffer
from insitu.errors import StoreError

#: Bits of an element, by the format's name of its type.
DTYPES: Mapping[str, int] = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "C64": 64,
}

_ALIGNMENT = 8
_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Tensor:
    """`data` holds the elements in C order, little-endian; `dtype` is a key of `DTYPES`."""

    dtype: str
    shape: tuple[int, ...]
    data: Buffer

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"{self.dtype} is no type of the safetensors format: {list(DTYPES)}")
        right = math.prod(self.shape) * DTYPES[self.dtype] // 8
        if self.nbytes != right:
            raise ValueError(f"{self.dtype}{list(self.shape)} has {right} bytes, not {self.nbytes}")

    @property
    def nbytes(self) -> int:
        return memoryview(self.data).nbytes


def share(sizes: Mapping[str, int], world_size: int) -> tuple[tuple[str, ...], ...]:
    """Which rank writes which tensors: names by rank, balanced by bytes, the same on every rank.

    Largest first to whoever has least (Graham's LPT rule, at most 4/3 of the best maximum).
    `sizes` are bytes by name; only its content matters, not its order.
    """
    names: list[list[str]] = [[] for _ in range(world_size)]
    least = [(0, rank) for rank in range(world_size)]
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        load, rank = least[0]
        names[rank].append(name)
        heapq.heapreplace(least, (load + sizes[name], rank))
    return tuple(tuple(sorted(mine)) for mine in names)


def encode_tensors(tensors: Mapping[str, Tensor]) -> list[Buffer]:
    """A safetensors file in pieces: the header, then each tensor's own buffer, uncopied."""
    # Wide elements first, as the package does: with an aligned start all of them stay aligned.
    order = sorted(tensors, key=lambda name: (-DTYPES[tensors[name].dtype], name))
    header: dict[str, object] = {}
    end = 0
    for name in order:
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    pieces: list[Buffer] = [len(text).to_bytes(_LENGTH_BYTES, "little") + text]
    pieces += [memoryview(tensors[name].data).cast("B") for name in order if tensors[name].nbytes]
    return pieces


def decode_tensors(data: Buffer) -> dict[str, Tensor]:
    """The tensors of a safetensors file, as views of `data`.

    Raises:
        StoreError: `data` is no such file.
    """
    view = memoryview(data).cast("B")
    start = _LENGTH_BYTES + int.from_bytes(view[:_LENGTH_BYTES], "little")
    try:
        header = json.loads(bytes(view[_LENGTH_BYTES:start]))
        header.pop("__metadata__", None)
        return {name: _tensor(view[start:], entry) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"a checkpoint's part is no safetensors file: {error}") from error


def merged(parts: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of all ranks' parts together; no name is in two of them (see `share`)."""
    whole: dict[str, Tensor] = {}
    for part in parts:
        whole.update(part)
    return whole


def _tensor(data: memoryview, entry: Mapping[str, Any]) -> Tensor:
    start, end = entry["data_offsets"]
    return Tensor(entry["dtype"], tuple(entry["shape"]), data[start:end])
