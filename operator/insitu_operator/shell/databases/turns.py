"""Which namespace may use how many of the threads in which databases are asked."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass


class Turns:
    """A namespace never has more than half of the threads that others leave it, and at least one:
    databases that hang hold up the readings of their own namespace first.

    For the event loop's thread only.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def of(self, namespace: str) -> Turn:
        """The turns of one namespace."""
        return Turn(self, namespace)

    async def take(self, namespace: str) -> None:
        """Returns when the namespace may use one more thread."""
        while not self._free(namespace):
            turn = asyncio.get_running_loop().create_future()
            line = self._waiting.setdefault(namespace, deque())
            line.append(turn)
            try:
                await turn
            finally:
                if turn in line:
                    line.remove(turn)
        self._taken[namespace] += 1

    def give(self, namespace: str) -> None:
        """A thread is free again."""
        self._taken[namespace] -= 1
        if not self._taken[namespace]:
            del self._taken[namespace]
        for other, line in list(self._waiting.items()):
            if line and self._free(other):
                line.popleft().set_result(None)
            if not line:
                del self._waiting[other]

    def _free(self, namespace: str) -> bool:
        mine = self._taken[namespace]
        others = self._taken.total() - mine
        return mine < max(1, (self._threads - others) // 2)


@dataclass(frozen=True, slots=True)
class Turn:
    """Of one namespace."""

    turns: Turns
    namespace: str

    async def take(self) -> None:
        await self.turns.take(self.namespace)

    def give(self) -> None:
        self.turns.give(self.namespace)
