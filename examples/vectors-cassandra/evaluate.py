"""Accuracy of a job's newest checkpoint on the held-out digits: `python evaluate.py STORE JOB`."""

import sys

import torch
from data import split
from model import classifier

import insitu.torch

model = classifier()
commit = insitu.torch.load(sys.argv[1], job=sys.argv[2], model=model)
_, vectors, _, labels = split()
with torch.inference_mode():
    predicted = model(torch.from_numpy(vectors)).argmax(dim=1)
accuracy = (predicted == torch.from_numpy(labels)).float().mean().item()
print(f"step {commit.cursor.step}: test accuracy {accuracy:.4f} on {len(labels)} held-out digits")
