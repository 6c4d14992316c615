"""`insitu load` as a user runs it: files in, rows out, and a clear word when it can't be."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

import click.testing
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from insitu.databases import connect
from insitu_operator.cli.load import load
from testbed.ignite import Cluster

pytestmark = pytest.mark.ignite


def invoke(cluster: Cluster, table: str, *arguments: object) -> click.testing.Result:
    host, port = cluster.endpoints[0]
    fixed = ["--ignite", f"{host}:{port}", "--table", table, "--template", "p7"]
    return click.testing.CliRunner().invoke(
        load, [str(argument) for argument in (*fixed, *arguments)], catch_exceptions=False
    )


def run(cluster: Cluster, table: str, *arguments: object) -> str:
    """Everything that a load prints, which has to go well."""
    result = invoke(cluster, table, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(problem: str, cluster: Cluster, table: str, *arguments: object) -> None:
    """A load has to say `problem`, a pattern, and to call it the user's to correct."""
    result = invoke(cluster, table, *arguments)
    assert re.search(problem, result.output), result.output
    assert result.exit_code != 0


def parquet(folder: Path, /, file: str = "a.parquet", **columns: Sequence[object]) -> Path:
    pa.parquet.write_table(pa.table(columns), folder / file)
    return folder / file


def csv(folder: Path, text: str) -> Path:
    path = folder / "a.csv"
    path.write_text(text)
    return path


def npz(folder: Path, **arrays: object) -> Path:
    np.savez(folder / "a.npz", **arrays)  # type: ignore[arg-type]
    return folder / "a.npz"


def content(cluster: Cluster, table: str) -> pa.Table:
    with contextlib.closing(connect(cluster.source(table))) as database:
        topology = database.topology()
        batches = []
        for node in topology.nodes:
            with contextlib.closing(database.reader(node)) as reader:
                mine = [shard for shard in topology.shards if shard.owners[0] == node.id]
                batches += [batch for shard in mine for batch in reader.open(shard.id)]
        return pa.Table.from_batches(batches, database.schema())


def test_parquet_is_loaded_by_its_key(ignite: Cluster, tmp_path: Path) -> None:
    path = parquet(tmp_path, number=range(20_000), text=[f"row {n}" for n in range(20_000)])
    output = run(ignite, "LOAD_PARQUET", path, "--key", "number", "--backups", 2)
    assert "creating table LOAD_PARQUET with template p7, backups 2" in output
    assert output.splitlines()[-1].endswith("table LOAD_PARQUET has 20,000 rows")
    assert content(ignite, "LOAD_PARQUET").sort_by("number") == pa.parquet.read_table(path)


def test_csv_is_loaded_with_the_types_it_seems_to_have(ignite: Cluster, tmp_path: Path) -> None:
    path = csv(tmp_path, "name,height,when\nanna,1.5,2026-01-02\nbob,,2026-03-04\n")
    run(ignite, "LOAD_CSV", path, "--key", "name")
    found = content(ignite, "LOAD_CSV").sort_by("name").to_pydict()
    assert found["name"] == ["anna", "bob"]
    assert found["height"] == [1.5, None]


def test_arrays_become_columns_and_rows_are_numbered(ignite: Cluster, tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    output = run(ignite, "load_npz", npz(tmp_path, pixels=pixels, label=np.array([5, 6, 7])))
    assert "numbered from 0 in a new column 'id'" in output
    assert "column pixels: 2 x 2 values a row" in output
    assert content(ignite, "load_npz").sort_by("id").to_pydict() == {
        "id": [0, 1, 2],
        "pixels": [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]],
        "label": [5, 6, 7],
    }


def test_a_load_can_be_repeated(ignite: Cluster, tmp_path: Path) -> None:
    path = npz(tmp_path, label=np.arange(5000))
    run(ignite, "LOAD_TWICE", path)
    output = run(ignite, "LOAD_TWICE", path)
    assert "table LOAD_TWICE exists, with 5,000 rows" in output
    assert output.splitlines()[-1].endswith("table LOAD_TWICE has 5,000 rows")


def test_several_files_are_one_table(ignite: Cluster, tmp_path: Path) -> None:
    first = parquet(tmp_path, "a.parquet", v=[1, 2])
    second = parquet(tmp_path, "b.parquet", v=[3])
    run(ignite, "LOAD_FILES", first, second)
    found = content(ignite, "LOAD_FILES").sort_by("id").to_pydict()
    assert found == {"id": [0, 1, 2], "v": [1, 2, 3]}


