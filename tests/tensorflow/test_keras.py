"""`insitu.keras`: `fit` on one worker, to commits and back."""

from __future__ import annotations

import importlib
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import insitu.keras
from insitu.checkpoint import CommitLog, open_store
from insitu.contract import Reporting
from insitu.contract.assignment import Checkpoint
from insitu.errors import ConfigurationError, InsituError, Left, NoRows, UnsupportedType
from insitu.keras.require import keras, refuse_many
from insitu.progress import read_progress
from tests.curves import curves
from tests.memory import MemoryDatabase
from tests.ranks import a_job, assignments
from tests.tensorflow.cases import WIDTH, Case, database, environ

SIZES = (50, 0, 33, 8)
ROWS = sum(SIZES)
STEPS = -(-ROWS // 16)


class Training:
    """A small model over a small table, session after session over one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database: MemoryDatabase = database(Case(sizes=SIZES))
        self.generation = 0
        self.every_steps = 2
        self.seen: list[int] = []

    def model(self, *, built: bool = True) -> Any:
        kit = keras()
        kit.utils.set_random_seed(3)
        first = [kit.layers.Input((WIDTH,))] if built else []
        model = kit.Sequential(
            [*first, kit.layers.Dense(4, activation="tanh"), kit.layers.Dense(1)]
        )
        model.compile(kit.optimizers.Adam(0.01), "mse")
        return model

    def fit(self, model: Any, *, epochs: int = 2, world_size: int = 1, **options: Any) -> Any:
        """One session; its `InsituError` as itself."""
        self.generation += 1
        store = Checkpoint(store=(self.folder / "store").as_uri(), every_steps=self.every_steps)
        base = a_job(generation=self.generation, checkpoint=store)
        job = assignments(self.database, world_size, base)[0]
        told = Reporting(progress=self.folder / "progress.json").to_environ()
        try:
            with insitu.keras.session(
                batch_size=16,
                epochs=epochs,
                columns=options.pop("columns", None),
                environ=environ(job, str(self.folder)) | told,
                open_database=lambda _source: self.database,
            ) as session:
                select = options.pop("select", lambda row: (row["x"], row["y"]))
                return session.fit(model, select, verbose=0, **options)
        except SystemExit as error:
            if isinstance(error.__cause__, InsituError):
                raise error.__cause__ from None
            raise

    @property
    def step(self) -> int:
        store = open_store((self.folder / "store").as_uri())
        commit = CommitLog(store, "job").newest().commit
        assert commit
        return commit.cursor.step


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def weights(model: Any) -> list[float]:
    return [float(v) for each in model.get_weights() for v in np.ravel(each)]


def at_batch(number: int, action: Any) -> Any:
    """A callback that acts after that many batches."""
    kit: Any = keras()
    count = 0

    class At(kit.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            nonlocal count
            count += 1
            if count == number:
                action()

    return At()


def test_fit_trains_all_epochs_and_says_how_far_it_is(training: Training) -> None:
    history = training.fit(model := training.model())
    assert history.epoch == [0, 1]
    assert history.history["loss"][1] < history.history["loss"][0]
    assert training.step == 2 * STEPS
    progress = read_progress(training.folder / "progress.json")
    assert progress
    assert (progress.state, progress.step, progress.percent) == ("done", 2 * STEPS, 100.0)
    assert "loss" in progress.metrics
    assert progress.rows_local >= 2 * ROWS
    assert training.fit(training.model()) is None
    assert model.optimizer.iterations.numpy() == 2 * STEPS


@pytest.mark.parametrize("after", [1, 3, STEPS, STEPS + 2])
def test_sigterm_commits_and_another_fit_goes_on_to_the_same_end(
    training: Training, tmp_path_factory: pytest.TempPathFactory, after: int
) -> None:
    whole = Training(tmp_path_factory.mktemp("whole"))
    whole.fit(expected := whole.model())

    stop = at_batch(after, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Left, match=f"left after step {after}"):
        training.fit(training.model(), callbacks=[stop])
    assert training.step == after
    training.fit(model := training.model())
    assert training.step == 2 * STEPS
    assert weights(model) == pytest.approx(weights(expected), rel=1e-5)


def test_a_crash_goes_back_to_the_newest_commit(training: Training) -> None:
    def crash() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        training.fit(training.model(), callbacks=at_batch(4, crash))
    assert training.step == 2
    training.fit(training.model())
    assert training.step == 2 * STEPS


def test_validation_and_early_stopping_work_as_ever(training: Training) -> None:
    kit = keras()
    stopping = kit.callbacks.EarlyStopping(monitor="val_loss", patience=0, baseline=0.0)
    x, y = np.zeros((4, WIDTH), np.float32), np.zeros(4, np.float32)
    history = training.fit(training.model(), epochs=5, validation_data=(x, y), callbacks=[stopping])
    assert len(history.epoch) == 2  # Keras itself never stops after the first one.
    store = open_store((training.folder / "store").as_uri())
    ends = [STEPS, 2 * STEPS]
    assert [step for step, _ in curves(store, training.folder, "val_loss")["generation-1"]] == ends
    assert len(curves(store, training.folder)["generation-1"]) == 2 * STEPS


def test_a_fit_that_is_stopped_inside_of_an_epoch_commits_and_another_goes_on(
    training: Training, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = Training(tmp_path_factory.mktemp("whole"))
    whole.fit(expected := whole.model())
    training.every_steps = 0

    def stop() -> None:
        model.stop_training = True

    training.fit(model := training.model(), callbacks=[at_batch(3, stop)])
    assert training.step == 3
    training.fit(model := training.model())
    assert training.step == 2 * STEPS
    assert weights(model) == pytest.approx(weights(expected), rel=1e-5)


@pytest.mark.parametrize("crash_at", [4, 5, 6])
def test_a_crash_in_the_middle_of_an_accumulation_loses_no_gradient(
    training: Training, tmp_path_factory: pytest.TempPathFactory, crash_at: int
) -> None:
    def accumulating(each: Training) -> Any:
        model = each.model()
        adam = keras().optimizers.Adam(0.01, gradient_accumulation_steps=3)
        model.compile(adam, "mse")
        return model

    def crash() -> None:
        raise ZeroDivisionError

    whole = Training(tmp_path_factory.mktemp("whole"))
    whole.fit(expected := accumulating(whole))
    training.every_steps = 1
    with pytest.raises(ZeroDivisionError):
        training.fit(accumulating(training), callbacks=at_batch(crash_at, crash))
    assert training.step == crash_at - 1
    training.fit(model := accumulating(training))
    assert weights(model) == pytest.approx(weights(expected), rel=1e-5)


def test_an_empty_table_is_said_to_be_empty(training: Training) -> None:
    training.database = database(Case(sizes=(0, 0)))
    with pytest.raises(NoRows, match="the table is empty"):
        training.fit(training.model())


def test_a_finished_fit_says_that_nothing_is_left(
    training: Training, caplog: pytest.LogCaptureFixture
) -> None:
    training.fit(training.model(), epochs=1)
    training.fit(training.model(), epochs=1)
    assert "already has 1 epochs, and 1 were asked for: there is nothing left" in caplog.text


def test_no_number_of_epochs_is_refused_by_its_name(training: Training) -> None:
    with pytest.raises(ConfigurationError, match="epochs has to be a whole number"):
        training.fit(training.model(), epochs=True)


def test_the_readers_own_error_ends_fit(training: Training) -> None:
    shards = {
        shard: table.append_column("z", [[None] * table.num_rows])
        for shard, table in training.database.shards.items()
    }
    training.database = replace(training.database, shards=shards)
    with pytest.raises(UnsupportedType, match=r"z: .* values are null"):
        training.fit(training.model())


def test_what_fit_cannot_do_is_said(training: Training) -> None:
    with pytest.raises(ConfigurationError, match=r"MultiWorkerMirroredStrategy \(known upstream"):
        training.fit(training.model(), world_size=2)
    with pytest.raises(ConfigurationError, match="has to be built and compiled"):
        training.fit(training.model(built=False))
    with pytest.raises(ConfigurationError, match=r"fit\(initial_epoch=...\) is for Insitu"):
        training.fit(training.model(), initial_epoch=3)
    several = training.model()
    several.compile("sgd", "mse", steps_per_execution=2)
    with pytest.raises(ConfigurationError, match="steps_per_execution=2"):
        training.fit(several)


def a_keras(version: str, backend: str = "tensorflow") -> ModuleType:
    module = ModuleType("keras")
    module.__version__ = version  # type: ignore[attr-defined]
    module.backend = ModuleType("backend")  # type: ignore[attr-defined]
    module.backend.backend = lambda: backend
    return module


def test_a_keras_that_cannot_be_used_is_refused_with_the_ways_that_work() -> None:
    with pytest.raises(ConfigurationError, match=r"Keras 2\.15\.0 is too old"):
        keras(lambda _name: a_keras("2.15.0"))
    with pytest.raises(ConfigurationError, match=r"runs on torch.*insitu.torch.session"):
        keras(lambda _name: a_keras("3.15.1", "torch"))

    def missing(name: str) -> ModuleType:
        return importlib.import_module(f"no_{name}")

    with pytest.raises(ConfigurationError, match=r"needs Keras: pip install"):
        keras(missing)
    with pytest.raises(ConfigurationError, match=r"this job has 3.*insitu.tensorflow.session"):
        refuse_many(3)
