"""The testbed's own cluster does what a cluster of machines does, and leaves no trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from testbed import cluster as kubernetes
from testbed.cluster import Cluster, Image, cgroups, layer
from testbed.cluster.daemon import marked
from testbed.cluster.sweep import sweep_dead
from testbed.paths import REPOSITORY, cache
from tests.cluster.conftest import HOSTS, NAMES
from tests.cluster.manifests import Space
from tests.waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

_ASK = """
import sys, urllib.request
for _ in range(40):
    print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
"""
_GATE = "insitu.test/placed"


def traces(number: int, folder: Path) -> list[str]:
    """All that tells of a cluster, outside of itself."""
    return [
        *(f"process {process}" for process in marked(folder)),
        *(f"process {process}" for process in cgroups.processes(f"insitu-{number}")),
        *(f"cgroup {path}" for root in cgroups.hierarchies() for path in root.glob("insitu-*")
          if path.name == f"insitu-{number}"),
        *(f"namespace {path}" for path in Path("/run/netns").glob(f"insitu-{number}-*")),
        *(f"interface {path}" for path in Path("/sys/class/net").glob(f"insitu{number}")),
        *(f"mount {line}" for line in Path("/proc/mounts").read_text().splitlines()
          if str(folder) in line or f"insitu-{number}-" in line),
        *([f"folder {folder}"] if folder.exists() else []),
    ]  # fmt: skip


def kernel_settings() -> dict[str, str]:
    names = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "net/ipv4/ip_forward")
    return {name: Path("/proc/sys", name).read_text() for name in names}


def run_testbed(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "testbed", "cluster", *arguments],
        check=False,
        cwd=REPOSITORY,
        env=os.environ | {"INSITU_CACHE": str(home)},
        capture_output=True,
        text=True,
    )


def share_builds(home: Path) -> None:
    for built in ("go", "images"):
        (home / built).symlink_to(cache() / built)


def test_nodes_have_the_names_and_labels_they_were_given(cluster: Cluster) -> None:
    nodes = {
        item["metadata"]["name"]: item["metadata"]["labels"]["kubernetes.io/hostname"]
        for item in cluster.kubectl.items("nodes")
        if item["metadata"]["name"] in NAMES
    }
    assert nodes == HOSTS
    assert all(cluster.kubectl.ready("nodes").values())


def test_a_pod_on_each_node_reaches_the_pods_of_all_nodes_by_the_name_of_a_service(
    space: Space,
) -> None:
    space.server_on_each_node("echo")
    for pod in space.pods(app="echo"):
        url = f"http://echo.{space.name}.svc.cluster.local:8000/"
        answers = space.kubectl(
            "exec", pod["metadata"]["name"], "--", "python3", "-c", _ASK, url
        ).split()
        assert set(answers) == set(NAMES), f"asked from {pod['spec']['nodeName']}"


def test_gated_pods_bound_one_by_one_run_where_they_were_sent_with_what_they_were_given(
    space: Space,
) -> None:
    space.gated_job("train", 3, _GATE, "import os; print(os.environ['PART'])")
    space.cluster.wait(lambda: None if len(space.pods()) == 3 else "there are fewer than 3 pods")
    for name, pod in zip(NAMES, space.pods(), strict=True):
        space.patch(
            pod["metadata"]["name"],
            {
                "metadata": {"uid": pod["metadata"]["uid"], "annotations": {"part": f"of {name}"}},
                "spec": {
                    "nodeSelector": {"kubernetes.io/hostname": HOSTS[name]},
                    "schedulingGates": [{"$patch": "delete", "name": _GATE}],
                },
            },
        )
    space.kubectl("wait", "job/train", "--for=condition=Complete", "--timeout=60s")
    for name, pod in zip(NAMES, space.pods(), strict=True):
        assert pod["spec"]["nodeName"] == name
        assert space.kubectl("logs", pod["metadata"]["name"]) == f"of {name}\n"


def test_a_node_without_power_is_not_ready_until_it_is_back(cluster: Cluster) -> None:
    node = cluster.node("heron")
    node.power_off()
    assert cgroups.processes(f"insitu-{cluster.number}/heron") == []
    cluster.wait_ready()
    assert not cluster.kubectl.ready("nodes")["heron"]
    node.power_on()
    cluster.wait_ready()
    assert cluster.kubectl.ready("nodes")["heron"]


def test_containers_outlive_the_kubelet(cluster: Cluster, space: Space) -> None:
    space.server_on_each_node("echo")
    node = cluster.node("raven")
    node.kill_kubelet()
    before = [pod for pod in space.pods(app="echo") if pod["spec"]["nodeName"] == "raven"]
    assert "http.server" in node.run("ps", "ax")
    node.join()
    cluster.wait_ready()
    after = [pod for pod in space.pods(app="echo") if pod["spec"]["nodeName"] == "raven"]
    assert [pod["metadata"]["uid"] for pod in after] == [pod["metadata"]["uid"] for pod in before]
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in after] == [0]


def test_the_api_server_comes_back_with_all_it_knew(cluster: Cluster, space: Space) -> None:
    cluster.kubectl("-n", space.name, "create", "configmap", "kept")
    cluster.api_server.kill()
    with pytest.raises(kubernetes.KubectlFailed):
        cluster.kubectl("get", "nodes")
    cluster.api_server.start()
    cluster.wait_ready()
    assert space.kubectl("get", "configmap", "kept", "-o", "name") == "configmap/kept\n"


def test_pods_run_on_nodes_that_only_kwok_plays(cluster: Cluster, space: Space) -> None:
    cluster.add_fake_nodes(5)
    spec = space.pod_spec("") | {
        "nodeSelector": {"kubernetes.io/hostname": "fake-4"},
        "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
    }
    space.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fake"}, "spec": spec})
    space.kubectl("wait", "pod/fake", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")


def test_helm_installs_a_chart(space: Space, tmp_path: Path) -> None:
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: small, version: 0.1.0}")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "it.yaml").write_text(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: '{{ .Release.Name }}'}}"
    )
    space.cluster.helm("install", "--namespace", space.name, "given", str(tmp_path))
    assert space.kubectl("get", "configmap", "given", "-o", "name") == "configmap/given\n"


def test_an_image_that_is_loaded_later_runs_on_every_node(
    cluster: Cluster, space: Space, python: Image, tmp_path: Path
) -> None:
    (tmp_path / "word").write_text("loaded")
    added = layer(tmp_path / "layer.tar", {"/word": tmp_path / "word"})
    image = replace(python, name="insitu.test/later:1", layers=(*python.layers, added))
    cluster.load_image(image)
    pods = replace(space, image=image.name)
    pods.server_on_each_node("echo")
    for pod in pods.pods(app="echo"):
        assert pods.kubectl("exec", pod["metadata"]["name"], "--", "cat", "/word") == "loaded"


def test_a_stopped_cluster_leaves_no_trace(python: Image) -> None:
    before = kernel_settings()
    with kubernetes.start(nodes=1, images=[python]) as cluster:
        space = Space(cluster, "default", python.name)
        space.server_on_each_node("echo")
        assert traces(cluster.number, cluster.folder)
    assert traces(cluster.number, cluster.folder) == []
    assert kernel_settings() == before


def test_a_crashed_cluster_is_swept_without_a_trace() -> None:
    script = (
        "import sys; from testbed import cluster\n"
        "with cluster.start(nodes=1) as one: print(one.number, flush=True); sys.stdin.read()"
    )
    crashing = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with crashing:
        assert crashing.stdout is not None
        # What it does for the first time, it tells before.
        number = next(int(line) for line in crashing.stdout if line.strip().isdigit())
        folder = cache() / "kubernetes" / str(number)
        crashing.send_signal(signal.SIGKILL)
    # The kernel ends the processes; what it leaves is swept by whoever comes next.
    until(lambda: not marked(folder))
    assert traces(number, folder)
    until(lambda: number in sweep_dead())
    assert traces(number, folder) == []


def test_the_command_line_brings_a_cluster_up_and_down(tmp_path: Path) -> None:
    share_builds(tmp_path)
    try:
        up = run_testbed("up", "--nodes", "1", "--name", "only", home=tmp_path)
        assert up.returncode == 0, up.stderr
        assert run_testbed("status", home=tmp_path).returncode == 0
        kubeconfig = Path(run_testbed("kubeconfig", home=tmp_path).stdout.strip())
        assert kubeconfig.is_file()
        again = run_testbed("up", home=tmp_path)
        assert (again.returncode, "is up already" in again.stderr) == (1, True)
    finally:
        down = run_testbed("down", home=tmp_path)
    assert down.returncode == 0, down.stderr
    folder = kubeconfig.parent.parent
    assert traces(int(folder.name), folder) == []
    assert run_testbed("down", home=tmp_path).stdout == "no cluster is up\n"
    assert run_testbed("status", home=tmp_path).returncode == 1


def test_down_removes_what_an_up_that_was_killed_has_started(tmp_path: Path) -> None:
    share_builds(tmp_path)
    up = subprocess.Popen(
        [sys.executable, "-m", "testbed", "cluster", "up", "--nodes", "1"],
        cwd=REPOSITORY,
        env=os.environ | {"INSITU_CACHE": str(tmp_path)},
    )
    with up:
        until(lambda: any(tmp_path.glob("kubernetes/*/kube-apiserver.log")))
        up.kill()
    (folder,) = (tmp_path / "kubernetes").iterdir()
    assert traces(int(folder.name), folder)
    assert run_testbed("down", home=tmp_path).returncode == 0
    assert traces(int(folder.name), folder) == []
