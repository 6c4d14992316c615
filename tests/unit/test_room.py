"""How the operator asks what is left on machines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

from insitu_operator.kubernetes import Api, ApiProblem, Json
from insitu_operator.kubernetes.paths import target
from insitu_operator.shell.reconciling.room import FORBIDDEN_SECONDS, REMEMBERED_SECONDS, Room


class Pods:
    """An API server with the same pods on each machine."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked: list[str] = []
        self.now = 0.0

    async def list(self, path: str, *, fields: str) -> Any:
        self.asked.append(fields.removeprefix("spec.nodeName="))
        if self.status != 200:
            raise ApiProblem("list", target(path), self.status, "Forbidden", _NO)
        return [_POD]

    def room(self) -> Room:
        return Room(cast("Api", self), lambda: self.now)


_NO = 'pods is forbidden: User "it" cannot list resource "pods"'
_POD: Json = {
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
}


def taken(room: Room, *machines: str) -> Mapping[str, Any]:
    return asyncio.run(room.taken(machines, "mine"))


def test_each_machine_is_asked_about_once_for_jobs_that_come_together() -> None:
    pods = Pods()
    room = pods.room()
    assert taken(room, "a", "b", "a") == {m: {"cpu": Decimal(1)} for m in "ab"}
    assert taken(room, "b", "c").keys() == {"b", "c"}
    assert pods.asked == ["a", "b", "c"]


def test_an_answer_is_soon_too_old() -> None:
    pods = Pods()
    room = pods.room()
    taken(room, "a")
    pods.now += REMEMBERED_SECONDS
    taken(room, "a")
    assert pods.asked == ["a", "a"]


def test_without_the_right_nothing_is_known_and_it_is_asked_for_again_much_later() -> None:
    pods = Pods(status=403)
    room = pods.room()
    assert taken(room, "a") == {}
    assert taken(room, "b") == {}
    assert pods.asked == ["a"]
    pods.status, pods.now = 200, FORBIDDEN_SECONDS
    assert taken(room, "a").keys() == {"a"}
