"""Runs the passes of all jobs: one at a time for a key, many keys at once, in two lanes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import NoReturn, Protocol, Self

from insitu_operator.shell.key import Key
from insitu_operator.shell.queueing.schedule import Lane, Pace, Schedule
from insitu_operator.shell.tasks import Deaths

#: One pass of a key; returns after how many seconds it wants the next one, None for not at all.
Run = Callable[[Key], Awaitable[float | None]]

URGENT_WORKERS = 16
SLOW_WORKERS = 2


class Listener(Protocol):
    """Hears how passes went."""

    def passed(self, key: Key, seconds: float, /) -> None: ...

    def failed(self, key: Key, seconds: float, error: Exception, retry_seconds: float, /) -> None:
        """It raised, and is tried again after so many seconds."""


class Queue:
    """Use it as an async context manager; its workers are born on entry, and cancelled on exit.

    `add` may be called before that, and from the event loop's thread only.

    Args:
        run: A pass. What it raises means: try again.
        listener: Hears of each pass.
        workers: Passes at once in the urgent lane.
        slow_workers: Passes at once in the slow lane.
        pace: How long keys rest.
        jitter: In [0, 1).
    """

    def __init__(
        self,
        run: Run,
        listener: Listener,
        *,
        workers: int = URGENT_WORKERS,
        slow_workers: int = SLOW_WORKERS,
        pace: Pace = Pace(),  # noqa: B008 - a frozen value
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._run = run
        self._listener = listener
        self._schedule = Schedule(pace)
        self._free = {Lane.URGENT: workers, Lane.SLOW: slow_workers}
        self._given: dict[Lane, asyncio.Queue[Key]] = {lane: asyncio.Queue() for lane in Lane}
        self._changed = asyncio.Event()
        self._jitter = jitter
        self._tasks: list[asyncio.Task[None]] = []
        self._deaths = Deaths()

    async def __aenter__(self) -> Self:
        # kopf, which comes later, cancels tasks that are younger than itself: a task for each
        # pass would not do.
        workers = [(lane, number) for lane in Lane for number in range(self._free[lane])]
        self._tasks = [
            asyncio.create_task(self._work(lane), name=f"{lane} worker {number}")
            for lane, number in workers
        ]
        self._tasks.append(asyncio.create_task(self._give(), name="queue"))
        for task in self._tasks:
            self._deaths.watch(task)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def hold(self) -> NoReturn:
        """Raises what a worker died of, as what the listener raises; else never returns."""
        await self._deaths.hold()

    def add(self, key: Key, *, urgent: bool) -> None:
        """There is news about the key: a pass begins that knows it."""
        self._add(key, Lane.URGENT if urgent else Lane.SLOW, 0.0)

    def add_after(self, key: Key, seconds: float, *, urgent: bool = True) -> None:
        """As `add` in so many seconds, unless a pass begins before."""
        self._add(key, Lane.URGENT if urgent else Lane.SLOW, seconds)

    @property
    def depth(self) -> Mapping[str, int]:
        """How many keys wait in each lane."""
        return {str(lane): keys for lane, keys in self._schedule.depth(_now()).items()}

    @property
    def oldest_seconds(self) -> float:
        """How long the key that waits longest could have been running."""
        return self._schedule.longest_wait(_now())

    @property
    def longest_pass_seconds(self) -> float:
        """Since the oldest pass that still runs began."""
        return self._schedule.longest_pass(_now())

    def _add(self, key: Key, lane: Lane, seconds: float) -> None:
        self._schedule.add(key, lane, _now() + seconds)
        self._changed.set()

    async def _give(self) -> None:
        while True:
            self._changed.clear()
            for lane, given in self._given.items():
                while self._free[lane] and (key := self._schedule.take(lane, _now())):
                    self._free[lane] -= 1
                    given.put_nowait(key)
            await self._news(self._next_due())

    def _next_due(self) -> float | None:
        free = [lane for lane in Lane if self._free[lane]]
        due = [at for lane in free if (at := self._schedule.next_due(lane)) is not None]
        return min(due, default=None)

    async def _news(self, until: float | None) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._changed.wait()
        except TimeoutError:
            """Something is due."""

    async def _work(self, lane: Lane) -> None:
        while True:
            key = await self._given[lane].get()
            await self._pass(key)
            self._free[lane] += 1
            self._changed.set()

    async def _pass(self, key: Key) -> None:
        began = _now()
        try:
            again = await self._run(key)
        except Exception as error:  # noqa: BLE001 - one job's trouble must not stop the others
            now = _now()
            wait = self._schedule.fail(key, now, self._jitter())
            self._listener.failed(key, now - began, error, wait)
        else:
            now = _now()
            self._schedule.finish(key, now, again)
            self._listener.passed(key, now - began)


def _now() -> float:
    return asyncio.get_running_loop().time()
