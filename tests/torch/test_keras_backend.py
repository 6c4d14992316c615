"""Keras 3 on its torch backend trains on many ranks: its models are PyTorch modules."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import tempfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import insitu.torch
from tests.ranks import assignments
from tests.torch.cases import WIDTH, Case, database, environ
from tests.torch.processes import processes

pytestmark = pytest.mark.timeout(300)
CASE = Case(sizes=(60, 9, 31), batch_size=20)


def train(rank: int, world_size: int, port: int) -> Any:
    """The parameters after one epoch; every rank begins with others."""
    os.environ["KERAS_BACKEND"] = "torch"
    keras = importlib.import_module("keras")
    keras.utils.set_random_seed(3 + rank)
    layers = keras.layers
    model = keras.Sequential([layers.Input((WIDTH,)), layers.Dense(8, "tanh"), layers.Dense(1)])
    assert isinstance(model, torch.nn.Module)
    shared = database(CASE)
    job = replace(assignments(shared, world_size)[rank], master=("127.0.0.1", port))
    with (
        tempfile.TemporaryDirectory() as folder,
        insitu.torch.session(
            model=model,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            environ=environ(job, folder),
            open_database=lambda _source: shared,
        ) as session,
    ):
        for batch in session.batches(1, CASE.batch_size):
            session.step(((model(batch["x"]).squeeze(1) - batch["y"]) ** 2).sum())
    return np.concatenate([p.detach().numpy().reshape(-1) for p in model.parameters()])


def test_ranks_with_a_keras_model_stay_equal() -> None:
    # Keras chooses its backend when it is imported, so it must not have been.
    with processes(multiprocessing.get_context("spawn")) as ranks:
        [single] = ranks.run(train, 1)
        both = ranks.run(train, 2)
    assert (both[0] == both[1]).all()
    assert np.abs(single - both[0]).max() < 0.1  # Their batches mix other rows.
