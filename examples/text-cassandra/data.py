"""Paragraphs of documentation, as the file the example loads.

`python data.py FOLDER` writes train.parquet: id, text, label. The texts are what the sources of
three libraries on this machine say of themselves; the label says which one it was: 0 for NumPy, 1
for scikit-learn, 2 for Python's own. One paragraph in five is held out; it never enters the
database.
"""

import ast
import importlib.util
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PARAGRAPHS = 1500  # of each library
LONGEST = 300  # letters
LIBRARIES = (
    ("numpy",),
    ("sklearn",),
    ("asyncio", "concurrent", "email", "http", "importlib", "json", "logging", "unittest", "xml"),
)

Rows = list[tuple[str, int]]


def split() -> tuple[Rows, Rows]:
    """Text and label of the training rows, and of those that are held out."""
    chance = random.Random(7)
    rows: Rows = []
    for label, modules in enumerate(LIBRARIES):
        found = sorted({text for module in modules for text in paragraphs(module)})
        rows += [(text, label) for text in chance.sample(found, min(PARAGRAPHS, len(found)))]
    chance.shuffle(rows)
    held_out = len(rows) // 5
    return rows[held_out:], rows[:held_out]


def paragraphs(module: str) -> Iterator[str]:
    """Paragraphs of at least eight words of all docstrings of a module, without importing it."""
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    for path in sorted(Path(found.origin).parent.rglob("*.py")):
        if "tests" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
                    text = " ".join(paragraph.split())[:LONGEST]
                    if text.count(" ") >= 7 and text[0].isalpha():
                        yield text


def write_training_rows(folder: Path) -> Path:
    """Writes the training rows to `folder`/train.parquet and returns its path."""
    rows, _ = split()
    texts, labels = zip(*rows, strict=True)
    path = folder / "train.parquet"
    ids = pa.array(range(len(rows)), pa.int64())
    pq.write_table(
        pa.table({"id": ids, "text": texts, "label": pa.array(labels, pa.int32())}), path
    )
    return path


if __name__ == "__main__":
    print(write_training_rows(Path(sys.argv[1])))
