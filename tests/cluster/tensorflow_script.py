"""`trainer_script.py`, with TensorFlow."""

from __future__ import annotations

import importlib
import json
import os
import urllib.request

import insitu.tensorflow
from insitu.tensorflow.require import tensorflow

tf = tensorflow()
keras = importlib.import_module("keras")


def tell(batch: insitu.tensorflow.Batch, rank: int) -> None:
    generation = int(os.environ["INSITU_GENERATION"])
    where = {"generation": generation, "rank": rank, "epoch": batch.epoch, "step": batch.step}
    line = json.dumps({**where, "keys": batch.arrow["id"].to_pylist()})
    urllib.request.urlopen(os.environ["TEST_WITNESS"], line.encode()).close()


with insitu.tensorflow.session() as session:
    with session.strategy.scope():
        model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
        optimizer = keras.optimizers.SGD(1e-9)
    session.keep(model=model, optimizer=optimizer)

    def loss_of(columns):  # type: ignore[no-untyped-def]
        return tf.reduce_sum(model(columns["x"][:, None]))

    for batch in session.batches():
        tell(batch, session.rank)
        session.step(loss_of)
