"""Asks the database, on rank 0, whether the table is still the one the job began with."""

from __future__ import annotations

import logging

from pydantic import TypeAdapter

from insitu.contract import Assignment
from insitu.data.exactness import check_epoch, check_table
from insitu.databases import Database
from insitu.errors import DataChanged, DataLost
from insitu.session.collective import Collective, on_rank_0
from insitu.topology import NodeId

_log = logging.getLogger("insitu")
_Count = tuple[int | None, list[NodeId] | None]
_COUNT: TypeAdapter[_Count] = TypeAdapter(_Count)


class TableCheck:
    """Compares row counts at the start and after each epoch, the same on every rank.

    Does nothing where the job never counted its rows: a script that reads only some of the
    shards takes fewer rows than there are.
    """

    def __init__(self, assignment: Assignment, collective: Collective, database: Database) -> None:
        self.inexact_epochs = 0
        self._expected = assignment.rows
        self._known = {node.id for node in assignment.nodes}
        self._fail = assignment.on_data_change == "Fail"
        self._collective = collective
        self._database = database

    def check(self) -> None:
        """Raises `DataLost` or `DataChanged` when the table has another size than at first."""
        if self._expected is not None:
            now, gone = self._count()
            self._judge(check_table(self._expected, now, gone))

    def check_epoch(self, taken: int) -> None:
        """Raises the same when an epoch of `taken` rows was not exact."""
        if self._expected is None:
            return
        now, gone = self._count()
        problem = check_epoch(self._expected, taken, now, gone)
        if problem is not None:
            self.inexact_epochs += 1
        self._judge(problem)

    def _judge(self, problem: DataLost | DataChanged | None) -> None:
        if problem is None:
            return
        if self._fail:
            raise problem
        if self._collective.rank == 0:
            _log.warning("%s", problem)

    def _count(self) -> _Count:
        """Rank 0 asks, for all: two answers could differ while somebody writes."""
        return _COUNT.validate_json(on_rank_0(self._collective, self._ask))

    def _ask(self) -> bytes:
        now = self._database.count()
        gone: list[NodeId] | None = None
        if now != self._expected and self._known:
            gone = sorted(self._known - {node.id for node in self._database.topology().nodes})
        return _COUNT.dump_json((now, gone))
