"""Pages of many partitions from one node, fetched ahead by a few connections within one budget.

Each connection has a thread; a server's cursor lives and dies with the connection that opened it.
Whoever takes pages decides nothing: threads ask first for partitions that somebody waits for, then
for those with the fewest pages here, then for the ones opened first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from insitu.databases import ReadCounters, RowPosition
from insitu.databases.budget import Budget, Need
from insitu.databases.ignite.protocol.connection import RESOURCE_CLOSE, Connection
from insitu.databases.ignite.protocol.faults import ServerError
from insitu.databases.ignite.reading.cursors import Cursors
from insitu.databases.ignite.reading.keys import EntryKeys
from insitu.databases.ignite.reading.pages import (
    IN_FLIGHT,
    NEXT_PAGE,
    SCAN,
    Page,
    PageSize,
    cursor_request,
    parse_next,
    parse_scan,
    scan_request,
)
from insitu.databases.ignite.reading.scan import (
    REOPENINGS,
    Arrived,
    Asked,
    Cursor,
    Scan,
    Worker,
    given_up,
)
from insitu.errors import DatabaseUnavailable, DataChanged, InsituError, ProtocolError

# A thread that is just connecting anew to a machine that is gone has nothing left to give back.
_CLOSE_SECONDS = 2.0


class Fetcher:
    """Fetches pages ahead for all open scans. Thread-safe."""

    def __init__(
        self,
        cache_id: int,
        first: Connection,
        connect: Callable[[], Connection],
        *,
        connections: int,
        cursors: Cursors,
        size: PageSize,
        budget: Budget,
        counters: ReadCounters,
        keys: Callable[[Page], EntryKeys],
    ) -> None:
        """`connect` opens one more connection to the same node as `first`."""
        self._keys = keys
        self._cursors = cursors
        self._cache_id = cache_id
        self._connect = connect
        self._size = size
        self._budget = budget
        self._counters = counters
        self._workers = [Worker(first), *(Worker() for _ in range(connections - 1))]
        self._threads: list[threading.Thread] = []
        self._scans: list[Scan] = []
        self._closed = False
        self._failure: BaseException | None = None
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._arrival = threading.Condition(lock)

    def open(self, partition: int, start: RowPosition | None) -> Scan:
        """Starts to fetch the rows of `partition`, or those of them from `start` on."""
        scan = Scan(partition, start)
        with self._work:
            self._check_open()
            self._scans.append(scan)
            if not self._threads:
                self._threads = [self._start(worker) for worker in self._workers]
            self._work.notify()
        return scan

    def take(self, scan: Scan) -> Arrived | None:
        """The scan's next page, waiting for it; None after the last one.

        Raises whatever has ended the scan, once all pages before that are taken.
        """
        with self._arrival:
            scan.waiting += 1
            try:
                while not scan.pages:
                    if scan.error is not None:
                        raise scan.error
                    if scan.ended:
                        return None
                    self._check_open()
                    self._work.notify_all()
                    self._arrival.wait()
            finally:
                scan.waiting -= 1
            arrived = scan.pages.popleft()
            scan.begun = True
            self._budget.hand_out(arrived.charge)
            self._counters.rows += arrived.page.count - arrived.drop
            self._work.notify_all()
        return arrived

    def drop(self, scan: Scan) -> None:
        """Ends a scan and closes its cursor. Safe to call twice."""
        with self._work:
            self._end(scan)
            while scan.pages:
                self._budget.hand_out(scan.pages.popleft().charge)
            self._work.notify_all()

    def close(self) -> None:
        """Ends all scans and connections, and with those all cursors. Safe to call twice."""
        with self._work:
            self._closed = True
            connections = [worker.connection for worker in self._workers]
            self._work.notify_all()
            self._arrival.notify_all()
        for connection in connections:
            if connection is not None:
                connection.close()
        for thread in self._threads:
            thread.join(_CLOSE_SECONDS)

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise DatabaseUnavailable("the reader is closed")

    def _start(self, worker: Worker) -> threading.Thread:
        thread = threading.Thread(
            target=self._run, args=(worker,), name="insitu-ignite-reader", daemon=True
        )
        thread.start()
        return thread

    def _run(self, worker: Worker) -> None:
        try:
            while (job := self._next_job(worker)) is not None:
                job()
                with self._work:  # what was full or busy before may let others go on now
                    self._work.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised again by `take` and `open`
            self._fail_all(error)

    def _fail_all(self, error: BaseException) -> None:
        """Ends every scan with what has ended a thread: nobody would ask for its pages any more."""
        with self._work:
            if not self._closed:
                self._failure = error
            self._closed = True
            for scan in self._scans:
                scan.error = scan.error or error
                scan.ended = True
            self._scans.clear()
            self._work.notify_all()
            self._arrival.notify_all()

    def _next_job(self, worker: Worker) -> Callable[[], None] | None:
        """What this worker's connection is for next; None at the end."""
        with self._work:
            while not self._closed:
                if worker.stale:
                    return partial(self._close_cursor, worker, worker.stale.pop())
                if len(worker.flight) < IN_FLIGHT and (scan := self._choose(worker)) is not None:
                    scan.busy = True
                    charge = self._size.bytes
                    self._budget.ask(charge)
                    return partial(self._ask, worker, scan, charge)
                if worker.flight:
                    return partial(self._receive, worker, worker.flight.popleft())
                if not worker.stale:
                    self._work.wait()
            return None

    def _choose(self, worker: Worker) -> Scan | None:
        may_open = self._open_cursors() < self._cursors.limit(self._size.row_bytes)
        # Shards are drawn from evenly, so a connection with most of the cursors would hold up all.
        turn = may_open and self._held_by(worker) == min(map(self._held_by, self._workers))
        ready = [
            scan
            for scan in self._scans
            if not scan.busy and (turn if scan.cursor is None else scan.cursor.worker is worker)
        ]
        # min() takes the first of equals: the one that was opened first.
        best = min(ready, key=lambda scan: (scan.need, len(scan.pages)), default=None)
        # Rows so large that a few fill the server's heap are asked for only when they are awaited.
        ahead = best and self._size.one_at_a_time and best.need is not Need.AWAITED
        if best and not ahead and self._budget.admits(self._size.bytes, best.need):
            return best
        if not may_open:
            self._make_room()
        return None

    def _held_by(self, worker: Worker) -> int:
        return sum(s.cursor is not None and s.cursor.worker is worker for s in self._scans)

    def _open_cursors(self) -> int:
        """Open at the server, or about to be."""
        opened = sum(scan.busy or scan.cursor is not None for scan in self._scans)
        return opened + sum(len(worker.stale) for worker in self._workers)

    def _make_room(self) -> None:
        """Gives up a cursor for a scan that is waited for and has none, if nothing else goes on."""
        if any(scan.busy for scan in self._scans) or any(each.stale for each in self._workers):
            return
        if any(scan.need is Need.AWAITED and scan.cursor is None for scan in self._scans):
            opened = [scan for scan in self._scans if scan.cursor is not None]
            self._forget_cursor(max(opened, key=lambda scan: (scan.need, len(scan.pages))))
            self._work.notify_all()

    def _close_cursor(self, worker: Worker, number: int) -> None:
        connection = worker.connection
        if connection is None:
            return
        try:
            connection.request(RESOURCE_CLOSE, cursor_request(number))
        except (DatabaseUnavailable, ProtocolError):  # nobody waits for a cursor to be closed
            with self._work:
                self._lost(worker, connection)
        except InsituError:
            return  # the server refused: it has closed it already, or will with the connection

    def _ask(self, worker: Worker, scan: Scan, charge: int) -> None:
        """Sends one request for one scan, without waiting for its page."""
        rows = self._size.rows if scan.cursor is None else scan.cursor.rows
        try:
            if worker.connection is None:
                self._adopt(worker, self._connect())
            connection = worker.connection
            assert connection is not None
            if scan.cursor is not None:
                request = connection.send(NEXT_PAGE, cursor_request(scan.cursor.number))
            else:
                request = connection.send(SCAN, scan_request(self._cache_id, scan.partition, rows))
        except Exception as error:  # noqa: BLE001 - raised again by `take`
            self._failed(worker, worker.connection, scan, error, rows, charge)
        else:
            with self._work:
                worker.flight.append(Asked(scan, connection, request, rows, charge))

    def _receive(self, worker: Worker, asked: Asked) -> None:
        """Takes in one page; whatever comes of it reaches whoever waits for the scan."""
        scan = asked.scan
        try:
            body = asked.connection.receive(asked.request)
            if scan.cursor is not None:
                page = parse_next(body)
            else:
                number, page = parse_scan(body)
                scan.cursor = Cursor(worker, number, asked.rows)
            keys = self._keys(page)
            drop = scan.unwanted(keys, page.count)
        except Exception as error:  # noqa: BLE001 - raised again by `take`
            self._failed(worker, asked.connection, scan, error, asked.rows, asked.charge)
        else:
            with self._work:
                self._arrived(scan, page, keys, drop, asked.charge)
                scan.busy = False

    def _adopt(self, worker: Worker, connection: Connection) -> None:
        with self._work:
            if not self._closed:
                worker.connection = connection
                return
        connection.close()
        raise DatabaseUnavailable("the reader is closed")

    def _arrived(self, scan: Scan, page: Page, keys: EntryKeys, drop: int, asked: int) -> None:
        cursor = scan.cursor
        assert cursor is not None
        size = len(page.data)
        self._counters.requests += 1
        self._counters.bytes += size
        self._size = self._size.after(page)
        cursor.seen += page.count
        wanted = page.count > drop and not scan.ended
        self._budget.arrive(asked, size if wanted else 0)
        if wanted:
            scan.pages.append(Arrived(page, drop, size))
            scan.newest, scan.newest_rows = keys, page.count
            scan.rows += page.count - drop
            self._arrival.notify_all()
        if not page.more:
            scan.cursor = None
            self._cursors.finished(cursor.seen)
            if scan.lost_its_place(cursor):
                scan.error = DataChanged(
                    f"partition {scan.partition} had to be read again from its start, and the row "
                    "that the reader had come to is deleted: the order of such keys is not known"
                )
            self._end(scan)
        elif scan.ended or self._size.is_off(cursor.rows, cursor.seen):
            self._forget_cursor(scan)

    def _failed(
        self,
        worker: Worker,
        connection: Connection | None,
        scan: Scan,
        error: Exception,
        rows: int,
        charge: int,
    ) -> None:
        """Decides whether a scan is opened again."""
        with self._work:
            self._budget.arrive(charge, 0)
            scan.busy = False
            self._forget_cursor(scan)
            if isinstance(error, ServerError) and error.out_of_memory and rows > 1:
                self._size = self._size.refused(rows)
            elif isinstance(error, ServerError | DatabaseUnavailable):
                if isinstance(error, DatabaseUnavailable):
                    self._lost(worker, connection)
                scan.reopenings += 1
                if scan.reopenings > REOPENINGS:
                    scan.error = given_up(scan, error)
            else:
                if not isinstance(error, InsituError):  # a reply may be half read
                    self._lost(worker, connection)
                scan.error = error
            if scan.error is not None:
                self._end(scan)

    def _lost(self, worker: Worker, connection: Connection | None) -> None:
        """`connection` is gone, and all its cursors with it, unless the worker has a newer one."""
        if connection is None or worker.connection is not connection:
            return
        connection.close()
        worker.connection = None
        worker.stale.clear()
        for scan in self._scans:
            if scan.cursor is not None and scan.cursor.worker is worker:
                scan.cursor = None

    def _end(self, scan: Scan) -> None:
        """Nothing more is fetched; what is here can still be taken."""
        scan.ended = True
        if scan in self._scans:
            self._scans.remove(scan)
        if not scan.busy:
            self._forget_cursor(scan)
        self._arrival.notify_all()

    def _forget_cursor(self, scan: Scan) -> None:
        if scan.cursor is not None:
            scan.cursor.worker.stale.append(scan.cursor.number)
            scan.cursor = None
