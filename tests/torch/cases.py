"""What the ranks of a test do, each in its own process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor, nn

import insitu.torch
from insitu.contract import Assignment, to_environ, write_document
from insitu.topology import ShardId
from tests.memory import MemoryDatabase
from tests.ranks import a_job, assignments

Array = npt.NDArray[np.float64]
WIDTH = 6


@dataclass(frozen=True)
class Case:
    """Rows of each shard, and how to train on them."""

    sizes: tuple[int, ...]
    dtype: str = "float32"
    optimizer: str = "sgd"
    batch_size: int = 32
    epochs: int = 1
    job: Assignment = field(default_factory=a_job)


@dataclass
class Trained:
    """What one rank saw: its ids and all parameters, before the first and after each step."""

    ids: list[list[int]] = field(default_factory=list)
    parameters: list[Array] = field(default_factory=list)
    bits: bytes = b""
    shapes: list[tuple[int, ...]] = field(default_factory=list)


def database(case: Case) -> MemoryDatabase:
    """A column `x` of WIDTH numbers a row, and `y`; made from the ids, the same everywhere."""
    numbers = np.random.default_rng(5)
    kind = pa.float32() if case.dtype == "float32" else pa.float64()
    shards: dict[ShardId, pa.Table] = {}
    start = 0
    for number, rows in enumerate(case.sizes):
        x = numbers.standard_normal((rows, WIDTH))
        flat = pa.array(x.reshape(-1)).cast(kind)
        offsets = pa.array(range(0, rows * WIDTH + 1, WIDTH), pa.int32())
        shards[ShardId(str(number))] = pa.table(
            {
                "id": pa.array(range(start, start + rows), pa.int64()),
                "x": pa.ListArray.from_arrays(offsets, flat),
                "y": pa.array(np.sin(x.sum(axis=1))).cast(kind),
            }
        )
        start += rows
    return MemoryDatabase(shards)


def model(case: Case, seed: int = 3) -> nn.Module:
    """Two layers, one parameter that nothing uses, and a buffer."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(WIDTH, 16), nn.Tanh(), nn.Linear(16, 1))
    network.register_parameter("unused", nn.Parameter(torch.ones(3)))
    network.register_buffer("seen", torch.zeros((), dtype=torch.int64))
    return network.to(getattr(torch, case.dtype))


def optimizer(case: Case, network: nn.Module) -> torch.optim.Optimizer:
    makers: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "sgd": lambda: torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9),
        "adamw": lambda: torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1),
    }
    return makers[case.optimizer]()


def loss_of(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    output: Tensor = network(x).squeeze(1)
    return ((output - y) ** 2).sum()


def flat(network: nn.Module) -> Array:
    parts = [p.detach().reshape(-1).to(torch.float64) for p in network.parameters()]
    joined: Array = torch.cat(parts).numpy()
    return joined


def environ(job: Assignment, folder: str) -> dict[str, str]:
    path = Path(folder) / f"assignment-{job.rank}.json"
    write_document(job, path)
    return to_environ(job, path)


def train(rank: int, world_size: int, port: int, case: Case) -> Trained:
    """The whole of a small training; rank 0's initial parameters are everybody's."""
    shared = database(case)
    job = replace(assignments(shared, world_size, case.job)[rank], master=("127.0.0.1", port))
    network = model(case, seed=3 + rank)
    seen = Trained()
    with (
        tempfile.TemporaryDirectory() as folder,
        insitu.torch.session(
            model=network,
            optimizer=(moves := optimizer(case, network)),
            environ=environ(job, folder),
            open_database=lambda _source: shared,
            timeout_seconds=20,
        ) as session,
    ):
        assert moves is not None
        seen.parameters.append(flat(network))
        for batch in session.batches(case.epochs, case.batch_size):
            seen.ids.append(batch.arrow.column("id").to_pylist())
            seen.shapes.append(tuple(batch["x"].shape))
            session.step(loss_of(network, batch["x"], batch["y"]))
            seen.parameters.append(flat(network))
    seen.bits = b"".join(p.detach().numpy().tobytes() for p in network.parameters())
    return seen


def alone(case: Case, steps: Sequence[Sequence[int]]) -> list[Array]:
    """One plain loop over the same rows, without insitu: what every set of ranks has to match."""
    network = model(case)
    moves = optimizer(case, network)
    rows = pa.concat_tables(database(case).shards.values()).combine_chunks()
    x = np.stack(rows["x"].to_numpy())
    y = rows["y"].to_numpy()
    found = [flat(network)]
    for ids in steps:
        moves.zero_grad()
        loss = loss_of(network, torch.from_numpy(x[ids]), torch.from_numpy(y[ids].copy()))
        (loss / len(ids)).backward()  # type: ignore[no-untyped-call]
        moves.step()
        found.append(flat(network))
    return found
