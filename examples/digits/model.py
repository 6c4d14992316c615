"""The network that both train.py and evaluate.py use."""

import torch
from torch import nn


def classifier() -> nn.Module:
    """8 x 8 grey values (0 to 16, as 64 floats a row) to ten digits."""
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 10),
    )
