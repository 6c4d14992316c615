"""The facts that policies decide on, drawn once from what was observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from insitu.api import (
    Condition,
    ConditionStatus,
    ConditionType,
    OnChange,
    Reason,
    Spec,
    Status,
)
from insitu.topology import Topology
from insitu_operator.core import fit
from insitu_operator.core.observed import Observed, State, Worker
from insitu_operator.core.record import Record

SETTLE_SECONDS = 30.0
"""How long moving shards may hold up a start or a new plan; their owners stay readable."""


@dataclass(frozen=True)
class World:
    """One observation at one time."""

    observed: Observed
    now: datetime

    @property
    def spec(self) -> Spec:
        return self.observed.job.spec

    @property
    def status(self) -> Status:
        """As it was last written."""
        return self.observed.job.status

    @property
    def record(self) -> Record | None:
        return self.observed.record

    @property
    def generation(self) -> int:
        """Of the recorded plan; 0 before the first."""
        return self.record.generation if self.record else 0

    @cached_property
    def bound(self) -> bool:
        """Whether all ranks of the recorded plan have been started once.

        Whoever started the last of them may not have lived to say so in the status.
        """
        if self.record is None:
            return False
        started = {w.rank for w in self.current}
        return (
            self.status.generation >= self.generation or len(started) == self.record.plan.world_size
        )

    @cached_property
    def current(self) -> tuple[Worker, ...]:
        """The workers that were bound to the recorded plan, by rank.

        Somebody may scale a Job up: a rank that the plan does not have is nobody's.
        """
        if self.record is None:
            return ()
        mine = (
            w
            for w in self.observed.workers
            if w.generation == self.generation
            and w.state is not State.WAITING
            and w.rank < self.record.plan.world_size
        )
        return tuple(sorted(mine, key=lambda w: w.rank))

    @cached_property
    def waiting(self) -> tuple[Worker, ...]:
        """Places of the recorded plan that nothing is bound to yet."""
        mine = (None, self.generation)
        return tuple(
            w for w in self.observed.workers if w.state is State.WAITING and w.generation in mine
        )

    @cached_property
    def living(self) -> tuple[Worker, ...]:
        """Of any generation."""
        return tuple(w for w in self.observed.workers if w.living)

    @cached_property
    def older(self) -> tuple[Worker, ...]:
        """Workers of earlier generations that have ended, or were never bound, and are there."""
        return tuple(
            w
            for w in self.observed.workers
            if not w.living and w.generation is not None and w.generation < self.generation
        )

    @property
    def highest(self) -> int:
        """The highest generation that this job has ever had; 0 before the first.

        More than `generation` only where the record was lost.
        """
        seen = (w.generation for w in self.observed.workers if w.generation is not None)
        return max(self.generation, self.status.generation, *seen)

    @cached_property
    def broken(self) -> bool:
        """A rank of the current generation failed or vanished after all had been started."""
        if any(w.state is State.FAILED for w in self.current):
            return True
        if self.record is None or not self.bound or self.let_go:
            return False
        return len({w.rank for w in self.current}) < self.record.plan.world_size

    @cached_property
    def vanished(self) -> Mapping[int, str]:
        """Ranks that were bound and left nothing behind, though nobody had been seen to ask them.

        With why, if that was last said of them.
        """
        if self.record is None or not self.bound or self.let_go:
            return {}
        there, last = {w.rank for w in self.current}, {n.rank: n for n in self.status.nodes}
        return {
            part.rank: last[part.rank].reason if part.rank in last else ""
            for part in self.record.plan.ranks
            if part.rank not in there
            and not (part.rank in last and last[part.rank].state in ("Stopping", "Stopped"))
        }

    @property
    def let_go(self) -> bool:
        """The ranks of the recorded plan are gone on purpose, which is no failure.

        Either a suspension has told them to leave, and it may have been lifted since; or there is
        no status that tells of them, because the plan is an earlier run's.
        """
        held = self.status.condition(ConditionType.SUSPENDED)
        if self.record is None or self.current:
            return False
        return (
            held is None
            or self.status.is_true(ConditionType.SUSPENDED)
            or held.last_transition_time > self.record.at
            or self._told_to_leave(held)
        )

    @property
    def suspending(self) -> bool:
        """Whether the ranks have been told to leave for a suspension, and have not all left.

        True also where the suspension was lifted meanwhile: it is carried out to its end first,
        since ranks that were told to leave can't be called back.
        """
        held = self.status.condition(ConditionType.SUSPENDED)
        return held is not None and bool(self.current) and self._told_to_leave(held)

    def _told_to_leave(self, held: Condition) -> bool:
        """Whether `held` says so of the ranks of the recorded plan, and not of earlier ones."""
        if self.status.generation != self.generation:
            return False
        return held.status is ConditionStatus.TRUE or held.reason is Reason.STOPPING

    @property
    def grace_seconds(self) -> float:
        """For a trainer to commit and leave."""
        return float(self.spec.trainer.template.termination_grace_period_seconds)

    @property
    def topology(self) -> Topology | None:
        """Of the newest reading, when the newest try to read worked."""
        reading = self.observed.reading
        return reading.topology if reading and not self.observed.unread else None

    @cached_property
    def misfit(self) -> str:
        """Why the recorded plan is out of date by the newest reading; empty if it is not."""
        reading = self.observed.reading
        if self.record is None or reading is None:
            return ""
        return fit.misfit(self.record.plan, reading.topology, self.spec.placement.locality)

    @property
    def missing_rows(self) -> str:
        """How many rows of the first count are gone, in words; empty if none or nobody cares.

        Only a settled topology is believed: while copies move or are missing, counts are too.
        """
        topology, record = self.topology, self.record
        if topology is None or record is None or self.spec.data.on_change is OnChange.CONTINUE:
            return ""
        if topology.orphans or topology.moving or topology.rows is None or record.rows is None:
            return ""
        gone = record.rows - topology.rows
        if gone <= 0:
            return ""
        return (
            f"the table has {topology.rows} rows, but had {record.rows} when the job first counted"
            f" them: {gone} are gone"
        )

    @property
    def node_gone(self) -> bool:
        """A database node of the plan is not in the newest reading."""
        reading = self.observed.reading
        return (
            self.record is not None
            and reading is not None
            and any(part.node not in reading.topology.node for part in self.record.plan.ranks)
        )

    @cached_property
    def unsettled_for(self) -> float | None:
        """Seconds of moving shards that still have to be waited for; None when settled."""
        topology = self.topology
        if topology is None or not topology.moving or self.node_gone:
            return None
        resolved = self.status.condition(ConditionType.TOPOLOGY_RESOLVED)
        since = self.now
        if resolved and not self.status.is_true(ConditionType.TOPOLOGY_RESOLVED):
            since = resolved.last_transition_time
        left = SETTLE_SECONDS - (self.now - since).total_seconds()
        return left if left > 0 else None

    def read_since(self, moment: datetime | None) -> bool:
        """Whether the newest reading began after `moment`."""
        reading = self.observed.reading
        return reading is not None and (moment is None or reading.at > moment)

    def seconds_until(self, moment: datetime) -> float:
        """From now; 0 for what is past."""
        return max(0.0, (moment - self.now) / timedelta(seconds=1))
