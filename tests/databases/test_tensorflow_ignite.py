"""`IgniteDataset` on real Ignite: what users of the original wrote, and what it could not do."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insitu.databases import connect
from insitu.databases.ignite.binary.encode import write_value
from insitu.databases.ignite.binary.hashes import cache_id
from insitu.databases.ignite.binary.metadata import PUT_BINARY_TYPE, put_request
from insitu.databases.ignite.binary.values import Collection, Map, ObjectArray, Value
from insitu.databases.ignite.protocol.connection import Connection
from insitu.errors import AuthenticationError, ConfigurationError, DatabaseUnavailable
from insitu.tensorflow import IgniteDataset
from insitu.tensorflow.require import tensorflow
from testbed.ignite import Cluster
from tests.databases.jobs import fill
from tests.ignite_values import binary_object, registered

pytestmark = [pytest.mark.ignite, pytest.mark.timeout(180)]

tf = tensorflow()
NOTHING: Mapping[str, str] = {}


class Cache:
    """A new cache of one cluster, and how `IgniteDataset` reads it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.name = f"tensorflow-{uuid.uuid4()}"
        self.host, self.port = cluster.endpoints[0]

    def put(self, entries: Mapping[int, Value], *, like: Value = None) -> Cache:
        """Writes `entries`, whose types are registered by themselves or by a value `like` them."""
        with self.cluster.client() as client:
            client.get_or_create_cache(self.name)
        with Connection.open(self.host, self.port) as connection:
            for key, value in entries.items():
                for kind in registered(like or value):
                    connection.request(PUT_BINARY_TYPE, put_request(kind))
                body = bytearray(struct.pack("<ib", cache_id(self.name), 0))
                write_value(body, key, "key")
                write_value(body, value)
                connection.request(1001, body)
        return self

    def dataset(self, **options: Any) -> Any:
        return IgniteDataset(self.name, self.host, self.port, environ=NOTHING, **options)

    def rows(self, **options: Any) -> dict[int, Any]:
        """Values by key."""
        return {int(row["key"]): row["val"] for row in plain(self.dataset(**options))}


def plain(dataset: Any) -> Iterator[Any]:
    """Elements as Python has them."""

    def one(tensor: Any) -> Any:
        value = tensor.numpy()
        return value if isinstance(value, bytes) else value.tolist()

    for element in dataset:
        yield tf.nest.map_structure(one, element)


@pytest.fixture
def cache(ignite: Cluster) -> Cache:
    return Cache(ignite)


@pytest.fixture(scope="module")
def kittens(ignite: Cluster) -> str:
    ignite.sql("CREATE TABLE KITTEN_CACHE (ID LONG PRIMARY KEY, NAME VARCHAR)")
    for number, name in enumerate(["WARM KITTY", "SOFT KITTY", "LITTLE BALL OF FUR"], 1):
        ignite.sql(f"INSERT INTO KITTEN_CACHE VALUES ({number}, '{name}')")
    return "SQL_PUBLIC_KITTEN_CACHE"


def test_a_table_made_by_sql_is_iterated_as_it_always_was(ignite: Cluster, kittens: str) -> None:
    host, port = ignite.endpoints[0]
    dataset = IgniteDataset(cache_name=kittens, host=host, port=port, environ=NOTHING)
    assert dataset.element_spec == {
        "key": tf.TensorSpec((), tf.int64),
        "val": {"NAME": tf.TensorSpec((), tf.string)},
    }
    assert [str(row) for row in plain(dataset)] == [
        "{'key': 1, 'val': {'NAME': b'WARM KITTY'}}",
        "{'key': 2, 'val': {'NAME': b'SOFT KITTY'}}",
        "{'key': 3, 'val': {'NAME': b'LITTLE BALL OF FUR'}}",
    ]


def test_the_original_loop_with_a_session_still_runs(ignite: Cluster, kittens: str) -> None:
    host, port = ignite.endpoints[0]
    found = []
    with tf.Graph().as_default():
        dataset = IgniteDataset(kittens, host, port, environ=NOTHING)
        next_obj = tf.compat.v1.data.make_one_shot_iterator(dataset).get_next()
        with tf.compat.v1.Session() as session:
            found = [session.run(next_obj) for _ in range(3)]
            with pytest.raises(tf.errors.OutOfRangeError):
                session.run(next_obj)
    assert found[0] == {"key": 1, "val": {"NAME": b"WARM KITTY"}}
    assert [row["key"] for row in found] == [1, 2, 3]


