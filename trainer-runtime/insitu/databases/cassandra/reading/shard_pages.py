"""The pages of one shard from a row on: those of one statement after another."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence

from insitu.databases.cassandra.columns.page import Page
from insitu.databases.cassandra.columns.rows import locate
from insitu.databases.cassandra.columns.types import Column
from insitu.databases.cassandra.ranges import TokenRange
from insitu.databases.cassandra.reading.fetch import Fetcher
from insitu.databases.cassandra.reading.keys import RowKey
from insitu.databases.cassandra.reading.scan import Scan
from insitu.databases.cassandra.reading.statement import Portion, Select
from insitu.databases.cassandra.reading.tokens import joined


class ShardPages:
    """Reads the rows of `tokens` that are not before `start`, and maybe some that are.

    Inside of a partition it goes on by clustering columns, so that the rows before are not read
    again. That takes a question more: which partitions have that token. The first page is asked
    for at once. Iterate from one thread; `close` may come from another.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        select: Select,
        tokens: TokenRange,
        start: RowKey | None = None,
        partition_key: Sequence[Column] = (),
    ) -> None:
        """`partition_key` are the columns that the question for partitions is answered with; none
        where reading can only go on with whole partitions.
        """
        self._fetcher = fetcher
        self._select = select
        self._lock = threading.Lock()
        self._closed = False
        self._scan: Scan | None = None
        self._start: RowKey | None = None
        self._key = partition_key
        self._portions: deque[Portion] = deque()
        if start is None or start.token <= tokens.start:
            self._add(tokens.start, tokens.end)
        elif not partition_key:
            self._add(start.token - 1, tokens.end)
        elif start.token <= tokens.end:
            self._start = start
            self._portions.append(select.partitions(start.token))
            self._add(start.token, tokens.end)
        self._advance()

    def __iter__(self) -> Iterator[Page]:
        if self._start is not None:
            self._portions.extendleft(reversed(self._rest(self._start)))
            self._advance()
        while self._scan is not None:
            yield from self._pages()
            self._advance()

    def close(self) -> None:
        """Ends reading. Safe to call twice."""
        with self._lock:
            self._closed = True
            if self._scan is not None:
                self._fetcher.drop(self._scan)

    def _add(self, start: int, end: int) -> None:
        if start < end:
            self._portions.append(self._select.range(TokenRange(start, end)))

    def _advance(self) -> None:
        """Begins the next portion, if there is one."""
        with self._lock:
            open_next = self._portions and not self._closed
            self._scan = self._fetcher.open(self._portions.popleft()) if open_next else None

    def _pages(self) -> Iterator[Page]:
        assert self._scan is not None
        while (page := self._fetcher.take(self._scan)) is not None:
            yield page

    def _rest(self, start: RowKey) -> list[Portion]:
        found: list[tuple[bytes, ...]] = []
        for page in self._pages():
            cells = locate(page, self._key)
            found += [tuple(each.value(row) for each in cells) for row in range(page.count)]
        first = joined(start.partition)
        return list(self._select.rest(start, [key for key in found if joined(key) >= first]))
