"""The ranks of one generation as a gloo process group that never waits for long."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
from torch import Tensor, distributed

from insitu.errors import ConfigurationError, PeerLost
from insitu.session.collective import Ints


class Group:
    """Collectives over gloo; a world of one has none and needs none.

    Takes the default process group where the script has made one already, else makes it, and
    destroys only what it made.

    Args:
        rank: This rank.
        world_size: Ranks of the generation.
        master: Host and port where rank 0 is met.
        join_seconds: How long to wait for all ranks to be there.
        timeout_seconds: How long one collective may take; longer than the slowest step of any
            rank, for that is what the others wait for. A rank whose process ends is noticed at
            once.

    Raises:
        ConfigurationError: the group the script has made is another one than was assigned, or
            can't pass on tensors of the CPU, as row counts and messages are.
        PeerLost: not all ranks came.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        master: tuple[str, int],
        *,
        join_seconds: float,
        timeout_seconds: float,
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self._mine = False
        if distributed.is_initialized():
            found = (distributed.get_rank(), distributed.get_world_size())
            if found != (rank, world_size):
                raise ConfigurationError(
                    f"the script's process group has rank {found[0]} of {found[1]}, but this "
                    f"process was assigned rank {rank} of {world_size}"
                )
            _check_backend(str(distributed.get_backend_config()))
        elif world_size > 1:
            self._join(master, join_seconds, timeout_seconds)
            self._mine = True

    def all_gather(self, values: Ints) -> Ints:
        """`values` (n,) of every rank, as (world_size, n)."""
        if self.world_size == 1:
            return values[None, :]
        found = torch.empty((self.world_size, values.size), dtype=torch.int64)
        with _peers("exchanging row counts"):
            distributed.all_gather(list(found.unbind()), torch.from_numpy(values))
        gathered: Ints = found.numpy()
        return gathered

    def all_gather_bytes(self, value: bytes) -> Sequence[bytes]:
        """`value` of every rank: lengths first, then all padded to the longest."""
        if self.world_size == 1:
            return [value]
        lengths = self.all_gather(np.array([len(value)], np.int64))[:, 0].tolist()
        mine = torch.zeros(max(*lengths, 1), dtype=torch.uint8)
        mine[: len(value)] = torch.frombuffer(bytearray(value or b"\0"), dtype=torch.uint8)[
            : len(value)
        ]
        found = [torch.empty_like(mine) for _ in lengths]
        with _peers("exchanging messages"):
            distributed.all_gather(found, mine)
        return [bytes(row[:length].numpy()) for row, length in zip(found, lengths, strict=True)]

    def add(self, values: Tensor) -> None:
        """`values` becomes the sum over all ranks, the same to the bit on each."""
        if self.world_size > 1:
            with _peers("adding gradients"):
                distributed.all_reduce(values)

    def broadcast(self, values: Tensor) -> None:
        """`values` becomes that of rank 0."""
        if self.world_size > 1:
            with _peers("broadcasting parameters"):
                distributed.broadcast(values, src=0)

    def close(self, *, together: bool) -> None:
        """`together` waits for all ranks, so that none leaves while another still listens."""
        if not self._mine:
            return
        self._mine = False
        if together:
            with _peers("leaving"):
                distributed.barrier()
        distributed.destroy_process_group()

    def _join(self, master: tuple[str, int], join_seconds: float, timeout_seconds: float) -> None:
        host, port = master
        if not port:
            raise ConfigurationError(
                f"rank {self.rank} of {self.world_size} has to be told where to meet the others: "
                "set MASTER_ADDR and MASTER_PORT"
            )
        if host == "localhost" or host.startswith("127."):
            # gloo would look up this machine's name, which need not be reachable at all.
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        with _peers(f"meeting at {host}:{port}"):
            store = distributed.TCPStore(  # type: ignore[attr-defined]
                host,
                port,
                self.world_size,
                is_master=self.rank == 0,
                timeout=timedelta(seconds=join_seconds),
            )
            store.set_timeout(timedelta(seconds=timeout_seconds))
            distributed.init_process_group(
                "gloo",
                store=store,
                rank=self.rank,
                world_size=self.world_size,
                timeout=timedelta(seconds=timeout_seconds),
            )


def _check_backend(config: str) -> None:
    """`config` is like `cpu:gloo,cuda:nccl`."""
    if not any(part.startswith("cpu:") for part in config.split(",")):
        raise ConfigurationError(
            f"the script's process group ({config}) has no backend for the CPU, and ranks tell "
            "each other their row counts there: init_process_group('cpu:gloo,cuda:nccl'), or "
            "leave the group to the session"
        )


#: Of errors that gloo tells as plain RuntimeErrors, when a rank is gone or silent.
_LOST = (
    "closed by peer",
    "connection reset",
    "connection refused",
    "connection timed out",
    "broken pipe",
    "timed out waiting",
    "timeout",
    "socket closed",
    "not connected",
    "unreachable",
    "connectfullmesh",
)


def means_lost(error: Exception) -> bool:
    """Whether another rank went away or fell silent; anything else is this script's own error."""
    if isinstance(error, (TimeoutError, ConnectionError)):
        return True
    if isinstance(error, (distributed.DistNetworkError, distributed.DistStoreError)):
        return True
    text = str(error).lower()
    return any(words in text for words in _LOST)


@contextmanager
def _peers(doing: str) -> Iterator[None]:
    """A collective that fails because another rank is gone; torch says so in several ways."""
    try:
        yield
    except (RuntimeError, TimeoutError, ConnectionError) as error:
        if not means_lost(error):
            raise
        reason = str(error).strip().splitlines()
        raise PeerLost(
            f"another rank went away or stopped answering, while {doing}: "
            f"{reason[0] if reason else type(error).__name__}"
        ) from error
