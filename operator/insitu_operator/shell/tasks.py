"""Tasks that end with the block that started them, the youngest first."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, NoReturn, Self


class Deaths:
    """Hears of tasks that nobody waits for, and that ended by an error."""

    def __init__(self) -> None:
        self._died = asyncio.Event()
        self._error: BaseException | None = None

    def watch(self, task: asyncio.Task[Any]) -> None:
        """Until it ends."""
        task.add_done_callback(self._ended)

    async def hold(self) -> NoReturn:
        """Raises what the first of them died of; else never returns."""
        await self._died.wait()
        assert self._error is not None
        raise self._error

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) and self._error is None:
            self._error = error
            self._died.set()


class Tasks:
    """An async context manager. Unlike a TaskGroup it waits for nobody, and a task that ends is
    the business of whoever waits for it with `first`. One that dies ends `deaths.hold()`.
    """

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []
        self.deaths = Deaths()

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        self.deaths.watch(task)
        return task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in reversed(self._tasks):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def first(*tasks: asyncio.Task[Any]) -> asyncio.Task[Any]:
    """The one that ended; of several, the one that is named first."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return next(task for task in tasks if task in done)
