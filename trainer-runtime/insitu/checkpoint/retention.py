"""Which objects of a job nobody will ask for again. The log itself is never shortened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from insitu.checkpoint.log import CommitLog, Writer, missing_part
from insitu.checkpoint.parts import data_folder, place
from insitu.checkpoint.records import Commit
from insitu.errors import ConfigurationError


def retained(
    newest_first: Iterable[Commit], sizes: Mapping[str, int], keep_last: int
) -> list[Commit]:
    """The newest `keep_last` commits whose parts are there with their lengths; pure.

    A damaged commit takes nobody's place, so the newest whole one is always among them.
    `newest_first` is read no further than needed.
    """
    kept: list[Commit] = []
    for commit in newest_first:
        if missing_part(commit, sizes) is None:
            kept.append(commit)
        if len(kept) == keep_last:
            break
    return kept


def expendable(kept: Sequence[Commit], names: Iterable[str], generation: int) -> list[str]:
    """Those of `names` that a writer of `generation` may delete; pure.

    Everything that no kept commit lists and that can't become part of a commit any more: objects
    of older generations, which can't commit, and of this generation's steps before its newest
    kept commit, whose steps are over. Foreign names are left alone.
    """
    needed = {part.name for commit in kept for part in commit.parts}
    done = max((c.cursor.step for c in kept if c.generation == generation), default=-1)
    chosen = []
    for name in names:
        made_in = place(name)
        if made_in is None or name in needed:
            continue
        its_generation, step = made_in
        if its_generation < generation or (its_generation == generation and step < done):
            chosen.append(name)
    return chosen


def sweep(writer: Writer, keep_last: int) -> list[str]:
    """Deletes what is expendable and returns its names; a writer calls it after a commit.

    Raises:
        ConfigurationError: `keep_last` is less than 1.
        StaleGeneration: a newer generation has taken over, and decides what to keep.
        StoreError: the store refuses to delete.
    """
    if keep_last < 1:
        raise ConfigurationError(f"keep at least 1 commit, not {keep_last} (checkpoint.keepLast)")
    log = writer.log
    writer.check_current()
    sizes = log.sizes()
    kept = retained(_commits(log), sizes, keep_last)
    if not kept:
        return []
    names = expendable(kept, sizes, writer.generation)
    log.store.delete(names)
    log.store.remove_leftovers(
        data_folder(log.job), lambda folder: folder.isdecimal() and int(folder) < writer.generation
    )
    return names


def _commits(log: CommitLog) -> Iterable[Commit]:
    for record in log.newest_first():
        if isinstance(record, Commit):
            yield record
