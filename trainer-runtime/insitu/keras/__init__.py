"""Keras 3 beside the database. Importing it imports neither Keras nor TensorFlow.

    with insitu.keras.session(batch_size=256, epochs=20) as session:
        session.fit(model, lambda row: (row["pixels"], row["label"]))

`fit` trains on one worker. On many, a loop of one's own takes a Keras model and optimizer:
`insitu.tensorflow.session`, or `insitu.torch.session` where Keras runs on PyTorch.
"""

from insitu.keras.session import Callback, Session, session

__all__ = ["Callback", "Session", "session"]
