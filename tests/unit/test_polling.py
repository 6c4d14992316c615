"""Databases are read beside the event loop, once for all jobs that want to know."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from insitu.api import Data, IgniteData, OnChange, Reason
from insitu.databases import Database, DataSource
from insitu.errors import (
    AuthenticationError,
    ConfigurationError,
    DatabaseUnavailable,
    InsituError,
)
from insitu.topology import Topology
from insitu_operator.core.observed import Reading, Unread
from insitu_operator.kubernetes import Json
from insitu_operator.shell.databases.databases import Databases
from insitu_operator.shell.databases.polling import Cadence, Look, is_news
from insitu_operator.shell.databases.secrets import SecretFolder
from insitu_operator.shell.databases.services import ServiceMissing
from insitu_operator.shell.databases.sources import Opened
from insitu_operator.shell.key import Key
from tests.unit.job_builders import START, topology
from tests.unit.local_builders import Answers

ONE, TWO = Key("ml", "one"), Key("ml", "two")
FAST = Cadence(every=0.005, overdue=0.1, longest_pause=0.005, reopen=0.005, longest_reopen=0.005)


def data(**changes: Any) -> Data:
    reach = {"endpoints": ("127.0.0.1:10800",), "cache": "T"} | changes
    return Data(ignite=IgniteData.model_validate(reach))


class NoSecrets:
    """An API server that is never asked."""

    async def get(self, path: str) -> Json:
        raise AssertionError(path)


class Polled:
    """Databases over one that answers in memory. `refuse` fails the opening of references."""

    def __init__(self, folder: Path, cadence: Cadence) -> None:
        self.answers = Answers()
        self.folder = folder
        self.opened: list[DataSource] = []
        self.resolved = 0
        self.refuse: InsituError | None = None
        self.marked: list[str] = []
        self.outcomes: list[str] = []
        self.hang = threading.Event()
        self.hang.set()
        self.databases = Databases(
            self.resolve,
            self,
            open_database=self.open,
            observe=self.outcomes.append,
            cadence=cadence,
        )

    async def resolve(self, namespace: str, wanted: Data) -> Opened:
        self.resolved += 1
        if self.refuse:
            raise self.refuse
        source = DataSource("ignite", (("127.0.0.1", 10800),), wanted.table)
        return Opened(source, SecretFolder(NoSecrets(), namespace, self.folder))

    def open(self, source: DataSource) -> Database:
        self.hang.wait()
        self.opened.append(source)
        return self.answers

    def add(self, key: Key, *, urgent: bool) -> None:
        assert urgent
        self.marked.append(key.name)

    def look(self, key: Key = ONE, **changes: Any) -> Look:
        return self.databases.look(key, data(**changes))

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not true():  # noqa: ASYNC110 - threads set no events
                await asyncio.sleep(0.001)

    async def until_asked(self, times: int) -> None:
        count = len(self.outcomes) + times
        await self.until(lambda: len(self.outcomes) >= count)


@asynccontextmanager
async def polled(folder: Path, cadence: Cadence = FAST) -> AsyncIterator[Polled]:
    found = Polled(folder, cadence)
    try:
        async with found.databases:
            yield found
    finally:
        found.hang.set()


def test_jobs_of_one_table_share_its_readings(tmp_path: Path) -> None:
    async def main() -> None:
        async with polled(tmp_path) as it:
            assert it.look() == it.look(TWO) == Look()
            await it.until(lambda: it.marked)
            assert sorted(it.marked) == ["one", "two"]
            assert len(it.opened) == 1
            assert it.look() == it.look(TWO)
            assert it.databases.source(ONE) == it.opened[0]

    asyncio.run(main())


def test_what_a_job_does_about_changes_makes_no_other_table() -> None:
    async def main() -> None:
        async with polled(Path()) as it:
            it.look()
            it.databases.look(TWO, data().model_copy(update={"on_change": OnChange.CONTINUE}))
            await it.until(lambda: len(it.marked) == 2)
            assert it.resolved == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    "other",
    [{"cache": "U"}, {"columns": ("a",)}, {"credentials": {"secretName": "another"}}],
)
def test_another_table_or_another_secret_is_not_shared(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    async def main() -> None:
        async with polled(tmp_path) as it:
            it.look()
            it.look(TWO, **other)
            await it.until(lambda: len(it.opened) == 2)

    asyncio.run(main())


def test_a_reading_that_says_the_same_advances_and_marks_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        async with polled(tmp_path) as it:
            it.look()
            await it.until(lambda: it.marked)
            first = it.look().reading
            await it.until_asked(5)
            later = it.look().reading
            assert it.marked == ["one"]
            assert first
            assert later
            assert later.at > first.at

    asyncio.run(main())


def test_a_refusal_keeps_the_last_reading_and_opens_everything_anew(tmp_path: Path) -> None:
    async def main() -> None:
        async with polled(tmp_path) as it:
            it.look()
            await it.until(lambda: it.marked)
            it.answers.error = AuthenticationError("who are you")
            await it.until(lambda: it.look().unread)
            look = it.look()
            assert look.reading
            assert look.unread == Unread(Reason.ACCESS_DENIED, "who are you")
            before = it.resolved
            await it.until(lambda: it.resolved > before)
            it.answers.error = None
            await it.until(lambda: it.look().unread is None)
            assert it.marked == ["one"] * 3

    asyncio.run(main())


def test_nodes_that_were_seen_are_asked_when_the_endpoints_are_down(tmp_path: Path) -> None:
    async def main() -> None:
        async with polled(tmp_path) as it:
            it.look()
            await it.until(lambda: it.look().reading)
            it.answers.error = DatabaseUnavailable("nobody is there")
            await it.until(lambda: len(it.opened) >= 2)
            found = it.look().reading
            assert found
            seen = [(node.host, node.port) for node in found.topology.nodes]
            assert it.opened[-1].endpoints == (("127.0.0.1", 10800), *seen)

    asyncio.run(main())


def test_a_service_that_is_missing_is_asked_for_again_when_its_endpoints_come(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with polled(tmp_path) as it:
            it.refuse = ServiceMissing("it is not there")
            named: dict[str, Any] = {"endpoints": None, "service": {"name": "ignite", "port": 1}}
            it.look(**named)
            await it.until(lambda: it.marked)
            it.refuse = None
            it.look(TWO)  # Another table, which is read often enough meanwhile.
            await it.until_asked(20)
            assert it.look(**named).reading is None
            it.databases.service_changed("ml", "ignite")
            await it.until(lambda: it.look(**named).reading)

    asyncio.run(main())


def test_a_reference_that_leads_nowhere_is_said_and_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with polled(tmp_path) as it:
            it.refuse = ConfigurationError("Secret 'x' is not there")
            it.look()
            await it.until(lambda: it.look().unread)
            assert it.look().unread == Unread(Reason.SOURCE_INVALID, "Secret 'x' is not there")
            assert it.databases.source(ONE) is None
            it.refuse = None
            await it.until(lambda: it.look().reading)

    asyncio.run(main())


def test_a_driver_that_hangs_is_unavailable_and_counts_once_it_answers(tmp_path: Path) -> None:
    async def main() -> None:
        async with polled(tmp_path) as it:
            it.hang.clear()
            it.look()
            await it.until(lambda: it.look().unread)
            unread = it.look().unread
            assert unread
            assert unread.reason is Reason.DATABASE_UNAVAILABLE
            it.hang.set()
            await it.until(lambda: it.look().reading)
            assert it.look().unread is None

    asyncio.run(main())


def test_a_fault_in_a_driver_is_said_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Topology:
        raise ValueError("password=s3cret")

    async def main() -> None:
        async with polled(tmp_path) as it:
            monkeypatch.setattr(it.answers, "topology", broken)
            it.look()
            await it.until(lambda: it.look().unread)
            unread = it.look().unread
            assert unread
            assert "ValueError" in unread.message
            assert "s3cret" not in unread.message

    asyncio.run(main())


def test_other_endpoints_open_the_table_anew_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        slow = replace(FAST, every=1000.0)
        async with polled(tmp_path, slow) as it:
            service: dict[str, Any] = {"endpoints": None, "service": {"name": "ignite", "port": 1}}
            it.look(**service)
            it.look(TWO)
            await it.until(lambda: len(it.opened) == 2)
            it.databases.service_changed("ml", "other")
            it.databases.service_changed("ml", "ignite")
            await it.until(lambda: len(it.opened) == 3)
            assert it.resolved == 3

    asyncio.run(main())


def test_a_table_that_nobody_needs_is_let_go(tmp_path: Path) -> None:
    async def main() -> None:
        async with polled(tmp_path) as it:
            it.look()
            it.look(TWO)
            await it.until(lambda: it.marked)
            it.databases.release(ONE)
            await it.until_asked(2)
            it.databases.release(TWO)
            await it.until(lambda: not list(tmp_path.iterdir()))
            asked = len(it.answers.asked)
            await asyncio.sleep(0.05)
            assert len(it.answers.asked) <= asked + 1

    asyncio.run(main())


@dataclass
class _Looks:
    """A look, and what comes after it."""

    before: Look = field(default_factory=lambda: read(topology()))

    def then(self, after: Look) -> bool:
        return is_news(self.before, after)


def read(found: Topology) -> Look:
    return Look(Reading(found, START))


def test_owners_movement_and_lost_rows_are_news() -> None:
    it = _Looks()
    assert it.then(read(topology("ab")))
    assert it.then(read(topology(moving=[1])))
    assert it.then(read(topology(rows=59)))
    assert it.then(Look(it.before.reading, Unread(Reason.DATABASE_UNAVAILABLE, "away")))


def test_more_rows_and_the_same_again_are_none() -> None:
    it = _Looks()
    assert not it.then(read(topology()))
    assert not it.then(read(topology(rows=61)))


@pytest.mark.parametrize(
    ("cost", "tables", "pause"), [(0.01, 1, 1.0), (0.01, 50, 5.0), (0.01, 1000, 10.0)]
)
def test_many_tables_are_read_more_seldom_so_that_they_leave_the_core_to_the_jobs(
    cost: float, tables: int, pause: float
) -> None:
    assert Cadence(every=1.0, share=0.1, slowest=10.0).pause(cost, tables) == pause
