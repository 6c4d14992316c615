"""Kubernetes Events about a job.

They are of events.k8s.io/v1, the API that Kubernetes' own components move to: it names what was
done and by whom in fields of their own, where the older one has only a text. Both are one store:
`kubectl describe` and `kubectl get events` show them alike.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from insitu.api import CONTROLLER, GROUP, KIND, VERSION, TrainingJob
from insitu_operator.core.objects.notices import Notice
from insitu_operator.kubernetes import Api, ApiProblem, Json, paths
from insitu_operator.shell.reconciling.problems import nowhere_to_create

log = logging.getLogger(__name__)

_NOTE_BYTES = 1024


class Herald:
    """Args:
    api: Where Events are created.
    instance: Name of this replica.
    """

    def __init__(self, api: Api, instance: str) -> None:
        self._api = api
        self._instance = instance

    async def tell(self, job: TrainingJob, notices: Iterable[Notice], now: datetime) -> None:
        """A notice that can't be posted is not worth another try; the conditions say it too."""
        for notice in notices:
            try:
                await self._api.create(
                    paths.events(job.metadata.namespace), self._event(job, notice, now)
                )
            except ApiProblem as problem:
                if nowhere_to_create(problem):
                    return
                log.warning("an event about %s was lost: %s", job.metadata.name, problem)

    def _event(self, job: TrainingJob, notice: Notice, now: datetime) -> Json:
        metadata = job.metadata
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata.name}-", "namespace": metadata.namespace},
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": notice.reason,
            "reason": notice.reason,
            "type": notice.type,
            "note": notice.message.encode()[:_NOTE_BYTES].decode(errors="ignore"),
            "regarding": {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": KIND,
                "namespace": metadata.namespace,
                "name": metadata.name,
                "uid": metadata.uid,
            },
        }
