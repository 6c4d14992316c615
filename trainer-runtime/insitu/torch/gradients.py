"""Adds the gradients of all ranks, in few messages and in the same order every time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from insitu.errors import ConfigurationError

BUCKET_BYTES = 25 << 20


def add_gradients(
    parameters: Sequence[Tensor],
    add: Callable[[Tensor], None],
    bucket_bytes: int = BUCKET_BYTES,
    *,
    when_left: Callable[[], None] = lambda: None,
) -> bool:
    """Every `grad` becomes the sum over all ranks; None counts as zeros.

    A parameter that no rank has a gradient for keeps None, as it would in one process: an
    optimizer skips it, where zeros would still decay and move it. So each bucket ends with one
    flag a parameter, added up like the rest. The first bucket has one flag more: whether a rank
    called `say_left` instead.

    Args:
        parameters: The same ones in the same order on every rank.
        add: Makes a tensor the sum over all ranks, in place.
        bucket_bytes: Gradients are sent in flat tensors of about this size.
        when_left: Called where a rank makes no update but leaves; raises.

    Returns:
        Whether any rank has a gradient of any parameter.

    Raises:
        ConfigurationError: a gradient is sparse.
    """
    any_used = False
    for first, bucket in enumerate(_buckets(parameters, bucket_bytes)):
        ends = list(itertools.accumulate(parameter.numel() for parameter in bucket))
        flat = _empty(bucket, with_left=not first)
        parts = [flat[start:end] for start, end in itertools.pairwise([0, *ends])]
        flags = flat[ends[-1] :]
        for number, parameter in enumerate(bucket):
            if parameter.grad is None:
                continue
            if parameter.grad.layout is not torch.strided:
                raise ConfigurationError(
                    f"a parameter of shape {tuple(parameter.shape)} has a sparse gradient, which "
                    "can't be added over ranks: make its layer with sparse=False"
                )
            parts[number].copy_(parameter.grad.reshape(-1))
            flags[number] = 1
        add(flat)
        used = flags.tolist()
        if not first and used.pop():
            when_left()
        any_used = any_used or any(used)
        for number, parameter in enumerate(bucket):
            if not used[number]:
                continue
            total = parts[number].view_as(parameter)
            if parameter.grad is None:
                parameter.grad = total.clone()
            else:
                parameter.grad.copy_(total)
    return any_used


def say_left(
    parameters: Sequence[Tensor],
    add: Callable[[Tensor], None],
    bucket_bytes: int = BUCKET_BYTES,
) -> None:
    """Answers the ranks that are in `add_gradients`: this one makes no update, but leaves."""
    for bucket in _buckets(parameters, bucket_bytes)[:1]:
        flat = _empty(bucket, with_left=True)
        flat[-1] = 1
        add(flat)


def _empty(bucket: Sequence[Tensor], *, with_left: bool) -> Tensor:
    """Room for all gradients of a bucket and their flags."""
    length = sum(parameter.numel() for parameter in bucket) + len(bucket) + with_left
    return bucket[0].new_zeros(length, requires_grad=False)


def broadcast(tensors: Iterable[Tensor], send: Callable[[Tensor], None]) -> None:
    """Every tensor becomes that of rank 0, to the bit.

    `send` does it for one flat tensor of bytes, in place.
    """
    for tensor in tensors:
        if tensor.numel():
            values = tensor.detach()
            whole = values.contiguous().clone().reshape(-1)
            send(whole.view(torch.uint8))
            values.copy_(whole.view_as(values))


def _buckets(parameters: Sequence[Tensor], size: int) -> list[list[Tensor]]:
    """Parameters in order, in runs of one type and device and at most `size` bytes."""
    buckets: list[list[Tensor]] = []
    kind: object = None
    filled = 0
    for parameter in parameters:
        own = (parameter.dtype, parameter.device)
        wanted = parameter.numel() * parameter.element_size()
        if own != kind or filled + wanted > size:
            buckets.append([])
            filled = 0
        kind = own
        filled += wanted
        buckets[-1].append(parameter)
    return buckets
