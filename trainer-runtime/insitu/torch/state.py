"""What a commit keeps of a PyTorch training: never pickled, so reading one never runs code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeGuard

import torch
from torch import nn

from insitu.checkpoint import tensors as stored
from insitu.checkpoint.records import Json
from insitu.checkpoint.tree import join, split
from insitu.errors import ConfigurationError
from insitu.session.commits import Snapshot

_NAMES: Mapping[torch.dtype, str] = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
}
_TYPES = {name: kind for kind, name in _NAMES.items()}


class Stateful(Protocol):
    """Anything that can say what it knows, and be told."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


class TrainingState:
    """Everything that makes a training go on as if it had never stopped.

    Args:
        parts: What is kept, by name; the same on all ranks.
        rank: Whose random numbers are kept under its own name.
        before: Called on all ranks before each capture, to make equal what may have drifted.
    """

    def __init__(
        self, parts: Mapping[str, Stateful], rank: int, before: Callable[[], None]
    ) -> None:
        self._parts = parts
        self._rank = rank
        self._before = before

    def capture(self) -> Snapshot:
        self._before()
        tree = {name: part.state_dict() for name, part in self._parts.items()}
        skeleton, found = split(tree, _is_tensor)
        return Snapshot(
            skeleton,
            {name: tensor.nbytes for name, tensor in found.items()},
            lambda name: encode(name, found[name]),
            {f"random/{self._rank}": encode("random", torch.get_rng_state())},
        )

    def restore(self, skeleton: Json, tensors: Mapping[str, stored.Tensor]) -> None:
        """Also continues this rank's random numbers, where the commit has any for it."""
        load_into(self._parts, skeleton, tensors)
        if mine := tensors.get(f"random/{self._rank}"):
            torch.set_rng_state(decode(mine))


def load_into(
    parts: Mapping[str, Stateful], skeleton: Json, tensors: Mapping[str, stored.Tensor]
) -> None:
    """Gives each of `parts` its state.

    Raises:
        ConfigurationError: the state has no such part, or it doesn't fit.
    """
    tree = join(skeleton, {name: decode(tensor) for name, tensor in tensors.items()})
    for name, part in parts.items():
        if name not in tree:
            raise ConfigurationError(
                f"the commit holds no '{name}', only {', '.join(sorted(tree))}: it was made by "
                "another script"
            )
        try:
            part.load_state_dict(tree[name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise ConfigurationError(
                f"the commit's '{name}' does not fit the script's: {error}. Train under another "
                "job name to start afresh"
            ) from error


def kept(
    model: nn.Module,
    optimizer: Stateful | None,
    scheduler: Stateful | None,
    more: Mapping[str, Stateful],
) -> dict[str, Stateful]:
    """The parts of a training by the names they have in a commit.

    Raises:
        ConfigurationError: a name of `more` is one of ours.
    """
    named = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    ours: dict[str, Stateful] = {name: part for name, part in named.items() if part is not None}
    if taken := named.keys() & more.keys():
        raise ConfigurationError(f"state={{'{min(taken)}': ...}}: that name is taken already")
    return ours | dict(more)


def encode(name: str, tensor: torch.Tensor) -> stored.Tensor:
    """`tensor` as bytes, not copied where it is contiguous in main memory.

    Raises:
        ConfigurationError: its type or layout can't be kept.
    """
    if tensor.dtype not in _NAMES or tensor.layout is not torch.strided:
        raise ConfigurationError(
            f"'{name}' is a {tensor.layout} tensor of {tensor.dtype}, which a checkpoint can't "
            f"hold; right would be a dense one of {', '.join(map(str, _NAMES))}"
        )
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy().data if flat.numel() else b""
    return stored.Tensor(_NAMES[tensor.dtype], tuple(tensor.shape), data)


def decode(tensor: stored.Tensor) -> torch.Tensor:
    """A tensor of its own, in main memory."""
    kind = _TYPES[tensor.dtype]
    if not tensor.nbytes:
        return torch.empty(tensor.shape, dtype=kind)
    return torch.frombuffer(bytearray(tensor.data), dtype=kind).reshape(tensor.shape)


def _is_tensor(value: object) -> TypeGuard[torch.Tensor]:
    return isinstance(value, torch.Tensor)
