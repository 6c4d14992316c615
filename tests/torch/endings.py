"""Ranks that leave their session in ways of their own, each in its own process."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from torch import distributed, nn

import insitu.torch
from insitu.errors import ConfigurationError
from insitu.torch.group import Group
from tests.ranks import assignments
from tests.torch.cases import Case, database, environ, flat, loss_of, model, optimizer


@dataclass
class Ended:
    """How a rank ended: its exit code, what it said, and its steps."""

    code: int = 0
    said: str = ""
    steps: int = 0
    parameters: list[float] = field(default_factory=list)


@contextmanager
def a_rank(
    rank: int, world_size: int, port: int, case: Case, ended: Ended
) -> Iterator[tuple[nn.Module, insitu.torch.Session]]:
    """A session of one rank, whose end is written down."""
    shared = database(case)
    job = replace(assignments(shared, world_size, case.job)[rank], master=("127.0.0.1", port))
    network = model(case)
    heard = io.StringIO()
    try:
        with (
            contextlib.redirect_stderr(heard),
            tempfile.TemporaryDirectory() as folder,
            insitu.torch.session(
                model=network,
                optimizer=optimizer(case, network),
                environ=environ(job, folder),
                open_database=lambda _source: shared,
                timeout_seconds=30,
            ) as session,
        ):
            yield network, session
            ended.steps = session.steps
    except SystemExit as error:
        ended.code = int(error.code or 0)
    ended.said = heard.getvalue()
    ended.parameters = flat(network).tolist()


def leave(
    rank: int,
    world_size: int,
    port: int,
    case: Case,
    last: dict[int, int],
    with_batch: bool = False,
    stops: bool = False,
) -> Ended:
    """Breaks out of the loop after step `last[rank]`, or with the next batch in hand; or asks all
    ranks to stop.
    """
    ended = Ended()
    with a_rank(rank, world_size, port, case, ended) as (network, session):
        for batch in session.batches(case.epochs, case.batch_size):
            here = last.get(rank)
            if with_batch and here is not None and batch.step > here:
                break
            session.step(loss_of(network, batch["x"], batch["y"]))
            if stops and batch.step == here:
                session.stop()
            elif not with_batch and batch.step == here:
                break
    return ended


def accumulate(
    rank: int, world_size: int, port: int, case: Case, every: int, crash_at: int = 0
) -> Ended:
    """Updates of `every` batches each; raises at batch number `crash_at`."""
    ended = Ended()
    with a_rank(rank, world_size, port, case, ended) as (network, session):
        for number, batch in enumerate(session.batches(case.epochs, case.batch_size), 1):
            if number == crash_at:
                raise ZeroDivisionError
            loss = loss_of(network, batch["x"], batch["y"])
            if number % every:
                session.accumulate(loss)
            else:
                session.step(loss)
    return ended


def own_loop(rank: int, world_size: int, port: int, case: Case, every: int, last: int) -> Ended:
    """A loop that accumulates by itself, in a world of one, and leaves after batch `last`."""
    ended = Ended()
    with a_rank(rank, world_size, port, case, ended) as (network, session):
        moves = session._optimizer
        for number, batch in enumerate(session.batches(case.epochs, case.batch_size), 1):
            loss = loss_of(network, batch["x"], batch["y"])
            session.scale(loss / every).backward()  # type: ignore[no-untyped-call]
            if number % every == 0:
                moves.step()
                moves.zero_grad()
            session.advance()
            if number == last:
                break
    return ended


def group_without_cpu(rank: int, world_size: int, port: int) -> str:
    """What is said where the script has made a group that moves tensors of a device only."""
    at = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("cuda:gloo", init_method=at, rank=rank, world_size=world_size)
    try:
        Group(rank, world_size, ("127.0.0.1", port), join_seconds=20, timeout_seconds=20)
    except ConfigurationError as error:
        return str(error)
    finally:
        distributed.destroy_process_group()
    return ""