def test_fields_of_nested_objects_are_mapped(cache: Cache) -> None:
    def an_image(number: int) -> Value:
        return binary_object(
            "Image",
            metadata=binary_object("Meta", label=f"l{number}", width=np.int32(800 + number)),
            pixels=bytes([number, 128, 255]),
        )

    cache.put({number: an_image(number) for number in range(1, 5)})
    dataset = cache.dataset()
    assert dataset.element_spec["val"] == {
        "metadata": {"label": tf.TensorSpec((), tf.string), "width": tf.TensorSpec((), tf.int32)},
        "pixels": tf.TensorSpec((None,), tf.uint8),
    }
    assert cache.rows()[2] == {"metadata": {"label": b"l2", "width": 802}, "pixels": [2, 128, 255]}
    pixels = dataset.map(lambda obj: obj["val"]["pixels"]).batch(2)
    found = [row for batch in pixels for row in batch.numpy().tolist()]
    assert sorted(found) == [[number, 128, 255] for number in range(1, 5)]


def test_arrays_of_different_lengths_are_vectors_still(cache: Cache) -> None:
    cache.put({n: binary_object("Vector", x=np.arange(n, dtype=np.float32)) for n in range(4)})
    assert {key: row["x"] for key, row in cache.rows().items()} == {
        n: list(map(float, range(n))) for n in range(4)
    }
    lengths = cache.dataset().map(lambda obj: tf.size(obj["val"]["x"]))
    assert sorted(int(length) for length in lengths) == [0, 1, 2, 3]


def test_nulls_uuids_maps_and_object_arrays_have_a_form(cache: Cache) -> None:
    number = uuid.uuid4()
    full = binary_object(
        "Full",
        id=number,
        age=np.int32(7),
        height=np.float32(1.5),
        name="n",
        counts=Map((("a", np.int32(1)), ("b", np.int32(2)))),
        parts=ObjectArray(tuple(binary_object("Part", x=np.int32(x)) for x in (1, 2, 3))),
        tags=Collection(("t", "u"), 1),
    )
    nothing: dict[str, Any] = dict.fromkeys(full.fields)
    cache.put({1: full, 2: binary_object("Full", **nothing)}, like=full)
    rows = cache.rows()
    assert rows[1] == {
        "id": str(number).encode(),
        "age": 7,
        "height": 1.5,
        "name": b"n",
        "counts": {"key": [b"a", b"b"], "value": [1, 2]},
        "parts": {"x": [1, 2, 3]},
        "tags": [b"t", b"u"],
    }
    assert np.isnan(rows[2].pop("height"))
    assert rows[2] == {
        "id": b"",
        "age": 0,
        "name": b"",
        "counts": {"key": [], "value": []},
        "parts": {"x": []},
        "tags": [],
    }
    with pytest.raises(tf.errors.UnknownError, match="values are null: say what to take"):
        list(cache.dataset(nulls="refuse"))
    said = {"id": "?", "age": -1, "height": 0.0, "name": "?", "counts": {}, "parts": [], "tags": []}
    assert cache.rows(nulls=said)[2]["age"] == -1


def test_objects_of_several_schemas_have_the_fields_of_all(cache: Cache) -> None:
    cache.put({1: binary_object("Grown", a=np.int64(1))})
    cache.put({2: binary_object("Grown", a=np.int64(2), b="new")})
    assert cache.rows() == {1: {"a": 1, "b": b""}, 2: {"a": 2, "b": b"new"}}


def test_an_empty_cache_is_an_empty_dataset(cache: Cache, ignite: Cluster) -> None:
    assert list(cache.put({}).dataset()) == []
    ignite.sql("CREATE TABLE NO_KITTENS (ID LONG PRIMARY KEY, NAME VARCHAR)")
    dataset = IgniteDataset("NO_KITTENS", cache.host, cache.port, environ=NOTHING)
    assert dataset.element_spec["val"] == {"NAME": tf.TensorSpec((), tf.string)}
    assert list(dataset) == []


def test_keys_and_values_that_are_no_objects_stand_for_themselves(cache: Cache) -> None:
    cache.put({1: np.float32(0.5), 2: np.float32(1.5)})
    assert cache.rows() == {1: 0.5, 2: 1.5}
    assert cache.dataset().element_spec["val"] == tf.TensorSpec((), tf.float32)


def test_variables_win_over_arguments(ignite: Cluster, kittens: str) -> None:
    host, port = ignite.endpoints[1]
    environ = {"IGNITE_DATASET_HOST": host, "IGNITE_DATASET_PORT": str(port)}
    environ |= {"IGNITE_DATASET_CACHE_NAME": kittens}
    assert len(list(IgniteDataset("none", "127.0.0.9", 1, environ=environ))) == 3
    found = []
    for part in ("0-511", "512-1023"):
        found += list(plain(IgniteDataset("x", environ={**environ, "IGNITE_DATASET_PART": part})))
    assert sorted(row["key"] for row in found) == [1, 2, 3]


