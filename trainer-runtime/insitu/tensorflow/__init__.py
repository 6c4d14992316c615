"""Training with TensorFlow, beside the database. Importing it does not import TensorFlow.

    import insitu.tensorflow

    with insitu.tensorflow.session() as session:
        with session.strategy.scope():
            model, optimizer = make_model(), keras.optimizers.Adam()
        session.keep(model=model, optimizer=optimizer)

        def loss_of(columns):
            logits = model(columns["pixels"], training=True)
            return tf.reduce_sum(cross_entropy(columns["label"], logits))

        for batch in session.batches(epochs=20, batch_size=256):
            session.step(loss_of)

The same script runs on every rank, under the operator, `insitu run`, or alone. `dataset`,
`IgniteDataset` and `CassandraDataset` give rows to pipelines of one's own.
"""

from insitu.tensorflow.batch import Batch
from insitu.tensorflow.dataset import dataset
from insitu.tensorflow.key_value import CassandraDataset, IgniteDataset
from insitu.tensorflow.session import Session, load, session

__all__ = [
    "Batch",
    "CassandraDataset",
    "IgniteDataset",
    "Session",
    "dataset",
    "load",
    "session",
]
