"""What a real API server refuses becomes one kind of error that says what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from insitu_operator.kubernetes import Api, ApiProblem, Json, connect, paths
from tests.cluster.accounts import account, rule
from tests.cluster.manifests import Space

pytestmark = pytest.mark.cluster

T = TypeVar("T")


def as_admin(space: Space, ask: Callable[[Api], Awaitable[T]]) -> T:
    return as_user(space.cluster.kubeconfig, ask)


def as_user(kubeconfig: Path, ask: Callable[[Api], Awaitable[T]]) -> T:
    async def main() -> T:
        async with connect(kubeconfig=kubeconfig) as api:
            return await ask(api)

    return asyncio.run(main())


def refused(space: Space, ask: Callable[[Api], Awaitable[object]]) -> ApiProblem:
    with pytest.raises(ApiProblem) as found:
        as_admin(space, ask)
    return found.value


def config_map(name: str = "one", **data: str) -> Json:
    return {"metadata": {"name": name}, "data": data}


def test_an_object_is_created_read_changed_and_deleted(space: Space) -> None:
    async def ask(api: Api) -> tuple[Json, Json]:
        await api.create(paths.config_maps(space.name), config_map(a="1", b="2"))
        path = paths.config_map(space.name, "one")
        merged = await api.merge(path, {"data": {"a": "3", "b": None}})
        assert await api.get(path) == merged
        replaced = await api.replace(path, {**merged, "data": {"c": "4"}})
        await api.delete(path, uid=replaced["metadata"]["uid"])
        assert await api.list(paths.config_maps(space.name), fields="metadata.name=one") == []
        return merged, replaced

    merged, replaced = as_admin(space, ask)
    assert merged["data"] == {"a": "3"}
    assert replaced["data"] == {"c": "4"}


def test_what_is_written_is_known_to_be_the_operators(space: Space) -> None:
    as_admin(space, lambda api: api.create(paths.config_maps(space.name), config_map(a="1")))
    written = json.loads(
        space.kubectl("get", "configmap", "one", "--output=json", "--show-managed-fields")
    )
    managers = {field["manager"] for field in written["metadata"]["managedFields"]}
    assert managers == {"insitu-operator"}


def test_lists_are_read_to_the_last_page(space: Space) -> None:
    count = 1001

    async def ask(api: Api) -> list[Json]:
        path = paths.config_maps(space.name)
        one_by_one = asyncio.Semaphore(16)

        async def create(number: int) -> None:
            body = config_map(f"map-{number}")
            body["metadata"]["labels"] = {"mine": "yes"}
            async with one_by_one:
                await api.create(path, body)

        await asyncio.gather(*map(create, range(count)))
        listed = await api.list(path, labels={"mine": "yes"})
        await api.delete_all(path, labels={"mine": "yes"})
        assert await api.list(path, labels="mine=yes") == []
        return listed

    names = {item["metadata"]["name"] for item in as_admin(space, ask)}
    assert len(names) == count


def test_what_is_not_there_is_absent(space: Space) -> None:
    problem = refused(space, lambda api: api.get(paths.secret(space.name, "nobody")))
    assert problem.absent
    assert (problem.namespace, problem.name) == (space.name, "nobody")
    assert not problem.transient


def test_a_taken_name_is_told_from_a_stale_version(space: Space) -> None:
    async def create(api: Api) -> Json:
        return await api.create(paths.config_maps(space.name), config_map())

    async def change_the_past(api: Api) -> None:
        path = paths.config_map(space.name, "one")
        await api.merge(path, {"data": {"a": "now"}})
        await api.replace(path, old)

    old = as_admin(space, create)
    taken, stale = refused(space, create), refused(space, change_the_past)
    assert (taken.exists, taken.conflict) == (True, False)
    assert (stale.exists, stale.conflict) == (False, True)


def test_a_stale_version_stops_a_merge_patch_too(space: Space) -> None:
    async def ask(api: Api) -> None:
        created = await api.create(paths.config_maps(space.name), config_map())
        path = paths.config_map(space.name, "one")
        await api.merge(path, {"data": {"a": "now"}})
        version = created["metadata"]["resourceVersion"]
        await api.merge(path, {"metadata": {"resourceVersion": version}, "data": {"a": "then"}})

    assert refused(space, ask).conflict


def test_another_object_of_the_same_name_is_not_deleted(space: Space) -> None:
    async def ask(api: Api) -> None:
        path = paths.config_map(space.name, "one")
        first = await api.create(paths.config_maps(space.name), config_map())
        await api.delete(path)
        await api.create(paths.config_maps(space.name), config_map())
        await api.delete(path, uid=first["metadata"]["uid"])

    assert refused(space, ask).conflict
    assert as_admin(space, lambda api: api.get(paths.config_map(space.name, "one")))


def test_a_pod_of_another_uid_is_not_changed(space: Space) -> None:
    async def ask(api: Api) -> None:
        spec = {"schedulingGates": [{"name": "test/gate"}], **space.pod_spec("pass")}
        await api.create(paths.pods(space.name), {"metadata": {"name": "one"}, "spec": spec})
        other = {"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}}
        await api.strategic(paths.pod(space.name, "one"), other)

    problem = refused(space, ask)
    assert problem.conflict or problem.invalid
    assert not problem.transient


def test_an_object_that_breaks_a_rule_is_invalid(space: Space) -> None:
    bad = config_map("Not A Name")
    problem = refused(space, lambda api: api.create(paths.config_maps(space.name), bad))
    assert problem.invalid
    assert "Not A Name" in str(problem)


def test_an_exceeded_quota_is_told_from_a_missing_right(space: Space) -> None:
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"services": "0"}}}
    service = {"metadata": {"name": "one"}, "spec": {"ports": [{"port": 80}]}}

    async def ask(api: Api) -> None:
        await api.create(f"/api/v1/namespaces/{space.name}/resourcequotas", quota)
        async with asyncio.timeout(30):
            while True:  # The quota counts only after its controller has looked at it.
                created = await api.create(paths.services(space.name), service)
                await api.delete(paths.service(space.name, created["metadata"]["name"]))

    problem = refused(space, ask)
    assert (problem.quota, problem.forbidden) == (True, False)
    assert "services" in str(problem)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (
            lambda api, ns: api.create(paths.batch_jobs(ns), {"metadata": {"name": "one"}}),
            "grant its service account the verb create on jobs (API group batch)",
        ),
        (
            lambda api, ns: api.merge(paths.training_job_status(ns, "one"), {}),
            "the verb patch on trainingjobs/status (API group insitu.dev)",
        ),
        (lambda api, _ns: api.list(paths.nodes()), "the verb list on nodes"),
    ],
)
def test_a_missing_right_is_named_with_verb_and_resource(
    space: Space,
    tmp_path: Path,
    ask: Callable[[Api, str], Awaitable[object]],
    sentence: str,
) -> None:
    limited = account(space, tmp_path, rule("get", "configmaps"))
    with pytest.raises(ApiProblem) as found:
        as_user(limited, lambda api: ask(api, space.name))
    assert found.value.forbidden
    assert sentence in str(found.value)


def test_nothing_is_created_in_a_namespace_that_ends(space: Space) -> None:
    async def ask(api: Api) -> None:
        # A finalizer keeps the namespace for as long as the test wants.
        held = config_map("held")
        held["metadata"]["finalizers"] = ["test.insitu.dev/hold"]
        await api.create(paths.config_maps(space.name), held)
        await api.delete(f"/api/v1/namespaces/{space.name}")
        try:
            await api.create(paths.config_maps(space.name), config_map())
        finally:
            free = {"metadata": {"finalizers": None}}
            await api.merge(paths.config_map(space.name, "held"), free)

    problem = refused(space, ask)
    assert problem.namespace_ending
    assert not problem.forbidden


def test_an_api_server_that_is_not_there_is_a_passing_trouble(tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(
        """
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: t}}]
current-context: c
"""
    )
    with pytest.raises(ApiProblem) as found:
        as_user(config, lambda api: api.list(paths.nodes()))
    assert found.value.transient
    assert found.value.status == 0
    assert "did not answer to list nodes" in str(found.value)


def test_who_does_not_lead_reads_but_writes_nothing(space: Space) -> None:
    async def ask(api: Api) -> None:
        follower = api.fenced(lambda: False)
        assert await follower.list(paths.pods(space.name)) == []
        await follower.create(paths.config_maps(space.name), config_map())

    problem = refused(space, ask)
    assert problem.fenced
    assert refused(space, lambda api: api.get(paths.config_map(space.name, "one"))).absent


def test_each_request_is_observed(space: Space) -> None:
    seen = []

    async def main() -> None:
        def observe(verb: str, resource: str, status: int, seconds: float) -> None:
            seen.append((verb, resource, status))
            assert seconds > 0

        async with connect(observe, space.cluster.kubeconfig) as api:
            await api.create(paths.config_maps(space.name), config_map())
            await api.list(paths.pods())
            with pytest.raises(ApiProblem):
                await api.delete(paths.config_map(space.name, "two"))

    asyncio.run(main())
    assert seen == [
        ("create", "configmaps", 201),
        ("list", "pods", 200),
        ("delete", "configmaps", 404),
    ]
