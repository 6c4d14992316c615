"""The script of the tests' jobs: a tiny model, and death at moments that the test has named."""

import os
import signal
import time
from pathlib import Path

import torch

import insitu.torch

folder = Path(os.environ["TEST_FOLDER"])
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)


def is_at(variable: str, rank: int, step: int) -> bool:
    here = f"{os.environ['INSITU_GENERATION']}:{rank}:{step}"
    return here in os.environ[variable].split(",")


with insitu.torch.session(model=model, optimizer=optimizer) as session:
    for batch in session.batches():
        if is_at("TEST_DIES", session.rank, session.steps):
            os.kill(os.getpid(), signal.SIGKILL)
        if is_at("TEST_WAITS", session.rank, session.steps):
            (folder / "waiting").touch()
            while not (folder / "go").exists():
                time.sleep(0.02)
        loss = model(batch["x"].reshape(-1, 1)).sum()
        session.step(loss, metrics={"loss": loss.item()})
