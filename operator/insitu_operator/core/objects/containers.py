"""Why a trainer's container does not run, in words."""

from __future__ import annotations

import re

from insitu_operator.core.objects.names import CONTAINER
from insitu_operator.core.objects.owners import Json

# The kubelet says the one after a try and the other until the next, with the same cause.
_TRYING = frozenset({"ErrImagePull", "ImagePullBackOff"})
_BACK_OFF = re.compile(r'Back-off pulling image "[^"]*"(: (ErrImagePull: )?)?')
_PULLING = frozenset(
    {
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_CREATING = frozenset({"ContainerCreating", "PodInitializing"})


def blocked(pod: Json, waiting: Json) -> str:
    """What a bound pod waits for; `waiting` is the state of its container, if it has that."""
    reason, message = steady(waiting.get("reason") or "", waiting.get("message") or "")
    if reason in _TRYING:
        return (
            f"image {_container(pod)['image']} can't be pulled{f': {message}' if message else ''}"
        )
    if reason in _PULLING:
        said = f": {message}" if message else ""
        return f"image {_container(pod)['image']} can't be pulled ({reason}){said}"
    if reason in _CREATING:
        return f"the container is being created, with {_parts(pod)}"
    if reason:
        return f"the container can't be created ({reason}){f': {message}' if message else ''}"
    return _unscheduled(pod)


def steady(reason: str, message: str) -> tuple[str, str]:
    """What a container waits for, in words that stay the same from one try to the next."""
    if reason in _TRYING:
        return "ErrImagePull", _BACK_OFF.sub("", message, count=1).strip()
    return reason, message.strip()


def why_ended(pod: Json, ended: Json) -> str:
    """What the exit code does not say; `ended` is the state of the container."""
    reason, message = ended.get("reason"), (ended.get("message") or "").strip()
    if reason == "OOMKilled":
        limits = (_container(pod).get("resources") or {}).get("limits") or {}
        if limit := limits.get("memory"):
            return f"it needed more memory than its limit, {limit}"
        return "its node ran out of memory"
    if reason in (None, "", "Error", "Completed"):
        return ""
    return f"{reason}: {message}" if message else str(reason)


def unschedulable(pod: Json) -> bool:
    """Whether the scheduler has found no machine for a bound pod, and is making no room for it."""
    if pod["spec"].get("schedulingGates") or pod["spec"].get("nodeName"):
        return False
    found = _scheduled(pod)
    refused = (found.get("status"), found.get("reason")) == ("False", "Unschedulable")
    return refused and not (pod.get("status") or {}).get("nominatedNodeName")


def _scheduled(pod: Json) -> Json:
    conditions: list[Json] = (pod.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == "PodScheduled"), {})


def _unscheduled(pod: Json) -> str:
    scheduled = _scheduled(pod)
    if gates := [gate["name"] for gate in pod["spec"].get("schedulingGates") or []]:
        return f"held by the scheduling gate {', '.join(gates)}"
    if scheduled.get("status") != "False":
        return ""
    reason, message = scheduled.get("reason") or "Unschedulable", scheduled.get("message") or ""
    if reason == "SchedulingGated":  # The condition lags behind the gates that are gone.
        return ""
    return f"{reason}: {message.strip()}" if message else reason


def _parts(pod: Json) -> str:
    """What the kubelet has to get before the container can start."""
    parts = [f"image {_container(pod)['image']}"]
    for volume in pod["spec"].get("volumes") or []:
        if "configMap" in volume:
            parts.append(f"ConfigMap {volume['configMap']['name']}")
        if "persistentVolumeClaim" in volume:
            parts.append(f"PersistentVolumeClaim {volume['persistentVolumeClaim']['claimName']}")
        sources = (volume.get("projected") or {}).get("sources") or []
        parts += [f"Secret {s['secret']['name']}" for s in sources if "secret" in s]
    return ", ".join(parts)


def _container(pod: Json) -> Json:
    """The trainer's; admission webhooks may have put others before it."""
    found: list[Json] = pod["spec"]["containers"]
    return next(each for each in found if each["name"] == CONTAINER)
