"""Training with TensorFlow, beside the database. Importing it does not import TensorFlow."""

from insitu.tensorflow.dataset import dataset
from insitu.tensorflow.key_value import CassandraDataset, IgniteDataset

__all__ = ["CassandraDataset", "IgniteDataset", "dataset"]
