"""Training with TensorFlow, beside the database. Importing it does not import TensorFlow."""

from insitu.tensorflow.dataset import dataset

__all__ = ["dataset"]
