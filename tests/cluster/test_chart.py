"""The Helm chart on a real cluster: what it refuses, what it installs, and whom it lets do what."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from insitu.api import Framework
from insitu_operator.shell.heartbeats.endpoint import PATH
from insitu_operator.shell.leading.label import LEADER
from insitu_operator.shell.settings import PREFIX, Settings, read
from testbed.cluster import Cluster, HelmFailed, KubectlFailed
from tests.cluster.charts import CHART, Chart, Json, container_of
from tests.cluster.definitions import CRD, NAME, wait_established
from tests.cluster.manifests import Space
from tests.cluster.operators import Operator, running

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]

EVERYTHING: Json = {
    "watchNamespaces": ["*"],
    "replicas": 1,
    "images": {
        "registry": "registry.example.org:5000/insitu",
        "operator": {"digest": f"sha256:{'0' * 64}"},
        "trainers": {"torch": {"repository": ""}, "tensorflow": {"repository": "tf", "tag": "2"}},
        "pullPolicy": "Always",
        "pullSecrets": [{"name": "registry"}],
    },
    "crds": {"enabled": False},
    "rbac": {"aggregate": False, "secretNames": ["ignite", "s3"]},
    "serviceAccount": {"name": "operator", "annotations": {"example.org/role": "a"}},
    "logLevel": "debug",
    "podLabels": {"team": "a"},
    "podAnnotations": {"note": "b"},
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "nameOverride": "other",
    "fullnameOverride": "another",
}
NOTHING: Json = {
    "rbac": {"create": False},
    "serviceAccount": {"create": False, "name": "default"},
    "podDisruptionBudget": {"enabled": False},
    "replicas": 0,
    "resources": {},
}
VARIANTS = {"defaults": {}, "everything": EVERYTHING, "nothing": NOTHING}


@pytest.fixture(params=VARIANTS)
def values(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return written(VARIANTS[request.param], tmp_path)


def test_the_linter_has_nothing_to_say(cluster: Cluster, values: Path) -> None:
    said = cluster.helm("lint", CHART, "--strict", "--kube-version=1.34", "--values", str(values))
    assert "1 chart(s) linted, 0 chart(s) failed" in said


def test_a_server_with_the_restricted_standard_takes_everything(chart: Chart, values: Path) -> None:
    chart.space.cluster.kubectl(
        "label", "namespace", chart.space.name, "pod-security.kubernetes.io/enforce=restricted"
    )
    objects = [o for o in chart.render("--values", str(values)) if o["kind"] != "ServiceMonitor"]
    for found in objects:
        assert "created (server dry run)" in chart.create(
            found, "--dry-run=server", "--validate=strict"
        )
    deployment = next(o for o in objects if o["kind"] == "Deployment")
    pod = deployment["spec"]["template"]
    pod |= {"apiVersion": "v1", "kind": "Pod"}
    pod["metadata"]["name"] = "operator"
    # Whether there is such an account is not what is asked here.
    pod["spec"] |= {"serviceAccountName": "default"}
    chart.create(pod, "--dry-run=server")


def test_the_operator_understands_what_it_is_told(paper: Chart, values: Path) -> None:
    objects = paper.render("--values", str(values))
    container = container_of(objects)
    told = {e["name"]: e.get("value", "x") for e in container["env"]}
    own = {name.removeprefix(PREFIX).lower() for name in told if name.startswith(PREFIX)}
    assert own <= Settings.model_fields.keys()
    settings = read(told)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings.listen.port, "heartbeats": settings.heartbeat_listen.port}
    service = next(o for o in objects if o["metadata"]["name"].endswith("-heartbeats"))
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    assert settings.heartbeat_url == f"http://{name}.{paper.space.name}.svc:{port}{PATH}"
    assert service["spec"]["selector"][LEADER] == "true"
    may_renew = [
        rule["resourceNames"]
        for o in objects
        for rule in o.get("rules", ())
        if rule["resources"] == ["leases"] and "update" in rule["verbs"]
    ]
    assert may_renew in ([], [[settings.lease_name]])


def test_namespaces_and_images_reach_the_operator(paper: Chart, tmp_path: Path) -> None:
    def told(values: Json) -> tuple[Settings, str]:
        container = container_of(paper.render("--values", str(written(values, tmp_path))))
        return read({e["name"]: e.get("value", "x") for e in container["env"]}), container["image"]

    settings, image = told({})
    assert (settings.namespaces, image) == ((paper.space.name,), "insitu-operator:0.1.0")
    assert settings.trainers.images == {
        Framework.TORCH: "insitu-trainer-torch:0.1.0",
        Framework.TENSORFLOW: "insitu-trainer-tensorflow:0.1.0",
    }
    settings, image = told(EVERYTHING)
    assert settings.namespaces == ()
    assert image == f"registry.example.org:5000/insitu/insitu-operator@sha256:{'0' * 64}"
    assert settings.trainers.images == {
        Framework.TENSORFLOW: "registry.example.org:5000/insitu/tf:2"
    }
    assert told({"watchNamespaces": ["a", "b"]})[0].namespaces == ("a", "b")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"watchNamespace": ["a"]}, "watchNamespace"),
        ({"crds": {"enable": True}}, "enable"),
        ({"watchNamespaces": ["*", "ml"]}, "watchNamespaces"),
        ({"watchNamespaces": ["ML"]}, "watchNamespaces"),
        ({"replicas": "two"}, "got string, want integer"),
        ({"logLevel": "loud"}, "must be one of"),
        ({"images": {"operator": {"repository": ""}}}, "repository"),
        ({"images": {"operator": {"digest": "sha256:12"}}}, "digest"),
        ({"images": {"operator": {"repository": "operator:1"}}}, "repository"),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name has to be set"),
    ],
    ids=str,
)
def test_values_that_can_not_work_are_refused_by_name(
    paper: Chart, tmp_path: Path, values: Json, says: str
) -> None:
    with pytest.raises(HelmFailed) as refused:
        paper.render("--values", str(written(values, tmp_path)))
    assert says in str(refused.value)


def test_the_schema_is_about_every_value() -> None:
    values = yaml.safe_load(Path(CHART, "values.yaml").read_text())
    schema = json.loads(Path(CHART, "values.schema.json").read_text())
    ruled = set(schema_paths(schema, schema["definitions"]))
    assert ruled ^ set(value_paths(values)) == {"global"}  # Helm's own


def test_the_definition_and_jobs_outlive_the_release(chart: Chart) -> None:
    said = chart.install()
    assert f"kubectl -n {chart.space.name} apply -f job.yaml" in said
    assert "No registry was given" in said
    assert "insitu-operator:0.1.0" in said
    wait_established(chart.space.cluster)
    chart.space.cluster.wait(lambda: submitted(chart.space))
    said = chart.upgrade("--set", "images.registry=registry.example.org/insitu")
    assert "No registry was given" not in said
    assert chart.jobs() == ["digits"]
    chart.uninstall()
    assert chart.jobs() == ["digits"]
    assert not chart.space.cluster.kubectl.items("deployments", "-n", chart.space.name)
    chart.install()  # The same release takes the definition back.
    assert chart.jobs() == ["digits"]
    chart.upgrade("--set", "crds.keep=false")
    chart.uninstall()
    with pytest.raises(KubectlFailed, match="NotFound"):
        chart.space.kubectl("get", f"crd/{NAME}")


def test_a_definition_that_is_somebody_elses_is_left_alone(chart: Chart) -> None:
    chart.space.cluster.kubectl("apply", "--server-side", "-f", str(CRD))
    with pytest.raises(HelmFailed, match="invalid ownership metadata"):
        chart.install()
    chart.install("--set", "crds.enabled=false")
    chart.uninstall()
    chart.space.kubectl("get", f"crd/{NAME}")


def test_the_operator_may_do_what_it_does_and_nothing_else(chart: Chart) -> None:
    chart.install()
    assert chart.rights(chart.space.name) == WITHOUT_NAMESPACE | OWN | JOBS
    assert chart.rights("default") == WITHOUT_NAMESPACE
    for verb, resource in (("list", "secrets"), ("create", "pods"), ("update", "trainingjobs")):
        assert not chart.may(verb, resource)
    assert chart.may("get", "secrets")


def test_an_operator_with_these_rights_is_refused_nothing(chart: Chart, tmp_path: Path) -> None:
    chart.install("--set", "replicas=0")
    waiting = chart.space.pod_spec("") | {"schedulingGates": [{"name": "example.org/never"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "it"}, "spec": waiting}
    chart.space.apply(pod)
    told = {
        "KUBECONFIG": str(chart.kubeconfig(tmp_path)),
        "INSITU_LEASE_NAME": "insitu",
        "POD_NAME": "it",
        "POD_NAMESPACE": chart.space.name,
    }
    wait = chart.space.cluster.wait
    with running(chart.space, tmp_path / "log", told) as operator:
        operator.until_it_leads()
        wait(lambda: submitted(chart.space))
        wait(lambda: chart.missing("tjob/digits", "{.status.summary.status}"))
        wait(lambda: chart.missing("pod/it", r"{.metadata.labels.insitu\.dev/leader}"))
        metrics = metrics_of(operator)
    assert 'resource="trainingjobs",status="200",verb="patch"' in metrics
    assert 'status="403"' not in metrics


def test_in_other_namespaces_it_may_only_care_for_jobs(chart: Chart) -> None:
    chart.install("--set", "watchNamespaces={default}", "--set", "rbac.secretNames={ignite}")
    assert chart.rights(chart.space.name) == WITHOUT_NAMESPACE | OWN
    named = JOBS - {("get", "secrets", "")} | {("get", "secrets", "ignite")}
    assert chart.rights("default") == WITHOUT_NAMESPACE | named


def test_the_right_to_see_the_pods_of_others_can_be_withheld(chart: Chart) -> None:
    chart.install("--set", "watchNamespaces={default}", "--set", "rbac.allPods=false")
    assert ("list", "pods", "") not in chart.rights(chart.space.name)


def test_it_may_care_for_jobs_everywhere_when_asked_to(chart: Chart) -> None:
    chart.install("--set", "watchNamespaces={*}")
    assert chart.rights(chart.space.name) == WITHOUT_NAMESPACE | OWN | JOBS
    assert chart.rights("kube-system") == WITHOUT_NAMESPACE | JOBS


def test_who_may_edit_a_namespace_may_run_jobs_in_it(chart: Chart) -> None:
    chart.install()
    for role in ("edit", "view"):
        subject = f"--serviceaccount={chart.space.name}:{role}"
        chart.space.kubectl("create", "rolebinding", role, f"--clusterrole={role}", subject)
    chart.space.cluster.wait(
        lambda: None if chart.may("create", "trainingjobs", "edit") else "not aggregated yet"
    )
    chart.space.cluster.wait(
        lambda: None if chart.may("get", "trainingjobs", "view") else "not aggregated yet"
    )
    assert not chart.may("create", "trainingjobs", "view")
    assert not chart.may("patch", "trainingjobs/status", "edit")


def rights(verbs: str, resource: str, name: str = "") -> set[tuple[str, str, str]]:
    return {(verb, resource, name) for verb in verbs.split()}


WITHOUT_NAMESPACE = (
    rights("get list watch", "nodes")
    | rights("list", "pods")
    | rights("create", "tokenreviews.authentication.k8s.io")
)
OWN = (
    rights("create", "leases.coordination.k8s.io")
    | rights("get update", "leases.coordination.k8s.io", "insitu")
    | rights("patch", "pods")
)
JOBS = (
    rights("get list watch delete", "trainingjobs.insitu.dev")
    | rights("patch", "trainingjobs/status.insitu.dev")
    | rights("create get patch delete", "jobs.batch")
    | rights("list watch patch delete", "pods")
    | rights("create get update", "configmaps")
    | rights("create get", "services")
    | rights("list watch", "endpointslices.discovery.k8s.io")
    | rights("get", "secrets")
    | rights("create list", "events.events.k8s.io")
)


@pytest.fixture
def chart(space: Space) -> Iterator[Chart]:
    chart = Chart(space)
    yield chart
    chart.uninstall()
    space.cluster.kubectl("delete", f"crd/{NAME}", "--ignore-not-found")


@pytest.fixture
def paper(cluster: Cluster) -> Chart:
    """For what is not installed."""
    return Chart(Space(cluster, "ml", image=""))


DIGITS = ROOT / "examples" / "digits" / "job.yaml"


def submitted(space: Space) -> str | None:
    """A problem while the new definition is not served yet."""
    return None if "digits" in space.kubectl("apply", "-f", str(DIGITS)) else "no job"


def metrics_of(operator: Operator) -> str:
    ports = (re.match(r"probes and metrics on port (\d+)", o["message"]) for o in operator.lines())
    port = next(found[1] for found in ports if found)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def written(values: Json, folder: Path) -> Path:
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def value_paths(values: Json, path: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield path + name
        if isinstance(value, dict) and name != "resources":
            yield from value_paths(value, f"{path}{name}.")


def schema_paths(node: Json, definitions: Json, path: str = "") -> Iterator[str]:
    """Fails where an object takes names that nobody knows."""
    if "$ref" in node:
        node = definitions[node["$ref"].rsplit("/", 1)[1]]
    properties = node.get("properties", {})
    assert not properties or node["additionalProperties"] is False
    for name, inner in properties.items():
        yield path + name
        if name != "resources":
            yield from schema_paths(inner, definitions, f"{path}{name}.")
