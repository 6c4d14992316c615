"""Which rows really entered the parameters of a job's newest commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from insitu.checkpoint import CommitLog, open_store
from insitu.checkpoint.records import Commit

Line = dict[str, Any]
"""One step of one rank, committed or not: generation, epoch, step, rank, keys."""


def lineage(store: str, job: str) -> list[Commit]:
    """The commits that the newest one is made of, oldest first."""
    commits = {commit.seq: commit for commit in CommitLog(open_store(store), job).commits()}
    chain = [commits[max(commits)]]
    while (parent := chain[0].parent) is not None:
        chain.insert(0, commits[parent])
    return chain


def committed(commits: Iterable[Commit], lines: Iterable[Line]) -> Counter[tuple[int, int]]:
    """How often each (epoch, id) is in the parameters of the last of a lineage's `commits`."""
    counted: Counter[tuple[int, int]] = Counter()
    steps = list(lines)
    before = 0
    for commit in commits:
        for line in steps:
            if (
                line["generation"] == commit.generation
                and before < line["step"] <= commit.cursor.step
            ):
                counted.update((line["epoch"], key) for key in line["keys"])
        before = commit.cursor.step
    return counted


def once_each(rows: int, epochs: int = 3) -> Counter[tuple[int, int]]:
    """What `committed` has to be: every row once in every epoch."""
    return Counter((epoch, key) for epoch in range(epochs) for key in range(rows))
