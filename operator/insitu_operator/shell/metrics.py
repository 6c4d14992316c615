"""What the operator counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST

_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)
_PASS_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)


class Metrics:
    """One process's numbers, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        ProcessCollector(registry=own)
        self._requests = Counter(
            "insitu_api_requests",
            "Requests to the API server; status 0 is no answer.",
            ("verb", "resource", "status"),
            registry=own,
        )
        self._request_seconds = Histogram(
            "insitu_api_request_seconds",
            "Until the API server had answered.",
            ("verb",),
            buckets=_REQUEST_SECONDS,
            registry=own,
        )
        self._passes = Histogram(
            "insitu_pass_seconds",
            "One look at one job: gather, decide, act, write.",
            ("outcome",),
            buckets=_PASS_SECONDS,
            registry=own,
        )
        self._depth = Gauge("insitu_queue_depth", "Jobs that wait.", ("lane",), registry=own)
        self._jobs = Gauge("insitu_jobs", "TrainingJobs by state.", ("state",), registry=own)
        self._leader = Gauge("insitu_leader", "1 while this replica leads.", registry=own)
        self._polls = Counter(
            "insitu_topology_polls", "Readings of databases.", ("outcome",), registry=own
        )
        self._heartbeats = Counter(
            "insitu_heartbeats", "What trainers posted.", ("outcome",), registry=own
        )
        self._events = Counter(
            "insitu_watch_events", "What watches brought.", ("resource",), registry=own
        )

    def request(self, verb: str, resource: str, status: int, seconds: float) -> None:
        """As `connect` wants to tell it."""
        self._requests.labels(verb, resource, str(status)).inc()
        self._request_seconds.labels(verb).observe(seconds)

    def passed(self, seconds: float) -> None:
        self._passes.labels("done").observe(seconds)

    def failed(self, seconds: float) -> None:
        self._passes.labels("failed").observe(seconds)

    def jobs(self, states: Mapping[str, int]) -> None:
        """How many jobs are in each state; a state that is not named has none."""
        self._jobs.clear()
        for state, count in states.items():
            self._jobs.labels(state).set(count)

    def leading(self, leads: bool) -> None:
        self._leader.set(leads)

    def topology_poll(self, outcome: str) -> None:
        """`read`, or the reason why not."""
        self._polls.labels(outcome).inc()

    def heartbeat(self, outcome: str) -> None:
        """`accepted`, or why it was refused."""
        self._heartbeats.labels(outcome).inc()

    def event(self, resource: str) -> None:
        self._events.labels(resource).inc()

    def render(self, depth: Mapping[str, int]) -> bytes:
        """In the text format of `CONTENT_TYPE`. `depth`: how many jobs wait in each lane."""
        for lane, keys in depth.items():
            self._depth.labels(lane).set(keys)
        return generate_latest(self._registry)
