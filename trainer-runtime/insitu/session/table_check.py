"""Is the table still the one that an epoch began with? Decided from counts, alike on every rank."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from pydantic import TypeAdapter

from insitu.contract import Assignment
from insitu.data.cursor import Cursor, Taken
from insitu.data.exactness import (
    block_changed,
    check_counts,
    check_epoch,
    check_not_empty,
    check_table,
)
from insitu.databases import Database
from insitu.errors import DatabaseUnavailable, DataChanged, DataLost
from insitu.session.collective import Collective, on_rank_0
from insitu.topology import NodeId

_log = logging.getLogger("insitu")
_Count = tuple[int | None, list[NodeId] | None]
_COUNT: TypeAdapter[_Count] = TypeAdapter(_Count)


class Judged(NamedTuple):
    """A cursor that knows what was found, and what has to end the job once that is committed.

    A change ends a job once: whoever resumes it goes on with the table as it is now. Rows that
    were lost end it until they are back, so the cursor goes on to expect them.
    """

    cursor: Cursor
    problem: DataLost | DataChanged | None = None


class TableCheck:
    """Compares rows at the start, at commits and after each epoch, the same on every rank.

    Where the database counts cheaply, rank 0 asks it. Where it can't, or where the job never
    counted its rows because a script reads only some shards, an epoch's rows are compared with
    those of the last one that is not known to be inexact.
    """

    def __init__(self, assignment: Assignment, collective: Collective, database: Database) -> None:
        self._first = assignment.rows
        self._known = {node.id for node in assignment.nodes}
        self._fail = assignment.on_data_change == "Fail"
        self._collective = collective
        self._database = database

    def begin(self, cursor: Cursor) -> Judged:
        """At the start of a run. Nobody watched the database nodes before it, so rows that are
        gone may have been lost with one.
        """
        return self._counted(cursor, watched=False)

    def commit(self, cursor: Cursor) -> Judged:
        """At a commit in the middle of an epoch. A database that does not answer now is asked at
        the next one.
        """
        try:
            return self._counted(cursor, watched=True)
        except DatabaseUnavailable as error:
            if self._collective.rank == 0:
                _log.warning("the table's rows could not be counted: %s", error)
            return Judged(cursor)

    def stepped(self, cursor: Cursor, taken: Iterable[Taken]) -> Judged:
        """At a step that found out about a change of rows that an earlier run was amid."""
        changed = sorted(each.shard for each in taken if each.changed)
        if not changed:
            return Judged(cursor)
        return self._judged(cursor, block_changed(changed), cursor.counted)

    def end(self, cursor: Cursor) -> Judged:
        """At the end of an epoch; the cursor of the next one."""
        if empty := check_not_empty(cursor.rows, cursor.step):
            # Whatever the job wants of changes: epochs of nothing would only look like success.
            return Judged(replace(cursor, taken={}, finished=frozenset(), blocks={}), empty)
        now, gone = None, None
        if self._first is not None:
            expected = self._first if cursor.counted is None else cursor.counted
            now, gone = self._count(expected)
        if now is not None:
            problem = check_epoch(expected, cursor.rows, now, gone)
        else:
            problem = check_counts(cursor.counted, cursor.rows)
            now = None if problem or cursor.inexact else cursor.rows
        judged = self._judged(cursor, problem, now)
        if isinstance(judged.problem, DataLost):
            return judged
        return Judged(judged.cursor.next_epoch(), judged.problem)

    def _counted(self, cursor: Cursor, *, watched: bool) -> Judged:
        if self._first is None:
            return Judged(cursor)
        expected = self._first if cursor.counted is None else cursor.counted
        now, gone = self._count(expected)
        if now is None:
            return Judged(cursor)
        return self._judged(
            cursor, check_table(expected, now, gone if watched else gone or None), now
        )

    def _judged(
        self, cursor: Cursor, problem: DataLost | DataChanged | None, now: int | None
    ) -> Judged:
        if problem is None:
            return Judged(replace(cursor, counted=now))
        if self._fail and isinstance(problem, DataLost):
            return Judged(cursor, problem)
        known = cursor.inexact
        if self._collective.rank == 0 and not known:
            _log.warning("%s", problem)
        cursor = replace(cursor, inexact=True, counted=now)
        return Judged(cursor, problem if self._fail and not known else None)

    def _count(self, expected: int) -> _Count:
        """Rank 0 asks, for all: two answers could differ while somebody writes."""
        return _COUNT.validate_json(on_rank_0(self._collective, lambda: self._ask(expected)))

    def _ask(self, expected: int) -> bytes:
        now = self._database.count()
        gone: list[NodeId] | None = None
        if now is not None and now < expected and self._known:
            gone = sorted(self._known - {node.id for node in self._database.topology().nodes})
        return _COUNT.dump_json((now, gone))
