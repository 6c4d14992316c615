"""Embeddings of handwritten digits, as the file the example loads.

`python data.py FOLDER` writes train.npz: sheet and place (the key), embedding (128 float32), label.
One digit in five is held out; it never enters the database. The embedding is a kernel map of the
8 x 8 pixels (Nystroem, `sklearn.kernel_approximation`): in its space a linear model is enough, as
in that of a large model whose vectors one would keep in a table.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.kernel_approximation import Nystroem
from sklearn.model_selection import train_test_split

DIMENSIONS = 128
DIGITS_A_SHEET = 8


def split() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train vectors (n, 128) float32, test vectors, train labels (n,) int32, test labels."""
    digits = load_digits()
    train, test, train_labels, test_labels = train_test_split(
        digits.data / 16,
        digits.target.astype(np.int32),
        test_size=0.2,
        random_state=7,
        stratify=digits.target,
    )
    embed = Nystroem(gamma=0.3, n_components=DIMENSIONS, random_state=7).fit(train)
    return (
        embed.transform(train).astype(np.float32),
        embed.transform(test).astype(np.float32),
        train_labels,
        test_labels,
    )


def write_training_rows(folder: Path) -> Path:
    """Writes the training rows to `folder`/train.npz and returns its path."""
    vectors, _, labels, _ = split()
    sheet, place = np.divmod(np.arange(len(labels), dtype=np.int32), np.int32(DIGITS_A_SHEET))
    path = folder / "train.npz"
    np.savez(path, sheet=sheet, place=place, embedding=vectors, label=labels)
    return path


if __name__ == "__main__":
    print(write_training_rows(Path(sys.argv[1])))
