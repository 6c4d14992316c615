"""Data-parallel training with PyTorch, beside the database.

    model = ...
    optimizer = torch.optim.Adam(model.parameters())
    with insitu.torch.session(model=model, optimizer=optimizer) as session:
        for batch in session.batches(epochs=20, batch_size=256):
            logits = model(batch["pixels"])
            loss = cross_entropy(logits, batch["label"], reduction="sum")
            session.step(loss)

The same script runs on every rank, under the operator, `insitu run`, torchrun, or alone.
"""

try:
    import torch as _torch  # noqa: F401 - asked for here, so that one message says what to do
except ModuleNotFoundError as error:
    raise ImportError("insitu.torch needs PyTorch: pip install 'insitu[torch]'") from error

from insitu.torch.batch import Batch
from insitu.torch.session import Session, load, session

__all__ = ["Batch", "Session", "load", "session"]
