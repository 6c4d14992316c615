"""A script that knows TensorFlow and nothing of Insitu: its workers come from TF_CONFIG."""

import json
import os
from pathlib import Path

import tensorflow as tf  # type: ignore[import-untyped]

strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    weight = tf.Variable(0.0)


def step(own: tf.Tensor) -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(own))
    weight.assign_add(total)
    return total


rank = int(os.environ["RANK"])
for _ in range(3):
    strategy.run(tf.function(step), args=(tf.constant(float(rank + 1)),))
Path(os.environ["TEST_FOLDER"], f"rank-{rank}.json").write_text(
    json.dumps([strategy.num_replicas_in_sync, float(weight.numpy())])
)
