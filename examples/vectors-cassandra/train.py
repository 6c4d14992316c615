"""Trains on the vectors of this rank's own database node; every rank runs this same script."""

import torch
from model import classifier
from torch.nn.functional import cross_entropy

import insitu.torch

model = classifier()
optimizer = torch.optim.Adam(model.parameters(), lr=0.1)

with insitu.torch.session(model=model, optimizer=optimizer) as session:
    for batch in session.batches():
        logits = model(batch["embedding"])
        loss = cross_entropy(logits, batch["label"].long(), reduction="sum")  # ranks are uneven
        session.step(loss)
