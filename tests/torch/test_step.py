"""What a session does with a loss, in a world of one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import insitu.torch
from insitu.contract import to_environ, write_document
from insitu.errors import ConfigurationError, ExitCode
from insitu.torch.gradients import add_gradients, broadcast
from insitu.torch.state import decode, encode
from tests.ranks import assignments
from tests.torch.cases import Case, database


def test_gradients_are_added_bucket_by_bucket() -> None:
    shapes = [(3, 2), (), (4,), (0,), (5, 1)]
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for number, parameter in enumerate(parameters):
        parameter.grad = torch.full_like(parameter, number + 1.0)
    messages: list[int] = []

    def double(flat: Tensor) -> None:
        messages.append(flat.numel())
        flat.mul_(2)

    add_gradients(parameters, double, bucket_bytes=28)
    assert messages == [6 + 1 + 2 + 1, 4 + 0 + 2, 5 + 1]
    for number, parameter in enumerate(parameters):
        assert parameter.grad is not None
        assert (parameter.grad == 2 * (number + 1)).all()


def test_parameters_of_two_types_go_in_two_messages() -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2, dtype=torch.float64))]
    types: list[torch.dtype] = []
    add_gradients(parameters, lambda flat: types.append(flat.dtype))
    assert types == [torch.float32, torch.float64]


def test_a_sparse_gradient_is_refused() -> None:
    layer = nn.Embedding(4, 2, sparse=True)
    layer(torch.tensor([1])).sum().backward()
    with pytest.raises(ConfigurationError, match="sparse=False"):
        add_gradients(list(layer.parameters()), lambda _flat: None)


def clear(raw: Tensor) -> None:
    raw.zero_()


def test_any_type_and_layout_of_tensor_can_be_broadcast() -> None:
    values = [torch.tensor(True), torch.ones(2, 3).t(), torch.ones(3, dtype=torch.bfloat16)]
    broadcast(values, clear)
    assert [bool(value.any()) for value in values] == [False, False, False]


@pytest.mark.parametrize(
    "kind", [torch.bool, torch.bfloat16, torch.float64, torch.int8, torch.complex64], ids=str
)
@pytest.mark.parametrize("shape", [(), (0, 3), (4, 3)], ids=str)
def test_a_stored_tensor_comes_back_to_the_bit(kind: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.rand(shape) * 5).to(kind)
    again = decode(encode("t", tensor))
    assert again.dtype == kind
    assert torch.equal(again, tensor)


def test_a_tensor_that_cannot_be_stored_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'model/w' is a .*complex128"):
        encode("model/w", torch.ones(2, dtype=torch.complex128))


def test_clipping_fits_between_gradient_and_update(tmp_path: Path) -> None:
    network = nn.Linear(6, 1)
    before = network.weight.detach().clone()
    with session(tmp_path, network) as training:
        for batch in training.batches(1, 1000):
            training.backward(1e6 * network(batch["x"]).sum())
            nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            training.update()
    assert 0 < (network.weight - before).norm() <= 0.5 + 1e-6


def test_a_scaled_loss_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    network = nn.Linear(6, 1)
    with session(tmp_path, network) as training:
        for batch in training.batches(1, 10):
            losses = network(batch["x"])
            assert torch.isclose(training.scale(losses.sum()), losses.mean())
            training.advance()


def test_a_loss_a_row_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = nn.Linear(6, 1)
    with pytest.raises(SystemExit) as left, session(tmp_path, network) as training:
        training.step(network(next(training.batches(1, 10))["x"]))
    assert left.value.code == ExitCode.CONFIGURATION
    assert "the loss has the shape (10, 1): it has to be one number" in capsys.readouterr().err


def test_a_name_of_ours_is_refused_for_more_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = nn.Linear(6, 1)
    with pytest.raises(SystemExit), session(tmp_path, network, model=network):
        pass
    assert "that name is taken" in capsys.readouterr().err


def test_an_exception_of_the_script_passes_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), session(tmp_path, nn.Linear(6, 1)):
        raise ZeroDivisionError


@contextmanager
def session(
    folder: Path,
    network: nn.Module,
    *,
    moves: torch.optim.Optimizer | None = None,
    **state: nn.Module,
) -> Iterator[insitu.torch.Session]:
    """A rank alone with forty rows, by plain gradient descent."""
    shared = database(Case((30, 10)))
    job = assignments(shared, 1)[0]
    write_document(job, folder / "a.json")
    with insitu.torch.session(
        model=network,
        optimizer=moves or torch.optim.SGD(network.parameters(), lr=1.0),
        state=state,
        environ=to_environ(job, folder / "a.json"),
        open_database=lambda _source: shared,
    ) as training:
        yield training
