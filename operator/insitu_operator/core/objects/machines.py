"""From database nodes to the machines they run on, and whether a trainer can start there."""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Self

from insitu.api import Spec
from insitu.api.trainer import Trainer
from insitu.topology import DatabaseNode, NodeId, Topology
from insitu_operator.core.objects.names import HOSTNAME
from insitu_operator.core.objects.owners import Json
from insitu_operator.core.objects.quantities import quantity, words
from insitu_operator.core.objects.room import Amounts
from insitu_operator.core.objects.taints import REPELLING, Taint, tolerated
from insitu_operator.core.observed import Machine
from insitu_operator.core.record import Record

_CORDON = Taint("node.kubernetes.io/unschedulable", "NoSchedule")


@dataclass(frozen=True)
class NodeState:
    """What placement looks at of a Kubernetes Node; equal as long as nothing of that changed.

    `hostname` is the value of the label `kubernetes.io/hostname`. `lost`: nobody has heard of the
    machine for a while.
    """

    name: str
    hostname: str = ""
    addresses: frozenset[str] = frozenset()
    ready: bool = True
    lost: bool = False
    cordoned: bool = False
    taints: tuple[Taint, ...] = ()
    allocatable: Amounts = field(default_factory=dict)

    @classmethod
    def from_object(cls, node: Json) -> Self:
        """Of a Node as the API server gives it."""
        spec, status = node.get("spec") or {}, node.get("status") or {}
        conditions: list[Json] = status.get("conditions") or []
        ready = next((c for c in conditions if c["type"] == "Ready"), {"status": "Unknown"})
        return cls(
            name=node["metadata"]["name"],
            hostname=(node["metadata"].get("labels") or {}).get(HOSTNAME, ""),
            addresses=frozenset(_plain(a["address"]) for a in status.get("addresses") or []),
            ready=ready["status"] == "True",
            lost=ready["status"] == "Unknown",
            cordoned=bool(spec.get("unschedulable")),
            taints=tuple(
                Taint(t["key"], t["effect"], t.get("value") or "") for t in spec.get("taints") or []
            ),
            allocatable={
                name: quantity(text) for name, text in (status.get("allocatable") or {}).items()
            },
        )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address behind a Service, and the machine it is on."""

    address: str
    node_name: str = ""
    pod: str = ""
    ready: bool = True


def endpoints(slices: Iterable[Json]) -> tuple[Endpoint, ...]:
    """Of all EndpointSlices of one Service, in a stable order."""
    found = {
        Endpoint(
            address=_plain(address),
            node_name=endpoint.get("nodeName") or "",
            pod=(endpoint.get("targetRef") or {}).get("name") or "",
            # Absent means unknown, which is to be taken for ready.
            ready=(endpoint.get("conditions") or {}).get("ready") is not False,
        )
        for part in slices
        for endpoint in part.get("endpoints") or []
        for address in endpoint.get("addresses") or []
    }
    return tuple(sorted(found, key=_order))


def _order(endpoint: Endpoint) -> tuple[str, bool, str, str]:
    return endpoint.address, not endpoint.ready, endpoint.node_name, endpoint.pod


def place(
    spec: Spec,
    topology: Topology,
    found: Sequence[Endpoint],
    nodes: Mapping[str, NodeState],
    *,
    record: Record | None = None,
    used: Mapping[str, Amounts] | None = None,
) -> dict[NodeId, Machine]:
    """The machine of each database node, by its Kubernetes name, with the first problem there.

    `found` are the endpoints of the Service in `spec.data`; they are not looked at when that
    names addresses of its own, which are then searched for among those of the machines. `used`
    is what the pods of others request on each machine. A name is empty where none is known.
    """
    locate = _Addresses.of(found, nodes).locate
    where = {node.id: locate(spec, node) for node in topology.nodes}
    ranks = {part.node for part in record.plan.ranks} if record else where.keys()
    trainers = Counter(m.name for node, m in where.items() if node in ranks)
    shared = Counter(state.hostname for state in nodes.values())
    machines: dict[NodeId, Machine] = {}
    for node, machine in where.items():
        problem = machine.problem
        state = nodes.get(machine.name)
        if not problem and state is None:
            problem = "Kubernetes knows no such node"
        if not problem and state is not None:
            problem = _refusal(state, spec.trainer, unique=shared[state.hostname] == 1) or _full(
                state, spec.trainer, max(1, trainers[state.name]), (used or {}).get(state.name, {})
            )
        machines[node] = Machine(machine.name, problem)
    return machines


def requests(trainer: Trainer) -> dict[str, Decimal]:
    """Of one trainer: what is limited and not requested is requested as far as it is limited."""
    asked = trainer.resources.limits | trainer.resources.requests
    return {name: quantity(text) for name, text in asked.items()}


@dataclass(frozen=True, slots=True)
class _Addresses:
    """Where addresses lead to, looked up once for all database nodes.

    `endpoints` are those of the Service by address and by pod, and `names` the machines by address
    and by name.
    """

    endpoints: Mapping[str, Sequence[Endpoint]]
    pods: Mapping[str, Sequence[Endpoint]]
    names: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, found: Sequence[Endpoint], nodes: Mapping[str, NodeState]) -> Self:
        by_address: defaultdict[str, list[Endpoint]] = defaultdict(list)
        by_pod: defaultdict[str, list[Endpoint]] = defaultdict(list)
        for endpoint in found:
            by_address[endpoint.address].append(endpoint)
            by_pod[endpoint.pod].append(endpoint)
        names: defaultdict[str, list[str]] = defaultdict(list)
        for state in nodes.values():
            for host in {*state.addresses, state.name}:
                names[host].append(state.name)
        return cls(by_address, by_pod, names)

    def locate(self, spec: Spec, node: DatabaseNode) -> Machine:
        """The machine of a database node, or why there is none."""
        host, service = _plain(node.host), spec.data.reach.service
        if service is None:
            if named := self.names.get(host):
                return Machine(min(named))
            return Machine(
                "",
                f"no node of this Kubernetes cluster has its address {node.host}. Where the"
                " database runs in pods of this cluster, name their Service instead of endpoints;"
                " beside one outside of it, train with `insitu run`",
            )
        mine = self._behind(host)
        ready = [e for e in mine if e.ready]
        if not ready:
            text = f"no ready endpoint of Service {service.name} has its address {node.host}"
            if mine and mine[0].pod:
                text += f"; pod {mine[0].pod}, which has it, is not ready"
            return Machine(mine[0].node_name if mine else "", text)
        if not ready[0].node_name:
            where = f"the endpoint {node.host} of Service {service.name}"
            return Machine("", f"{where} is on no node of this cluster")
        return Machine(ready[0].node_name)

    def _behind(self, host: str) -> Sequence[Endpoint]:
        """In the order of `endpoints`."""
        mine = self.endpoints.get(host, ())
        pod = "" if _is_address(host) else host.partition(".")[0]
        if not pod:
            return mine
        return sorted({*mine, *self.pods.get(pod, ())}, key=_order)


def _refusal(state: NodeState, trainer: Trainer, *, unique: bool) -> str:
    tolerations = trainer.template.tolerations
    if not state.ready:
        return "does not answer" if state.lost else "is not ready"
    if state.cordoned and not tolerated(_CORDON, tolerations):
        return "is cordoned: no new pods are put there until `kubectl uncordon`"
    repelling = (t for t in state.taints if t.effect in REPELLING and t.key != _CORDON.key)
    if taint := next((t for t in repelling if not tolerated(t, tolerations)), None):
        return f"has the taint {taint}, which spec.trainer.template.tolerations does not tolerate"
    if not state.hostname:
        return f"has no label {HOSTNAME}, by which trainers are bound"
    if not unique:
        return f"shares its label {HOSTNAME}={state.hostname} with another node"
    return ""


def _full(state: NodeState, trainer: Trainer, count: int, used: Amounts) -> str:
    for resource, each in requests(trainer).items():
        has, taken = state.allocatable.get(resource, Decimal()), used.get(resource, Decimal())
        if each * count <= has - taken or not each:
            continue
        many = "" if count == 1 else f" for {count} trainers"
        left = f", of which other pods request {words(resource, taken)}" if taken else ""
        return (
            f"has too little {resource}{many}: {words(resource, each * count)} are requested,"
            f" and it has {words(resource, has)}{left}"
        )
    return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _plain(host: str) -> str:
    """One way of writing an address."""
    return str(ipaddress.ip_address(host)) if _is_address(host) else host