def test_a_secured_cluster_is_loaded_with_a_password_from_a_file(
    ignite_auth: Cluster, tmp_path: Path
) -> None:
    assert ignite_auth.credentials is not None
    password = tmp_path / "password"
    password.write_text(ignite_auth.credentials.password + "\n")
    login = ("--username", "ignite", "--password-file", password)
    output = run(ignite_auth, "LOAD_AUTH", npz(tmp_path, v=np.arange(3)), *login)
    assert output.splitlines()[-1].endswith("has 3 rows")
    password.write_text("wrong")
    again = npz(tmp_path, v=np.arange(3))
    refused("refused user 'ignite'", ignite_auth, "LOAD_AUTH", again, *login)


def test_a_tls_cluster_is_loaded_with_certificates(ignite_tls: Cluster, tmp_path: Path) -> None:
    tls = ignite_tls.tls
    assert tls is not None
    files = ("--ca", tls.ca, "--certificate", tls.certificate, "--certificate-key", tls.key)
    output = run(ignite_tls, "LOAD_TLS", npz(tmp_path, v=np.arange(3)), *files)
    assert output.splitlines()[-1].endswith("has 3 rows")


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("nmae", r"--key nmae: the files have no such column \(did you mean 'name'"),
        ("name", r"--key name: 1 values are in more than one row \(a\)"),
        ("size", r"--key size: 1 of 3 rows have no value"),
        ("height", r"key column 'height' is of type double"),
    ],
)
def test_a_key_that_is_none_is_refused(
    ignite: Cluster, tmp_path: Path, key: str, problem: str
) -> None:
    path = parquet(tmp_path, name=["a", "a", "b"], size=[1, 2, None], height=[0.5, 1.0, 1.5])
    refused(problem, ignite, "LOAD_KEY", path, "--key", key)


def test_several_columns_can_be_the_key(ignite: Cluster, tmp_path: Path) -> None:
    path = parquet(tmp_path, name=["a", "a", "b"], size=[1, 2, 1], v=[1, 2, 3])
    run(ignite, "LOAD_KEYS", path, "--key", "name", "--key", "size")
    assert content(ignite, "LOAD_KEYS").num_rows == 3


def broken(folder: Path, name: str, data: bytes = b"nothing of the kind") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def test_files_that_cant_be_loaded_are_named(ignite: Cluster, tmp_path: Path) -> None:
    def refuse(problem: str, *files: Path) -> None:
        refused(problem, ignite, "LOAD_FILE", *files)

    good = parquet(tmp_path, "good.parquet", v=[1])
    refuse("there is no file .*gone.csv", tmp_path / "gone.csv")
    refuse("is a folder", tmp_path)
    refuse("rename it to end in .parquet", broken(tmp_path, "a.txt"))
    refuse("a.parquet can't be read as parquet", broken(tmp_path, "a.parquet"))
    refuse("a.npz can't be read as npz", broken(tmp_path, "a.npz"))
    refuse("have to be of one kind", good, csv(tmp_path, "v\n1\n"))
    refuse("'v' is string, not int64", good, parquet(tmp_path, "b.parquet", v=["1"]))
    refuse("'v' is missing", good, parquet(tmp_path, "c.parquet", w=[1]))
    refuse(r"same first dimension: a \(2,\), b \(3,\)", npz(tmp_path, a=[1, 2], b=[1, 2, 3]))
    refuse("the files have one already", npz(tmp_path, id=[1, 2], b=[1, 2]))
    refuse("complex128 has no Arrow type", npz(tmp_path, a=np.array([1j])))


def test_a_csv_that_breaks_in_the_middle_is_told(ignite: Cluster, tmp_path: Path) -> None:
    many = "".join(f"{number},1\n" for number in range(200_000))
    path = csv(tmp_path, "a,b\n" + many + "x,y\n")
    refused(r"a\.csv can't be read as csv", ignite, "LOAD_BREAKS", path)


@pytest.mark.parametrize("endpoint", ["", "host:", "host:x", "host:99999", ":10800"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, endpoint: str) -> None:
    path = parquet(tmp_path, v=[1])
    result = click.testing.CliRunner().invoke(
        load, [str(path), "--ignite", endpoint, "--table", "T"], catch_exceptions=False
    )
    assert "write HOST:PORT" in result.output
    assert result.exit_code == 2
