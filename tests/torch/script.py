"""A training script, with knobs for what should go wrong."""

import os

import torch

import insitu.torch
from tests.memory import open_database

torch.set_num_threads(1)
network = torch.nn.Linear(6, 1)
optimizer = torch.optim.Adam(network.parameters())
crash_at = int(os.environ.get("CRASH_AT", "0"))

with insitu.torch.session(
    model=network,
    optimizer=optimizer,
    open_database=open_database,
    join_seconds=float(os.environ.get("JOIN_SECONDS", "60")),
) as session:
    for batch in session.batches(epochs=int(os.environ["EPOCHS"]), batch_size=32):
        output = network(batch[os.environ.get("COLUMN", "x")]).squeeze(1)
        if batch.step == crash_at and session.rank == 0:
            raise ZeroDivisionError
        session.step(((output - batch["y"]) ** 2).sum(), metrics={"half": 0.5})
