"""A training script, with knobs for what should go wrong."""

from __future__ import annotations

import importlib
import os

import insitu.tensorflow
from insitu.tensorflow.require import tensorflow
from tests.memory import open_database

tf = tensorflow()
keras = importlib.import_module("keras")
signal_at = int(os.environ.get("SIGNAL_AT", "0"))
crash_at = int(os.environ.get("CRASH_AT", "0"))
victim = int(os.environ.get("VICTIM", "0"))

with insitu.tensorflow.session(
    open_database=open_database,
    timeout_seconds=float(os.environ.get("TIMEOUT_SECONDS", "60")),
    join_seconds=float(os.environ.get("JOIN_SECONDS", "60")),
) as session:
    with session.strategy.scope():
        network = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1)])
        optimizer = keras.optimizers.Adam()
    session.keep(model=network, optimizer=optimizer)

    def loss_of(columns):  # type: ignore[no-untyped-def]
        return tf.reduce_sum((network(columns["x"])[:, 0] - columns["y"]) ** 2)

    for batch in session.batches(epochs=int(os.environ["EPOCHS"]), batch_size=32):
        if session.rank == victim and batch.step == signal_at:
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))
        if session.rank == victim and batch.step == crash_at:
            raise ZeroDivisionError
        session.step(loss_of, metrics={"half": 0.5})
