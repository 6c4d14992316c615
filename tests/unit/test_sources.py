"""What `spec.data` refers to is found, or it is said in words what is missing."""

from __future__ import annotations

import asyncio
import base64
import stat
from pathlib import Path
from typing import Any

import pytest

from insitu.api import Data, IgniteData
from insitu.errors import ConfigurationError, DatabaseUnavailable
from insitu_operator.kubernetes import ApiProblem, Json, paths
from insitu_operator.shell.databases.services import ready_addresses
from insitu_operator.shell.databases.sources import Opened, Sources

SERVICE: Json = {
    "metadata": {"name": "ignite", "namespace": "ml"},
    "spec": {
        "ports": [{"name": "thin", "port": 80}, {"name": "rest", "port": 8080}],
        "selector": {"app": "ignite"},
    },
}


class Objects:
    """An API server that holds these, by path."""

    def __init__(self, *, hosts: str = "*", **secrets: dict[str, str]) -> None:
        self.found = {paths.service("ml", "ignite"): SERVICE}
        metadata = {"annotations": {"insitu.dev/hosts": hosts}} if hosts else {}
        for name, values in secrets.items():
            coded = {key: base64.b64encode(text.encode()).decode() for key, text in values.items()}
            self.found[paths.secret("ml", name)] = {"metadata": metadata, "data": coded}

    async def get(self, path: str) -> Json:
        if path not in self.found:
            raise ApiProblem("get", paths.target(path), 404, "NotFound", "not found")
        return self.found[path]


def data(**reach: Any) -> Data:
    return Data(ignite=IgniteData.model_validate({"cache": "T", **reach}))


def piece(*addresses: str, ready: bool | None = True, port: int = 10800) -> Json:
    conditions = {} if ready is None else {"ready": ready}
    return {
        "ports": [{"name": "thin", "port": port}, {"name": "rest", "port": 8081}],
        "endpoints": [{"addresses": [a], "conditions": conditions} for a in addresses],
    }


def opened(objects: Objects, folder: Path, wanted: Data, *slices: Json) -> Opened:
    sources = Sources(objects, lambda _namespace, _name: slices, folder)
    return asyncio.run(sources.open("ml", wanted))


def test_addresses_are_those_that_are_ready_with_the_port_of_the_pods() -> None:
    slices = [piece("10.0.0.1", "10.0.0.2"), piece("10.0.0.3", ready=False), piece("::1")]
    assert ready_addresses(SERVICE, slices, 80) == (
        ("10.0.0.1", 10800),
        ("10.0.0.2", 10800),
        ("::1", 10800),
    )


def test_an_endpoint_that_says_nothing_is_ready() -> None:
    assert ready_addresses(SERVICE, [piece("10.0.0.1", ready=None)], 8080) == (("10.0.0.1", 8081),)


@pytest.mark.parametrize(
    ("slices", "port", "words"),
    [
        ([], 10800, "has no port 10800; it has: 80 (thin), 8080 (rest)"),
        ([], 80, "has no endpoint; no pod matches its selector app=ignite"),
        ([piece("10.0.0.9", ready=False)], 80, "no ready endpoint: 1 not ready (10.0.0.9)"),
    ],
)
def test_why_there_is_no_address_is_said(slices: list[Json], port: int, words: str) -> None:
    with pytest.raises((ConfigurationError, DatabaseUnavailable)) as said:
        ready_addresses(SERVICE, slices, port)
    assert str(said.value).startswith("Service 'ignite' in namespace 'ml'")
    assert words in str(said.value)


def test_a_service_that_only_points_elsewhere_is_no_service_of_pods() -> None:
    outside = SERVICE | {"spec": {"type": "ExternalName", "externalName": "db.example.org"}}
    with pytest.raises(ConfigurationError, match="under endpoints instead"):
        ready_addresses(outside, [], 80)


def test_a_missing_service_or_secret_is_named_with_its_namespace(tmp_path: Path) -> None:
    service = {"name": "nobody", "port": 80}
    with pytest.raises(ConfigurationError, match="'nobody' is not there in namespace 'ml'"):
        opened(Objects(), tmp_path, data(service=service))
    credentials = {"secretName": "login"}
    with pytest.raises(ConfigurationError, match="'login' is not there in namespace 'ml'"):
        opened(Objects(), tmp_path, data(endpoints=("a:1",), credentials=credentials))
    assert not list(tmp_path.iterdir())


