"""Which objects of a job nobody will ask for again. The log itself is never shortened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from insitu.checkpoint.log import Writer, whole
from insitu.checkpoint.parts import data_folder, place
from insitu.checkpoint.records import Commit
from insitu.errors import ConfigurationError


def expendable(job: str, kept: Sequence[Commit], names: Iterable[str], fence: int) -> list[str]:
    """Those of `names` that the writer of fence number `fence` may delete; pure.

    Everything that no kept commit lists and that can't become part of a commit any more: objects
    of earlier writers, which can't commit, and of this one's steps before its newest kept commit,
    whose steps are over. Foreign names are left alone.
    """
    needed = {part.name for commit in kept for part in commit.parts}
    done = max((c.cursor.step for c in kept if c.fence == fence), default=-1)
    chosen = []
    for name in names:
        made_in = place(job, name)
        if made_in is None or name in needed:
            continue
        its_fence, step = made_in
        if its_fence < fence or (its_fence == fence and step < done):
            chosen.append(name)
    return chosen


def sweep(writer: Writer, keep_last: int) -> list[str]:
    """Deletes what is expendable and returns its names; a writer calls it after a commit.

    The first sweep of a writer looks at all parts, and keeps the newest `keep_last` commits whose
    parts are there: a damaged one takes nobody's place. After that the writer knows its commits,
    and a sweep costs what it deletes.

    Raises:
        ConfigurationError: `keep_last` is less than 1.
        StaleGeneration, OtherJob: a newer writer has taken over, and decides what to keep.
        StoreError: the store refuses to delete.
    """
    if keep_last < 1:
        raise ConfigurationError(f"keep at least 1 commit, not {keep_last} (checkpoint.keepLast)")
    writer.check_current()
    if writer.kept is None:
        return _first_sweep(writer, keep_last)
    kept = writer.kept[-keep_last:]
    needed = {part.name for commit in kept for part in commit.parts}
    over = writer.kept[: -len(kept)] if kept else []
    names = sorted({part.name for c in over for part in c.parts} - needed)
    writer.log.store.delete(names)
    writer.kept = kept
    return names


def _first_sweep(writer: Writer, keep_last: int) -> list[str]:
    log, fence = writer.log, writer.fence.seq
    sizes = log.sizes()
    kept = list(islice(whole(log.recent(sizes, writer.history), sizes), keep_last))
    if not kept:
        return []
    names = expendable(log.job, kept, sizes, fence)
    log.store.delete(names)
    log.store.remove_leftovers(
        data_folder(log.job), lambda folder: folder.isdecimal() and int(folder) < fence
    )
    writer.kept = kept[::-1]
    return names
