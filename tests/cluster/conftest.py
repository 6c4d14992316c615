"""Real Kubernetes clusters. The shared one is used in namespaces of one's own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from testbed import cluster as kubernetes
from testbed import images, s3
from testbed.cluster import Cluster, Image, ignite
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


@pytest.fixture(scope="session")
def operator_image() -> Image:
    """Of the code as it was when the first test asked for it."""
    return images.operator()


@pytest.fixture(scope="session")
def trainer_image() -> Image:
    """Of the code as it was when the first test asked for it; with the lean PyTorch."""
    return images.trainer_torch()


@pytest.fixture(scope="session")
def equipped(python: Image, operator_image: Image, trainer_image: Image) -> Iterator[Cluster]:
    """Three more nodes, with the images of all that a TrainingJob needs."""
    wanted = [python, ignite.image(), operator_image, trainer_image]
    labels = {name: {"kubernetes.io/hostname": host} for name, host in HOSTS.items()}
    with kubernetes.start(3, node_names=NAMES, labels=labels, images=wanted) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def store(equipped: Cluster) -> Iterator[s3.Server]:
    """Where pods there keep checkpoints; use a bucket of your own."""
    with s3.start(equipped.host) as server:
        yield server


@pytest.fixture
def strict(equipped: Cluster, python: Image) -> Iterator[Space]:
    """A namespace there that takes only pods without any privilege."""
    space = Space(equipped, f"test-{secrets.token_hex(4)}", python.name)
    equipped.kubectl("create", "namespace", space.name)
    label = "pod-security.kubernetes.io/enforce=restricted"
    equipped.kubectl("label", "namespace", space.name, label)
    equipped.wait(space.without_account)
    yield space
    equipped.kubectl("delete", "namespace", space.name, "--wait=false")
