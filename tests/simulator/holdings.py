"""How long two gangs each hold a part of what they need."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

from insitu_operator.core.objects.names import JOB
from tests.simulator.store import Store


class Holdings:
    """Call `look` often. `longest` is in seconds, of the pair that did so longest."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._since: dict[tuple[str, ...], float] = {}
        self.longest = 0.0

    def look(self) -> None:
        now = self._store.seconds
        pairs = set(combinations(sorted(self._partly()), 2))
        self._since = {pair: self._since.get(pair, now) for pair in pairs}
        self.longest = max([self.longest, *(now - since for since in self._since.values())])

    def _partly(self) -> set[str]:
        """Jobs some of whose ranks have a machine, while others look for one."""
        placed: defaultdict[str, set[bool]] = defaultdict(set)
        for pod in self._store.of("pods"):
            ended = pod["status"]["phase"] in ("Succeeded", "Failed")
            if not ended and not pod["spec"].get("schedulingGates"):
                placed[pod["metadata"]["labels"][JOB]].add(bool(pod["spec"].get("nodeName")))
        return {job for job, states in placed.items() if len(states) == 2}
