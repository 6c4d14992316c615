"""Marks the pod that leads, so that a Service can find it: trainers post to the leader only."""

from __future__ import annotations

from insitu_operator.kubernetes import Api, paths

LEADER = "insitu.dev/leader"


async def mark(api: Api, namespace: str, pod: str, *, leads: bool) -> None:
    """Sets the label, or takes it away.

    Raises:
        ApiProblem: that did not work.
    """
    labels = {LEADER: "true" if leads else None}
    await api.merge(paths.pod(namespace, pod), {"metadata": {"labels": labels}})
