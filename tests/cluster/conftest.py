"""Real Kubernetes clusters. The shared one is used in namespaces of one's own."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator

import pytest

from testbed import cluster as kubernetes
from testbed import images, s3
from testbed.cluster import Cluster, Image, cassandra, ignite
from tests.cluster.databases import CASSANDRA, IGNITE, KINDS
from tests.cluster.manifests import Space
from tests.cluster.sites import TABLE, Release, Site, released, restricted

# Nothing may take a node's name for its host name, or its place in the alphabet for its number.
NAMES = ("quail", "heron", "raven")
HOSTS = {"quail": "host-c", "heron": "host-a", "raven": "host-b"}
ROWS = 500


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
def tensorflow_image() -> Image:
    """The same with TensorFlow."""
    return images.trainer_tensorflow()


@pytest.fixture(scope="session")
def equipped(
    python: Image, operator_image: Image, trainer_image: Image, tensorflow_image: Image
) -> Iterator[Cluster]:
    """Three more nodes, with the images of all that a TrainingJob needs."""
    databases = [kind.image() for kind in KINDS.values()]
    wanted = [python, *databases, operator_image, trainer_image, tensorflow_image]
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
    with strict_space(equipped, python) as space:
        yield space


@contextlib.contextmanager
def strict_space(cluster: Cluster, python: Image) -> Iterator[Space]:
    """As the fixture `strict`, for as long as its user wants."""
    with restricted(cluster, python.name) as space:
        yield space


@pytest.fixture(scope="session")
def release(
    equipped: Cluster, operator_image: Image, trainer_image: Image, tensorflow_image: Image
) -> Iterator[Release]:
    """The operator there, installed with the chart; it serves all namespaces."""
    trainers = {"torch": trainer_image, "tensorflow": tensorflow_image}
    with released(equipped, operator_image, **trainers) as release:
        yield release


@pytest.fixture(scope="session")
def shared_ignite(equipped: Cluster) -> Iterator[ignite.Database]:
    """Three pods there, with a table of 500 rows in 64 partitions, each on two of them.

    Whoever takes a pod waits until the table has all its copies again.
    """
    with restricted(equipped, "", "ignite") as space:
        database = ignite.start(equipped, space.name)
        IGNITE.fill(database, TABLE, ROWS)
        yield database


@pytest.fixture(scope="session")
def shared_cassandra(equipped: Cluster) -> Iterator[cassandra.Database]:
    """Three pods there, with a table of 500 rows, each on two of them.

    Whoever takes a pod waits until all are back.
    """
    with restricted(equipped, "", "cassandra") as space:
        database = cassandra.start(equipped, space.name)
        CASSANDRA.fill(database, TABLE, ROWS)
        yield database


@pytest.fixture
def home(release: Release, shared_ignite: ignite.Database, trainer_image: Image) -> Site:
    """The database's own namespace, for jobs that are gone when the test ends."""
    return Site(Space(shared_ignite.cluster, shared_ignite.namespace, trainer_image.name))


@pytest.fixture
def guest(
    equipped: Cluster,
    release: Release,
    shared_ignite: ignite.Database,
    trainer_image: Image,
) -> Iterator[Site]:
    """A namespace of the test's own, with a Service that leads to the shared database."""
    with restricted(equipped, trainer_image.name) as space:
        site = Site(space)
        site.serve(shared_ignite)
        yield site
