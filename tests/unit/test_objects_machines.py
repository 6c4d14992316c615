"""Beside which machine a rank has to be, and what may be wrong with it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from insitu.api import Spec
from insitu.api.trainer import Quantity, Toleration
from insitu.topology import NodeId
from insitu_operator.core.objects.machines import Endpoint, NodeState, endpoints, place
from insitu_operator.core.objects.owners import Json
from insitu_operator.core.objects.quantities import quantity, words
from insitu_operator.core.objects.taints import Taint, tolerated
from insitu_operator.core.observed import Machine
from tests.unit.job_builders import Scene, job, topology
from tests.unit.pod_builders import node, states

_AMOUNT = TypeAdapter(Quantity).json_schema()["anyOf"][1]["pattern"]
SERVICE = {"ignite": {"service": {"name": "ignite", "port": 10800}, "cache": "DIGITS"}}
NODES = states(*(node(f"node-{n}") for n in "abc"))
ENDPOINTS = tuple(Endpoint(f"host-{n}", f"node-{n}", f"ignite-{n}") for n in "abc")


def spec(**trainer: Any) -> Spec:
    return job(data=SERVICE, trainer={"command": ["train"], **trainer}).spec


def problem_of(state: Json, spec: Spec, **more: Any) -> str:
    """Of the machine of database node a."""
    nodes = NODES | states(state)
    return place(spec, topology(), ENDPOINTS, nodes, **more)[NodeId("a")].problem


class TestWhere:
    def test_the_service_says_on_which_machine_a_database_node_is(self) -> None:
        found = place(spec(), topology(), ENDPOINTS, NODES)
        assert found == {NodeId(n): Machine(f"node-{n}") for n in "abc"}

    def test_an_address_that_the_service_does_not_know_is_named(self) -> None:
        found = place(spec(), topology(), ENDPOINTS[1:], NODES)[NodeId("a")]
        assert found == Machine("", "no ready endpoint of Service ignite has its address host-a")

    def test_a_database_pod_that_is_not_ready_is_named(self) -> None:
        away = Endpoint("host-a", "node-a", "ignite-0", ready=False)
        found = place(spec(), topology(), (away,), NODES)[NodeId("a")]
        assert found.name == "node-a"
        assert "pod ignite-0, which has it, is not ready" in found.problem

    def test_a_database_that_calls_itself_by_its_pods_name_is_found(self) -> None:
        found = [Endpoint("10.0.0.7", "node-a", "host-a")]
        assert place(spec(), topology("a"), found, NODES)[NodeId("a")] == Machine("node-a")

    def test_outside_kubernetes_the_machines_own_addresses_count(self) -> None:
        nodes = states(node("x", addresses=["host-a"]), node("host-b"), node("y"))
        found = place(job().spec, topology(), (), nodes)
        assert [found[NodeId(n)].name for n in "abc"] == ["x", "host-b", ""]
        assert found[NodeId("c")].problem == (
            "no node of this Kubernetes cluster has its address host-c. Where the database runs in"
            " pods of this cluster, name their Service instead of endpoints; beside one outside of"
            " it, train with `insitu run`"
        )

    def test_a_machine_that_kubernetes_does_not_know_is_a_problem(self) -> None:
        assert "no such node" in place(spec(), topology(), ENDPOINTS, {})[NodeId("a")].problem

    def test_slices_give_every_address_with_its_machine(self) -> None:
        target = {"kind": "Pod", "name": "ignite-0"}
        ready: Json = {"addresses": ["10.0.0.7"], "nodeName": "node-a", "targetRef": target}
        away = {"addresses": ["fd00::0:1"], "nodeName": "node-b", "conditions": {"ready": False}}
        found = endpoints([{"endpoints": [ready]}, {"endpoints": [away, ready]}, {}])
        assert found == (
            Endpoint("10.0.0.7", "node-a", "ignite-0"),
            Endpoint("fd00::1", "node-b", ready=False),
        )


class TestProblems:
    @pytest.mark.parametrize(
        ("state", "words"),
        [
            (node("node-a", ready="False"), "is not ready"),
            (node("node-a", ready="Unknown"), "does not answer"),
            (node("node-a", cordoned=True), "is cordoned"),
            (node("node-a", labels={}), "no label kubernetes.io/hostname"),
            (node("node-a", labels={"kubernetes.io/hostname": "NODE-B"}), "with another node"),
            (node("node-a", taints=[{"key": "db", "effect": "NoSchedule"}]), "taint db:NoSchedule"),
        ],
    )
    def test_a_machine_that_takes_no_trainer_says_why(self, state: Json, words: str) -> None:
        assert words in problem_of(state, spec())

    def test_what_the_trainer_tolerates_is_no_problem(self) -> None:
        taint = {"key": "db", "value": "ignite", "effect": "NoExecute"}
        asked = spec(template={"tolerations": [{"key": "db", "operator": "Exists"}]})
        assert problem_of(node("node-a", taints=[taint]), asked) == ""

    def test_a_wish_of_the_machine_is_no_problem(self) -> None:
        taint = {"key": "db", "effect": "PreferNoSchedule"}
        assert problem_of(node("node-a", taints=[taint]), spec()) == ""

    def test_too_little_room_names_resource_wanted_and_there(self) -> None:
        asked = spec(resources={"requests": {"cpu": "4500m", "memory": "1Gi"}})
        assert problem_of(node("node-a"), asked) == (
            "has too little cpu: 4500m are requested, and it has 4"
        )

    def test_what_is_limited_is_requested(self) -> None:
        asked = spec(resources={"limits": {"nvidia.com/gpu": "1"}})
        assert "nvidia.com/gpu: 1 are requested, and it has 0" in problem_of(node("node-a"), asked)
        asked = spec(resources={"limits": {"cpu": "9"}, "requests": {"cpu": "1"}})
        assert problem_of(node("node-a"), asked) == ""

    def test_two_database_nodes_on_one_machine_need_room_for_two_trainers(self) -> None:
        found = (Endpoint("host-a", "node-a"), Endpoint("host-b", "node-a"), ENDPOINTS[2])
        asked = spec(resources={"requests": {"memory": "5Gi"}})
        machines = place(asked, topology(), found, NODES)
        assert "for 2 trainers: 10Gi are requested, and it has 8Gi" in machines[NodeId("a")].problem
        assert machines[NodeId("c")].problem == ""

    def test_only_ranks_of_the_plan_need_room(self) -> None:
        record = Scene().read("ab").tick().record
        found = (ENDPOINTS[0], ENDPOINTS[1], Endpoint("host-c", "node-b"))
        asked = spec(resources={"requests": {"memory": "5Gi"}})
        machines = place(asked, topology(), found, NODES, record=record)
        assert machines[NodeId("b")].problem == ""

    def test_what_other_pods_request_is_not_there(self) -> None:
        asked = spec(resources={"requests": {"cpu": "2"}})
        used = {"node-a": {"cpu": Decimal("2.5")}}
        assert problem_of(node("node-a"), asked, used=used) == (
            "has too little cpu: 2 are requested, and it has 4, of which other pods request 2500m"
        )

    def test_a_nodes_heartbeat_changes_nothing_about_its_state(self) -> None:
        before, after = node("node-a"), node("node-a")
        after["status"]["conditions"][0]["lastHeartbeatTime"] = "2026-01-01T12:00:00Z"
        after["metadata"]["resourceVersion"] = "77"
        assert NodeState.from_object(before) == NodeState.from_object(after)


class TestTolerations:
    @pytest.mark.parametrize(
        ("toleration", "matches"),
        [
            ({"key": "db", "value": "ignite", "effect": "NoSchedule"}, True),
            ({"key": "db", "value": "ignite"}, True),
            ({"key": "db", "operator": "Exists"}, True),
            ({"operator": "Exists"}, True),
            ({"key": "db"}, False),
            ({"key": "db", "value": "other"}, False),
            ({"key": "db", "operator": "Exists", "effect": "NoExecute"}, False),
            ({"key": "d", "operator": "Exists"}, False),
            ({"value": "ignite"}, False),
        ],
    )
    def test_it_matches_as_in_kubernetes(self, toleration: Json, matches: bool) -> None:
        taint = Taint("db", "NoSchedule", "ignite")
        assert tolerated(taint, [Toleration.model_validate(toleration)]) is matches


class TestQuantities:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("0", "0"),
            ("3920m", "3.92"),
            ("0.5", "0.5"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e3", "1000"),
            ("12E-1", "1.2"),
            ("1E", "1e18"),
            ("100n", "1e-7"),
            ("1k", "1000"),
            ("4016580Ki", "4112977920"),
            ("1.5Gi", "1610612736"),
            ("-2M", "-2000000"),
        ],
    )
    def test_it_is_read_as_in_kubernetes(self, text: str, value: str) -> None:
        assert quantity(text) == Decimal(value)

    @pytest.mark.parametrize("text", ["", "Gi", "1K", "1 Gi", "1ki", "one", "1e", "1.2.3"])
    def test_anything_else_is_none(self, text: str) -> None:
        with pytest.raises(ValueError, match="is no quantity"):
            quantity(text)

    @given(st.from_regex(_AMOUNT[1:-1], fullmatch=True))
    def test_every_amount_that_a_job_may_ask_for_is_one(self, text: str) -> None:
        assert quantity(text) >= 0

    @given(st.integers(0, 10**9), st.sampled_from(["m", "", "k", "M", "Ki", "Gi"]))
    def test_a_suffix_scales(self, number: int, suffix: str) -> None:
        assert quantity(f"{number}{suffix}") == number * quantity(f"1{suffix}")

    @given(st.integers(1, 10**6))
    def test_cores_in_words_mean_the_same(self, thousandths: int) -> None:
        value = Decimal(thousandths) / 1000
        assert quantity(words("cpu", value)) == value
