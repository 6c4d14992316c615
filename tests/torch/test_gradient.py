"""The update of several ranks is that of one process on the same rows, however uneven they are."""

from itertools import chain

import numpy as np
import pytest

from tests.torch.cases import WIDTH, Array, Case, Trained, alone, train
from tests.torch.processes import Processes

UNEVEN = (90, 1, 40, 17, 3, 60, 33)
LIMITS = {"float32": 1e-6, "float64": 1e-12}


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_update_equals_that_of_one_process(
    ranks: Processes, world_size: int, dtype: str, optimizer: str
) -> None:
    case = Case(UNEVEN, dtype, optimizer)
    found = ranks.run(train, world_size, case)
    expected = alone(case, steps_of(found))
    assert len(expected) == 9  # 244 rows in batches of 32
    assert worst_error(found[0].parameters, expected) <= LIMITS[dtype]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ranks_without_a_single_row_change_nothing(ranks: Processes, dtype: str) -> None:
    case = Case((50,), dtype)
    found = ranks.run(train, 3, case)
    assert [len(list(chain(*rank.ids))) for rank in found] == [50, 0, 0]
    assert found[2].shapes == [(0, WIDTH), (0, WIDTH)]
    assert worst_error(found[2].parameters, alone(case, steps_of(found))) <= LIMITS[dtype]


def test_all_ranks_hold_the_same_bits(ranks: Processes) -> None:
    found = ranks.run(train, 5, Case(UNEVEN, optimizer="adamw"))
    assert len({rank.bits for rank in found}) == 1


def test_a_parameter_that_no_rank_uses_stays_as_it_is(ranks: Processes) -> None:
    # AdamW would shrink it, were its gradient zeros instead of none.
    found = ranks.run(train, 2, Case(UNEVEN, optimizer="adamw"))
    unused = [step[:3] for step in found[0].parameters]
    assert all((step == unused[0]).all() for step in unused)


def steps_of(found: list[Trained]) -> list[list[int]]:
    """The ids of each step, of all ranks."""
    return [list(chain(*ids)) for ids in zip(*(rank.ids for rank in found), strict=True)]


def worst_error(found: list[Array], expected: list[Array]) -> float:
    """Relative error of each update, and of where all of them lead."""
    updates = list(zip(np.diff(found, axis=0), np.diff(expected, axis=0), strict=True))
    return max(
        float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
        for ours, theirs in [*updates, (found[-1], expected[-1])]
    )
