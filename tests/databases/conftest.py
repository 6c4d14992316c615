"""Real clusters. The shared ones are read and added to; the `fresh_` ones are for the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from testbed import cassandra as cassandra_testbed
from testbed.cassandra import Cluster as CassandraCluster
from testbed.ignite import Cluster, start


@pytest.fixture(scope="session")
def ignite() -> Iterator[Cluster]:
    """Three plain nodes that all tests share: use table names of your own, and stop nothing."""
    with start(nodes=3) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def ignite_tls() -> Iterator[Cluster]:
    """One node that asks clients for a certificate."""
    with start(nodes=1, tls=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def ignite_auth() -> Iterator[Cluster]:
    """One node that asks clients for a password."""
    with start(nodes=1, authentication=True) as cluster:
        yield cluster


@pytest.fixture
def fresh_ignite() -> Iterator[Callable[..., Cluster]]:
    """`testbed.ignite.start`, for tests that kill nodes; what it starts ends with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(start(**options))


@pytest.fixture(scope="session")
def cassandra() -> Iterator[CassandraCluster]:
    """Three plain nodes that all tests share: use keyspaces of your own, and stop nothing."""
    with cassandra_testbed.start(nodes=3) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def cassandra_tls() -> Iterator[CassandraCluster]:
    """One node that asks clients for a certificate."""
    with cassandra_testbed.start(nodes=1, tls=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def cassandra_auth() -> Iterator[CassandraCluster]:
    """One node that asks clients for a password."""
    with cassandra_testbed.start(nodes=1, authentication=True) as cluster:
        yield cluster


@pytest.fixture
def fresh_cassandra() -> Iterator[Callable[..., CassandraCluster]]:
    """`testbed.cassandra.start`, for tests that kill nodes; what it starts ends with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(cassandra_testbed.start(**options))
