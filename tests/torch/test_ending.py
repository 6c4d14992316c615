"""How real ranks end: leaving together or not, stopping, accumulating, and groups of their own."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import insitu.torch
from insitu.contract import Checkpoint
from insitu.errors import ConfigurationError, ExitCode
from insitu.torch.group import means_lost
from tests.ranks import a_job
from tests.torch.cases import Case, Trained, alone, train
from tests.torch.endings import Ended, accumulate, group_without_cpu, leave, own_loop
from tests.torch.processes import Processes
from tests.torch.test_step import session

UNEVEN = (50, 9, 61)


@pytest.mark.parametrize("with_batch", [False, True], ids=["after a step", "with a batch"])
def test_ranks_that_leave_together_commit_and_the_rest_is_trained_later(
    ranks: Processes, tmp_path: Path, with_batch: bool
) -> None:
    first = ranks.run(leave, 3, in_store(tmp_path), dict.fromkeys(range(3), 2), with_batch)
    assert [(rank.code, rank.steps) for rank in first] == [(0, 2)] * 3
    rest: list[Trained] = ranks.run(train, 2, in_store(tmp_path, generation=2))
    assert rest[0].parameters[0].tolist() == first[0].parameters
    assert sum(map(len, chain.from_iterable(rank.ids for rank in rest))) == 120 - 2 * 32


@pytest.mark.parametrize("with_batch", [False, True], ids=["after a step", "with a batch"])
@pytest.mark.parametrize("who", [0, 1])
def test_a_rank_that_leaves_alone_ends_all_with_its_name(
    ranks: Processes, who: int, with_batch: bool
) -> None:
    for rank in ranks.run(leave, 3, Case(UNEVEN), {who: 1}, with_batch):
        assert rank.code == ExitCode.CONFIGURATION
        assert f"rank {who} left its `with` block" in rank.said
        assert "after step 1" in rank.said


def test_one_rank_stops_all(ranks: Processes, tmp_path: Path) -> None:
    found = ranks.run(leave, 2, in_store(tmp_path), {1: 2}, False, True)
    assert [(rank.code, rank.steps) for rank in found] == [(0, 2), (0, 2)]
    network = nn.Module()
    with pytest.raises(ConfigurationError, match="does not fit"):
        insitu.torch.load(f"file://{tmp_path}", job="job", model=network)


@pytest.mark.parametrize("world_size", [1, 3])
def test_an_update_of_several_batches_is_that_of_all_their_rows(
    ranks: Processes, world_size: int
) -> None:
    case = Case((90, 1, 40, 17), dtype="float64", batch_size=16, optimizer="adamw")
    plain: list[Trained] = ranks.run(train, world_size, case)
    batches = [list(chain(*ids)) for ids in zip(*(rank.ids for rank in plain), strict=True)]
    steps = [list(chain(*batches[at : at + 4])) for at in range(0, len(batches), 4)]
    found: list[Ended] = ranks.run(accumulate, world_size, case, 4)
    assert found[0].steps == len(steps) == 3  # The last of them is one batch of 4 rows and two.
    expected = alone(case, steps)[-1]
    for rank in found:
        assert rank.parameters == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("crash_at", [3, 6, 8])
def test_a_crash_in_the_middle_of_an_accumulation_repeats_its_batches(
    ranks: Processes, tmp_path: Path, crash_at: int
) -> None:
    case = in_store(tmp_path / "crashed", epochs=2)
    with pytest.raises(ZeroDivisionError):
        ranks.run(accumulate, 1, case, 3, crash_at)
    again: list[Ended] = ranks.run(accumulate, 1, in_store(tmp_path / "crashed", 2, 2), 3)
    whole: list[Ended] = ranks.run(accumulate, 1, in_store(tmp_path / "whole", epochs=2), 3)
    assert again[0].parameters == pytest.approx(whole[0].parameters, rel=1e-5)


@pytest.mark.parametrize("last", [1, 2, 3])
def test_a_loop_of_its_own_counts_a_batch_once_the_optimizer_has_stepped(
    ranks: Processes, tmp_path: Path, last: int
) -> None:
    ranks.run(own_loop, 1, in_store(tmp_path), 2, last)
    rest: list[Trained] = ranks.run(train, 1, in_store(tmp_path, generation=2))
    assert Counter(map(len, rest[0].ids)) == Counter([32] * (3 - last // 2 * 2) + [24])


def test_a_group_without_the_cpu_is_refused(ranks: Processes) -> None:
    for said in ranks.run(group_without_cpu, 2):
        assert "(cuda:gloo) has no backend for the CPU" in said


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("No backend type associated with device type cpu", False),
        ("[enforce fail at pair.cc:446] op.preamble.length <= op.nbytes. 660 vs 72", False),
        ("Tensors must be contiguous", False),
        ("[pair.cc:534] Connection closed by peer [127.0.0.1]:51234", True),
        ("[buffer.cc:81] Timed out waiting 20000ms for recv operation to complete", True),
        ("[pair.cc:553] Read error [10.0.0.1]:4: Connection reset by peer", True),
    ],
)
def test_only_a_lost_peer_is_taken_for_one(text: str, lost: bool) -> None:
    assert means_lost(RuntimeError(text)) is lost


class Wrapped(IterableDataset[object]):
    def __init__(self, batches: object) -> None:
        self.batches = batches

    def __iter__(self) -> object:  # type: ignore[override]
        return iter(self.batches)  # type: ignore[call-overload]


def test_a_data_loader_with_workers_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(training: insitu.torch.Session) -> None:
        loader = DataLoader(
            Wrapped(training.batches(1, 10)),
            batch_size=None,
            num_workers=1,
            multiprocessing_context=multiprocessing.get_context("fork"),
        )
        next(iter(loader))

    assert refused(tmp_path, nn.Linear(6, 1), script)
    assert "in another process than the one that opened the session" in capsys.readouterr().err


def losses(network: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    output = network(x)
    return {
        "mean": output.mean(),
        "mse_loss": nn.functional.mse_loss(output, torch.ones_like(output)),
        "other": nn.Linear(6, 1)(x).sum(),
        "detached": output.detach().sum(),
    }


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ("mean", "the loss is a mean over this rank's rows (MeanBackward0)"),
        ("mse_loss", "the loss is a mean over this rank's rows (MseLossBackward0)"),
        ("other", "the loss depends on no parameter of the model"),
        ("detached", "the loss depends on no parameter of the model"),
    ],
)
def test_a_loss_that_would_train_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], loss: str, says: str
) -> None:
    network = nn.Linear(6, 1)

    def script(training: insitu.torch.Session) -> None:
        for batch in training.batches(1, 10):
            training.step(losses(network, batch["x"])[loss])

    assert refused(tmp_path, network, script)
    assert says in capsys.readouterr().err


def test_the_optimizer_of_another_model_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = torch.optim.SGD(nn.Linear(6, 1).parameters())
    with pytest.raises(SystemExit) as left, session(tmp_path, nn.Linear(6, 1), moves=strange):
        pass
    assert left.value.code == ExitCode.CONFIGURATION
    assert "2 of the 2 parameters that the optimizer moves are not" in capsys.readouterr().err


def test_an_optimizer_that_never_steps_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(training: insitu.torch.Session) -> None:
        for _ in training.batches(3, 10):
            training.advance()

    assert refused(tmp_path, nn.Linear(6, 1), script)
    assert "has made no step" in capsys.readouterr().err


def refused(
    folder: Path, network: nn.Module, script: Callable[[insitu.torch.Session], None]
) -> bool:
    """Whether a script of one rank ends with the exit code of a refusal."""
    with pytest.raises(SystemExit) as left, session(folder, network) as training:
        script(training)
    return left.value.code == ExitCode.CONFIGURATION


def in_store(folder: Path, epochs: int = 1, generation: int = 1) -> Case:
    job = a_job(checkpoint=Checkpoint(f"file://{folder}", every_steps=1), generation=generation)
    return replace(Case(UNEVEN, epochs=epochs, job=job), optimizer="adamw")
