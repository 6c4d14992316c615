"""The script of TensorFlow's jobs: a tiny model, and death at moments that the test has named."""

from __future__ import annotations

import importlib
import os
import signal

import insitu.tensorflow
from insitu.tensorflow.require import tensorflow

tf = tensorflow()
keras = importlib.import_module("keras")

with insitu.tensorflow.session() as session:
    with session.strategy.scope():
        model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
        optimizer = keras.optimizers.SGD(1e-9)
    session.keep(model=model, optimizer=optimizer)

    def loss_of(columns):  # type: ignore[no-untyped-def]
        return tf.reduce_sum(model(columns["x"][:, None]))

    for _batch in session.batches():
        here = f"{os.environ['INSITU_GENERATION']}:{session.rank}:{session.steps}"
        if here in os.environ["TEST_DIES"].split(","):
            os.kill(os.getpid(), signal.SIGKILL)
        session.step(loss_of)