def test_local_reads_what_that_node_is_the_primary_of(ignite: Cluster, kittens: str) -> None:
    found = [
        row["key"]
        for host, port in ignite.endpoints
        for row in plain(IgniteDataset(kittens, host, port, local=True, environ=NOTHING))
    ]
    assert sorted(found) == [1, 2, 3]


def test_one_partition_is_read_by_its_number(ignite: Cluster, kittens: str) -> None:
    host, port = ignite.endpoints[0]
    [row] = plain(IgniteDataset(kittens, host, port, part=2, environ=NOTHING))
    assert row["key"] == 2


def test_the_schema_may_be_asked_for_elsewhere(ignite: Cluster, kittens: str) -> None:
    host, port = ignite.endpoints[0]
    other = ignite.endpoints[1]
    dataset = IgniteDataset(kittens, host, port, *other, True, environ=NOTHING)
    by_name = IgniteDataset(kittens, host, port, local=True, environ=NOTHING)
    assert list(plain(dataset)) == list(plain(by_name))
    with pytest.raises(ConfigurationError, match="fourth argument is schema_host"):
        IgniteDataset(kittens, host, port, False, -1, environ=NOTHING)  # type: ignore[arg-type]


def test_decimals_come_as_text(cache: Cache) -> None:
    cache.put({1: binary_object("Priced", price=Decimal("1.50"))})
    assert cache.dataset().element_spec["val"]["price"] == tf.TensorSpec((), tf.string)
    assert Decimal(cache.rows()[1]["price"].decode()) == Decimal("1.5")


@pytest.mark.parametrize("column", ["BINARY", "VARBINARY"])
def test_a_column_of_bytes_with_nulls_ends_no_process(ignite: Cluster, column: str) -> None:
    """TensorFlow's `unbatch` did, at the null among values of one length."""
    table = f"SEGT_{column}"
    ignite.sql(f"CREATE TABLE {table} (ID INT PRIMARY KEY, B {column})")
    values = ", ".join(f"({n}, {'NULL' if n == 100 else repr('0102')})" for n in range(300))
    ignite.sql(f"INSERT INTO {table} VALUES {values}".replace("'0102'", "x'0102'"))
    host, port = ignite.endpoints[0]
    rows = list(plain(IgniteDataset(table, host, port, environ=NOTHING)))
    assert {row["key"]: row["val"]["B"] for row in rows} == {
        n: [] if n == 100 else [1, 2] for n in range(300)
    }


def test_tls_verifies_the_server(ignite_tls: Cluster) -> None:
    fill(ignite_tls, "T", 1, backups=0)
    host, port = ignite_tls.endpoints[0]
    tls = ignite_tls.tls
    assert tls
    mine: dict[str, Any] = {"certfile": str(tls.certificate), "keyfile": str(tls.key)}
    mine |= {"environ": NOTHING}
    [row] = plain(IgniteDataset("T", host, port, cafile=str(tls.ca), **mine))
    assert row == {"key": 0, "val": {"x": 0.0}}
    with pytest.raises(AuthenticationError):
        IgniteDataset("T", host, port, **mine)


def test_a_user_logs_in_by_arguments_or_variables(ignite_auth: Cluster) -> None:
    fill(ignite_auth, "U", 2, backups=0)
    host, port = ignite_auth.endpoints[0]
    who = ignite_auth.credentials
    assert who
    login = (who.username, who.password)
    said = IgniteDataset("U", host, port, None, None, False, -1, 100, *login, environ={})
    assert len(list(said)) == 2
    named = {"IGNITE_DATASET_USERNAME": who.username, "IGNITE_DATASET_PASSWORD": who.password}
    assert len(list(IgniteDataset("U", host, port, environ=named))) == 2
    with pytest.raises(AuthenticationError):
        IgniteDataset("U", host, port, username=who.username, password="no", environ={})


def test_what_cannot_work_is_said(ignite: Cluster, tmp_path: Path) -> None:
    host, port = ignite.endpoints[0]
    with pytest.raises(ConfigurationError, match="no cache or SQL table 'KITTENS'"):
        IgniteDataset("KITTENS", host, port, environ=NOTHING)
    with pytest.raises(ConfigurationError, match="keyfile is given without"):
        IgniteDataset("K", host, port, keyfile=str(tmp_path), environ=NOTHING)
    with pytest.raises(ConfigurationError, match="IGNITE_DATASET_PORT='no' is not a whole"):
        IgniteDataset("K", host, port, environ={"IGNITE_DATASET_PORT": "no"})
    with pytest.raises(DatabaseUnavailable):
        IgniteDataset("K", "127.0.0.1", 1, environ=NOTHING)


def test_the_places_of_columns_follow_keys_and_fields(ignite: Cluster, kittens: str) -> None:
    database = connect(ignite.source(kittens))
    assert database.places() == {"ID": ("key",), "NAME": ("val", "NAME")}  # type: ignore[attr-defined]
    database.close()
