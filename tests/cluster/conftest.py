"""Real Kubernetes clusters. The shared one is used in namespaces of one's own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from testbed import cluster as kubernetes
from testbed.cluster import Cluster, Image
from tests.cluster.manifests import Space

# Nothing may take a node's name for its host name, or its place in the alphabet for its number.
NAMES = ("quail", "heron", "raven")
HOSTS = {"quail": "host-c", "heron": "host-a", "raven": "host-b"}


@pytest.fixture(scope="session")
def python() -> Image:
    """A Debian with Python."""
    return kubernetes.debian()


@pytest.fixture(scope="session")
def cluster(python: Image) -> Iterator[Cluster]:
    """Three nodes that all tests share: whoever stops something starts it again."""
    labels = {name: {"kubernetes.io/hostname": host} for name, host in HOSTS.items()}
    with kubernetes.start(3, node_names=NAMES, labels=labels, images=[python]) as cluster:
        yield cluster


@pytest.fixture
def space(cluster: Cluster, python: Image) -> Iterator[Space]:
    """A namespace of the shared cluster that ends with the test."""
    space = Space(cluster, f"test-{secrets.token_hex(4)}", python.name)
    cluster.kubectl("create", "namespace", space.name)
    cluster.wait(space.without_account)
    yield space
    cluster.kubectl("delete", "namespace", space.name, "--wait=false")