def test_a_service_is_opened_at_its_addresses(tmp_path: Path) -> None:
    found = opened(
        Objects(), tmp_path, data(service={"name": "ignite", "port": 80}), piece("10.0.0.1")
    )
    assert found.source.endpoints == (("10.0.0.1", 10800),)
    found.close()


def test_files_of_secrets_are_private_and_gone_when_closed(tmp_path: Path) -> None:
    objects = Objects(
        login={"username": "ann", "password": "s3cret\n"},
        tls={"ca.crt": "CA", "tls.crt": "C", "tls.key": "K"},
    )
    reach = {"credentials": {"secretName": "login"}, "tls": {"secretName": "tls"}}
    found = opened(objects, tmp_path, data(endpoints=("a:1",), **reach))
    login, tls = found.source.credentials, found.source.tls
    assert login
    assert (login.username, login.password) == ("ann", "s3cret")
    assert tls
    assert tls.ca
    assert tls.ca.read_text() == "CA"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == ["ca.crt", "tls.crt", "tls.key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    folders = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    found.close()
    assert not list(tmp_path.iterdir())


def test_a_secret_without_a_key_names_those_it_has(tmp_path: Path) -> None:
    objects = Objects(login={"user": "ann", "password": "s3cret"})
    reach = {"credentials": {"secretName": "login"}}
    with pytest.raises(ConfigurationError, match="has no key 'username'") as said:
        opened(objects, tmp_path, data(endpoints=("a:1",), **reach))
    assert "s3cret" not in str(said.value)
    assert not list(tmp_path.iterdir())


LOGIN = {"username": "ann", "password": "s3cret"}
NAMED = {"credentials": {"secretName": "login"}}


@pytest.mark.parametrize(
    ("hosts", "reach"),
    [
        ("db.example.org", {"endpoints": ("db.example.org:10800",)}),
        ("a, *.Example.org", {"endpoints": ("db.example.ORG:1", "a:2")}),
        ("fd00::1", {"endpoints": ("[fd00::1]:10800",)}),
        ("ignite.ml.svc", {"service": {"name": "ignite", "port": 80}}),
        ("*", {"endpoints": ("anywhere:1",)}),
    ],
)
def test_credentials_go_to_the_hosts_that_their_secret_names(
    hosts: str, reach: dict[str, Any], tmp_path: Path
) -> None:
    objects = Objects(hosts=hosts, login=LOGIN)
    with opened(objects, tmp_path, data(**reach, **NAMED), piece("10.0.0.1")).secrets:
        pass


@pytest.mark.parametrize(
    ("hosts", "reach", "host"),
    [
        ("", {"endpoints": ("evil:1",)}, "evil"),
        ("db", {"endpoints": ("db:1", "evil:1")}, "evil"),
        ("*.example.org", {"endpoints": ("example.org.evil:1",)}, "example.org.evil"),
        ("ignite", {"service": {"name": "ignite", "port": 80}}, "ignite.ml.svc"),
    ],
)
def test_and_to_no_others(hosts: str, reach: dict[str, Any], host: str, tmp_path: Path) -> None:
    objects = Objects(hosts=hosts, login=LOGIN)
    with pytest.raises(ConfigurationError, match=f"may not be sent to host '{host}'.*annotate"):
        opened(objects, tmp_path, data(**reach, **NAMED), piece("10.0.0.1"))
    assert list(tmp_path.iterdir()) == []


def test_a_secret_that_would_take_up_the_operators_memory_is_refused(tmp_path: Path) -> None:
    objects = Objects(tls={"ca.crt": "x" * 40_000, "other": "x" * 40_000})
    wanted = data(endpoints=["h:1"], tls={"secretName": "tls"})
    with pytest.raises(ConfigurationError, match=r"'tls' has 80,000 bytes.*65,536 at most"):
        opened(objects, tmp_path, wanted)
    assert not list(tmp_path.iterdir())
