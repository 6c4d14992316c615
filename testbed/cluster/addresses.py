"""The address plan of a cluster, so that several run on one machine side by side."""

from __future__ import annotations

from dataclasses import dataclass

# Seen only inside the nodes, so every cluster may use the same.
SERVICES = "10.96.0.0/16"
FIRST_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"

# Each has a /16 of pods, from 10.128.0.0/9.
MOST_CLUSTERS = 100
MOST_NODES = 99


@dataclass(frozen=True, slots=True)
class Addresses:
    """Of cluster `number`, from 1 to `MOST_CLUSTERS`; its nodes are counted from 0.

    The machine itself is 10.77.`number`.1 to the nodes and pods: the API server listens there.
    """

    number: int

    @property
    def host(self) -> str:
        return f"10.77.{self.number}.1"

    @property
    def api_server(self) -> str:
        return f"https://{self.host}:6443"

    @property
    def pods(self) -> str:
        """The range that all pods are in."""
        return f"10.{128 + self.number}.0.0/16"

    def node(self, index: int) -> str:
        return f"10.77.{self.number}.{101 + index}"

    def pods_of(self, index: int) -> str:
        """The range of the pods on one node."""
        return f"10.{128 + self.number}.{101 + index}.0/24"
