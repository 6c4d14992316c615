"""The handwritten digits that ship inside scikit-learn, as the file the example loads.

`python data.py FOLDER` writes train.npz: id, pixels (64 float32), label.
One digit in five is held out; it never enters the database.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train pixels (n, 64) float32 in 0..16, test pixels, train labels (n,) int64, test labels."""
    digits = load_digits()
    pixels = digits.data.astype(np.float32)
    labels = digits.target.astype(np.int64)
    train, test, train_labels, test_labels = train_test_split(
        pixels, labels, test_size=0.2, random_state=7, stratify=labels
    )
    return train, test, train_labels, test_labels


def write_training_rows(folder: Path) -> Path:
    """Writes the training rows to `folder`/train.npz and returns its path."""
    pixels, _, labels, _ = split()
    path = folder / "train.npz"
    np.savez(path, id=np.arange(len(labels)), pixels=pixels, label=labels)
    return path


if __name__ == "__main__":
    print(write_training_rows(Path(sys.argv[1])))
