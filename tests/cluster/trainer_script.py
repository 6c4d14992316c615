"""The script of the tests' jobs: a tiny model, and a witness of every row before it is used."""

import json
import os
import urllib.request

import torch

import insitu.torch

model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)


def tell(batch: insitu.torch.Batch, rank: int) -> None:
    generation = int(os.environ["INSITU_GENERATION"])
    where = {"generation": generation, "rank": rank, "epoch": batch.epoch, "step": batch.step}
    line = json.dumps({**where, "keys": batch["id"].tolist()})
    urllib.request.urlopen(os.environ["TEST_WITNESS"], line.encode()).close()


with insitu.torch.session(model=model, optimizer=optimizer) as session:
    for batch in session.batches():
        tell(batch, session.rank)
        loss = model(batch["x"].reshape(-1, 1)).sum()
        session.step(loss, metrics={"loss": loss.item()})
