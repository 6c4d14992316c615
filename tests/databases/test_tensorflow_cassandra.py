"""`CassandraDataset` on real Cassandra: the twin of `IgniteDataset`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from insitu.tensorflow import CassandraDataset
from insitu.tensorflow.require import tensorflow
from testbed.cassandra import Cluster, start

pytestmark = [pytest.mark.cassandra, pytest.mark.timeout(240)]

tf = tensorflow()
NOTHING: Mapping[str, str] = {}


@pytest.fixture(scope="module")
def cassandra() -> Iterator[Cluster]:
    with start(nodes=1) as cluster:
        cluster.keyspace("k")
        yield cluster


def test_rows_have_their_primary_key_as_key(cassandra: Cluster) -> None:
    cassandra.cql("CREATE TABLE k.kittens (id bigint PRIMARY KEY, name text, tags list<text>)")
    cassandra.cql("INSERT INTO k.kittens (id, name, tags) VALUES (1, 'WARM KITTY', ['a', 'b'])")
    cassandra.cql("INSERT INTO k.kittens (id) VALUES (2)")
    host, port = cassandra.endpoints[0]
    dataset = CassandraDataset("k", "kittens", host, port, environ=NOTHING)
    assert dataset.element_spec["key"] == tf.TensorSpec((), tf.int64)
    assert {row["key"]: row["val"] for row in plain(dataset)} == {
        1: {"name": b"WARM KITTY", "tags": [b"a", b"b"]},
        2: {"name": b"", "tags": []},
    }


def test_a_key_of_several_columns_is_a_dictionary(cassandra: Cluster) -> None:
    cassandra.cql("CREATE TABLE k.wide (a int, b text, c float, PRIMARY KEY (a, b))")
    for number in range(20):
        cassandra.cql(f"INSERT INTO k.wide (a, b, c) VALUES ({number % 4}, 'b{number}', {number})")
    host, port = cassandra.endpoints[0]
    environ = {"CASSANDRA_DATASET_HOST": host, "CASSANDRA_DATASET_PORT": str(port)}
    rows = list(plain(CassandraDataset("k", "wide", environ=environ)))
    assert sorted(row["val"]["c"] for row in rows) == list(range(20))
    for row in rows:
        number = int(row["val"]["c"])
        assert row["key"] == {"a": number % 4, "b": f"b{number}".encode()}


def plain(dataset: Any) -> Iterator[Any]:
    """Elements as Python has them."""

    def one(tensor: Any) -> Any:
        value = tensor.numpy()
        return value if isinstance(value, bytes) else value.tolist()

    for element in dataset:
        yield tf.nest.map_structure(one, element)
