"""Scripts as users write them, in processes of their own: commits, resuming, leaving, dying."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import insitu.torch
from insitu.contract import Checkpoint, Reporting, to_environ, write_document
from insitu.errors import ConfigurationError, ExitCode
from insitu.progress import read_progress
from tests.memory import open_database, save
from tests.ranks import a_job, assignments
from tests.torch.cases import Case, database, model, train
from tests.torch.processes import Processes, free_port, start_script

SCRIPT = Path(__file__).with_name("script.py")


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    ranks: Processes, tmp_path: Path
) -> None:
    whole = ranks.run(train, 2, in_store(tmp_path / "whole", epochs=2))
    ranks.run(train, 2, in_store(tmp_path / "parts", epochs=1))
    rest = ranks.run(train, 2, in_store(tmp_path / "parts", epochs=2, generation=2))
    assert rest[0].bits == whole[0].bits
    assert len(rest[0].ids) == len(whole[0].ids) // 2


def test_other_numbers_of_ranks_use_every_row_once(ranks: Processes, tmp_path: Path) -> None:
    first = ranks.run(train, 3, in_store(tmp_path, epochs=1))
    second = ranks.run(train, 2, in_store(tmp_path, epochs=2, generation=2))
    rows = Counter(chain.from_iterable(chain.from_iterable(r.ids for r in [*first, *second])))
    assert rows == Counter(dict.fromkeys(range(120), 2))
    assert (second[0].parameters[0] == first[0].parameters[-1]).all()


def test_a_commit_is_loaded_without_a_training(ranks: Processes, tmp_path: Path) -> None:
    case = in_store(tmp_path, epochs=1)
    found = ranks.run(train, 2, case)
    network = model(case)
    commit = insitu.torch.load(f"file://{tmp_path}", job="job", model=network)
    assert commit.cursor.step == 4
    assert b"".join(p.detach().numpy().tobytes() for p in network.parameters()) == found[0].bits
    with pytest.raises(ConfigurationError, match="'model' does not fit"):
        insitu.torch.load(f"file://{tmp_path}", job="job", model=nn.Linear(2, 2))


def test_sigterm_commits_and_leaves_and_the_next_start_goes_on(tmp_path: Path) -> None:
    with started(tmp_path, world_size=2) as processes:
        wait_for_steps(tmp_path, 3)
        processes[1].terminate()
        assert exit_codes(processes) == [ExitCode.LEFT] * 2
    stopped = read_progress(tmp_path / "0.json")
    assert stopped
    assert stopped.state == "leaving"
    assert stopped.commit_step == stopped.step
    with started(tmp_path, world_size=2, generation=2, epochs=stopped.epoch + 2) as processes:
        assert exit_codes(processes) == [ExitCode.DONE] * 2
    done = read_progress(tmp_path / "0.json")
    assert done
    assert (done.state, done.percent) == ("done", 100.0)
    assert done.metrics.keys() == {"loss", "half"}


def test_a_killed_rank_is_noticed_at_once_by_all_others(tmp_path: Path) -> None:
    with started(tmp_path, world_size=3) as processes:
        wait_for_steps(tmp_path, 3)
        processes[1].kill()
        assert exit_codes(processes) == [ExitCode.PEER_LOST, -9, ExitCode.PEER_LOST]
    assert "PeerLost: another rank went away" in (tmp_path / "0.err").read_text()


def test_a_rank_that_never_comes_is_waited_for_only_so_long(tmp_path: Path) -> None:
    with started(tmp_path, world_size=2, ranks=1, JOIN_SECONDS="2") as processes:
        assert exit_codes(processes) == [ExitCode.PEER_LOST]
    assert "meeting at 127.0.0.1" in (tmp_path / "0.err").read_text()


def test_a_script_that_crashes_keeps_its_traceback(tmp_path: Path) -> None:
    with started(tmp_path, world_size=2, CRASH_AT="2") as processes:
        assert exit_codes(processes) == [1, ExitCode.PEER_LOST]
    assert "ZeroDivisionError" in (tmp_path / "0.err").read_text()


def test_an_error_of_insitu_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    with started(tmp_path, world_size=1, COLUMN="pixel") as processes:
        assert exit_codes(processes) == [ExitCode.CONFIGURATION]
    assert (tmp_path / "0.err").read_text().strip() == (
        "insitu: rank 0: ConfigurationError: no column 'pixel' is read (there is: id, x, y)"
    )


def test_a_state_that_is_kept_comes_back(tmp_path: Path) -> None:
    network, average = nn.Linear(6, 1), torch.optim.swa_utils.AveragedModel(nn.Linear(6, 1))
    moves = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(moves, step_size=2)
    with alone(tmp_path, model=network, optimizer=moves, scheduler=schedule, average=average) as s:
        for batch in s.batches(1, 30):
            s.step(network(batch["x"]).sum())
            average.update_parameters(network)
    rate, drawn = schedule.get_last_lr(), torch.rand(3)
    again = nn.Linear(6, 1)
    moves2 = torch.optim.Adam(again.parameters())
    schedule2 = torch.optim.lr_scheduler.StepLR(moves2, step_size=2)
    average2 = torch.optim.swa_utils.AveragedModel(nn.Linear(6, 1))
    torch.manual_seed(99)
    with alone(
        tmp_path, model=again, optimizer=moves2, scheduler=schedule2, average=average2, start=2
    ) as s:
        assert s.steps == 4
        assert schedule2.get_last_lr() == rate
        assert torch.equal(torch.rand(3), drawn)
        assert same(average2, average)
        state = moves2.state_dict()["state"]
        assert torch.equal(state[0]["exp_avg"], moves.state_dict()["state"][0]["exp_avg"])


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(ours, theirs) for ours, theirs in pairs)


def in_store(folder: Path, epochs: int, generation: int = 1) -> Case:
    job = a_job(checkpoint=Checkpoint(f"file://{folder}", every_steps=2), generation=generation)
    return Case((50, 9, 61), optimizer="adamw", epochs=epochs, job=job)


@contextmanager
def alone(
    folder: Path,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    average: nn.Module,
    start: int = 1,
) -> Iterator[insitu.torch.Session]:
    """A session of one rank in this process."""
    shared = database(Case((50, 9, 61)))
    job = replace(assignments(shared, 1)[0], generation=start)
    write_document(job, folder / "assignment.json")
    with insitu.torch.session(
        model=model,
        optimizer=optimizer,
        scheduler=scheduler,
        state={"average": average},
        store=f"file://{folder}/store",
        environ=to_environ(job, folder / "assignment.json"),
        open_database=lambda _source: shared,
    ) as session:
        yield session


@contextmanager
def started(
    folder: Path,
    *,
    world_size: int,
    generation: int = 1,
    epochs: int = 500,
    ranks: int | None = None,
    **environ: str,
) -> Iterator[list[ForkServerProcess]]:
    """`script.py` on every rank, or on the first `ranks` of them; errors go to `<rank>.err`."""
    tables = [
        table.append_column("shard", [np.full(table.num_rows, int(shard))])
        for shard, table in database(Case((50, 9, 61))).shards.items()
    ]
    source = save(tables, folder / "table.arrow")
    job = a_job(
        source=source,
        generation=generation,
        master=("127.0.0.1", free_port()),
        checkpoint=Checkpoint(f"file://{folder}/store"),
    )
    processes = []
    for assignment in assignments(open_database(source), world_size, job)[:ranks]:
        rank = assignment.rank
        document = folder / f"assignment-{rank}.json"
        write_document(assignment, document)
        told = Reporting(progress=folder / f"{rank}.json")
        variables = to_environ(assignment, document) | told.to_environ()
        extra = variables | {"EPOCHS": str(epochs), **environ}
        processes.append(start_script(SCRIPT, extra, folder / f"{rank}.err"))
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join()


def exit_codes(processes: Sequence[ForkServerProcess]) -> list[int | None]:
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def wait_for_steps(folder: Path, steps: int) -> None:
    deadline = time.monotonic() + 60
    while (found := read_progress(folder / "0.json")) is None or found.step < steps:
        assert time.monotonic() < deadline
        time.sleep(0.02)
