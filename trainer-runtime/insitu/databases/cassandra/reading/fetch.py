"""Pages of many portions from one node, fetched ahead by a few connections within one budget.

Each connection has a thread, which keeps some requests under way. A page is asked for by the
paging state that came with the one before, over any connection: the server keeps nothing in
between. Whoever takes pages decides nothing: threads ask first for portions that somebody waits
for, then for those with the fewest pages here, then for the ones opened first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from insitu.databases import ReadCounters
from insitu.databases.budget import Budget
from insitu.databases.cassandra.columns.page import Page
from insitu.databases.cassandra.protocol.connection import Connection
from insitu.databases.cassandra.protocol.faults import Refused, ServerError, Unprepared
from insitu.databases.cassandra.protocol.messages import Consistency
from insitu.databases.cassandra.protocol.results import Prepared, parse_rows
from insitu.databases.cassandra.reading.pages import IN_FLIGHT, PageSize, fewer
from insitu.databases.cassandra.reading.scan import (
    REFUSALS,
    REPEATS,
    Asked,
    Scan,
    Worker,
    given_up,
)
from insitu.databases.cassandra.reading.statement import Portion
from insitu.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    DataChanged,
    InsituError,
    ProtocolError,
)

_OVERLOADED_PAUSE = 0.5

# A thread that is just connecting anew to a machine that is gone has nothing left to give back.
_CLOSE_SECONDS = 2.0


class Fetcher:
    """Fetches pages ahead for all open scans. Thread-safe."""

    def __init__(
        self,
        first: Connection,
        connect: Callable[[], Connection],
        prepare: Callable[[Connection], None],
        prepared: Mapping[str, Prepared],
        *,
        connections: int,
        consistency: Consistency,
        size: PageSize,
        budget: Budget,
        timeout: float,
        counters: ReadCounters,
    ) -> None:
        """`connect` opens one more connection to the same node as `first`; `prepared` are the
        statements by their CQL, and `prepare` has the server of a connection know them again.
        """
        self._connect = connect
        self._prepare = prepare
        self._prepared = prepared
        self._consistency = consistency
        self._size = size
        self._budget = budget
        self._timeout = timeout
        self._counters = counters
        self._workers = [Worker(first), *(Worker() for _ in range(connections - 1))]
        self._threads: list[threading.Thread] = []
        self._scans: list[Scan] = []
        self._closed = False
        self._failure: BaseException | None = None
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._arrival = threading.Condition(lock)

    def open(self, portion: Portion) -> Scan:
        """Starts to fetch the rows of `portion`."""
        scan = Scan(portion)
        with self._work:
            self._check_open()
            self._scans.append(scan)
            if not self._threads:
                self._threads = [self._start(worker) for worker in self._workers]
            self._work.notify()
        return scan

    def take(self, scan: Scan) -> Page | None:
        """The scan's next page with rows, waiting for it; None after the last one.

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
            page = scan.pages.popleft()
            scan.begun = True
            self._budget.hand_out(len(page.data))
            self._work.notify_all()
        return page

    def count(self, rows: int) -> None:
        """Counts rows that were handed out."""
        with self._work:
            self._counters.rows += rows

    def drop(self, scan: Scan) -> None:
        """Ends a scan. Safe to call twice."""
        with self._work:
            self._end(scan)
            while scan.pages:
                self._budget.hand_out(len(scan.pages.popleft().data))
            self._work.notify_all()

    def close(self) -> None:
        """Ends all scans and connections. Safe to call twice."""
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
            target=self._run, args=(worker,), name="insitu-cassandra-reader", daemon=True
        )
        thread.start()
        return thread

    def _run(self, worker: Worker) -> None:
        try:
            self._work_through(worker)
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

    def _work_through(self, worker: Worker) -> None:
        while True:
            asked: Asked | None = None
            with self._work:
                while not self._closed:
                    asked = self._choose(worker)
                    if asked is not None or worker.flight:
                        break
                    self._work.wait()
                if self._closed:
                    return
            if asked is not None:
                self._ask(worker, asked)
            else:
                self._receive(worker)

    def _choose(self, worker: Worker) -> Asked | None:
        """What to ask for next over this worker's connection; None if nothing may be."""
        if len(worker.flight) >= IN_FLIGHT:
            return None
        ready = [scan for scan in self._scans if not scan.busy]
        # min() takes the first of equals: the one that was opened first.
        best = min(ready, key=lambda scan: (scan.need, len(scan.pages)), default=None)
        if best is None or not self._budget.admits(self._size.bytes, best.need):
            return None
        best.busy = True
        rows = min(self._size.rows, best.most or self._size.rows)
        asked = Asked(best, rows, self._size.bytes, time.monotonic())
        self._budget.ask(asked.charge)
        return asked

    def _ask(self, worker: Worker, asked: Asked) -> None:
        """Sends one request for one scan, without waiting for its page."""
        scan = asked.scan
        try:
            if worker.connection is None:
                self._adopt(worker, self._connect())
            assert worker.connection is not None
            stream = worker.connection.execute(
                self._prepared[scan.portion.cql],
                scan.portion.values,
                page_rows=asked.rows,
                paging_state=scan.paging_state,
                consistency=self._consistency,
            )
        except Exception as error:  # noqa: BLE001 - raised again by `take`
            self._lost(worker, error, asked)
        else:
            worker.flight[stream] = asked

    def _receive(self, worker: Worker) -> None:
        """Takes in one page; whatever comes of it reaches whoever waits for its scan."""
        connection = worker.connection
        assert connection is not None
        try:
            frame = connection.receive(self._budget.total)
        except Exception as error:  # noqa: BLE001 - raised again by `take`
            self._lost(worker, error)
            return
        asked = worker.flight.pop(frame.stream)
        try:
            body = connection.result(frame)
            page = None if body is None else parse_rows(body).page
        except Unprepared as error:
            self._forgotten(worker, asked, error)
        except Exception as error:  # noqa: BLE001 - raised again by `take`
            self._failed([asked], error)
        else:
            with self._work:
                self._arrived(asked, page, frame.size)
        overdue = time.monotonic() - self._timeout
        if any(other.at < overdue for other in worker.flight.values()):
            problem = f"Cassandra at {connection.where} did not answer in {self._timeout:g} s"
            self._lost(worker, DatabaseUnavailable(problem))

    def _adopt(self, worker: Worker, connection: Connection) -> None:
        with self._work:
            if not self._closed:
                worker.connection = connection
                return
        connection.close()
        raise DatabaseUnavailable("the reader is closed")

    def _arrived(self, asked: Asked, page: Page | None, size: int) -> None:
        scan = asked.scan
        scan.busy = False
        self._counters.requests += 1
        self._counters.bytes += size
        if page is None:
            self._budget.arrive(asked.charge, 0)
            self._too_large(asked, size)
            return
        scan.refusals = scan.repeats = 0
        if scan.portion.full:
            self._size = self._size.after(page.count, len(page.data) - page.start)
        wanted = page.count > 0 and not scan.ended
        self._budget.arrive(asked.charge, len(page.data) if wanted else 0)
        if wanted:
            scan.pages.append(page)
        scan.paging_state = page.paging_state
        if page.paging_state is None:
            self._end(scan)
        self._arrival.notify_all()
        self._work.notify_all()

    def _too_large(self, asked: Asked, size: int) -> None:
        """A page that the budget can't hold was received and thrown away."""
        scan = asked.scan
        self._size = self._size.after(asked.rows, size)
        if asked.rows > 1:
            scan.most = fewer(min(asked.rows, self._size.rows))
        else:
            scan.error = ConfigurationError(
                f"a row of {scan.portion.name} has {size:,} bytes, and a reader "
                f"holds {self._budget.total:,} at most: leave its large columns out by naming the "
                "others, or store large values in pieces, one a row"
            )
            self._end(scan)
        self._work.notify_all()

    def _forgotten(self, worker: Worker, asked: Asked, error: Unprepared) -> None:
        assert worker.connection is not None
        try:
            self._prepare(worker.connection)
        except DatabaseUnavailable as problem:
            self._lost(worker, problem, asked)
        except Exception as problem:  # noqa: BLE001 - raised again by `take`
            self._failed([asked], problem)
        else:
            self._failed([asked], error)

    def _lost(self, worker: Worker, error: Exception, *asked: Asked) -> None:
        """The connection is gone, and with it all that was `asked` or under way over it."""
        if worker.connection is not None:
            worker.connection.close()
            worker.connection = None
        flight = [*worker.flight.values(), *asked]
        worker.flight.clear()
        self._failed(flight, error)

    def _failed(self, flight: Sequence[Asked], error: Exception) -> None:
        """Decides for each of `flight` whether it is asked for again."""
        if isinstance(error, ServerError) and error.overloaded:
            time.sleep(_OVERLOADED_PAUSE)
        with self._work:
            for asked in flight:
                asked.scan.busy = False
                self._budget.arrive(asked.charge, 0)
                asked.scan.error = self._verdict(asked, error)
                if asked.scan.error is not None:
                    self._end(asked.scan)
            self._work.notify_all()

    def _verdict(self, asked: Asked, error: Exception) -> BaseException | None:
        """What ends the scan; None where its page is asked for again."""
        scan = asked.scan
        if isinstance(error, ServerError) and error.smaller_may_work:
            scan.most = fewer(asked.rows)
            scan.refusals += 1
            done = scan.refusals > REFUSALS or asked.rows == 1
            return given_up(scan, error, asked.rows) if done else None
        if isinstance(error, ServerError | DatabaseUnavailable | Unprepared):
            scan.repeats += 1
            return given_up(scan, error, asked.rows) if scan.repeats > REPEATS else None
        if isinstance(error, Refused):
            return DataChanged(f"the table was dropped or altered while it was read: {error}")
        if not isinstance(error, InsituError):
            return ProtocolError(f"a reply could not be taken in: {error!r}")
        return error

    def _end(self, scan: Scan) -> None:
        """Nothing more is fetched; what is here can still be taken."""
        scan.ended = True
        if scan in self._scans:
            self._scans.remove(scan)
        self._arrival.notify_all()
