"""The configuration of what runs on a node."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.cluster.addresses import DNS_SERVICE, Addresses
from testbed.cluster.binaries import KUBERNETES
from testbed.cluster.pki import Pki

SOCKET = "/run/containerd/containerd.sock"

_CONTAINERD = """\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Machines that are containers themselves may not lower it.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
"""


def write(
    folder: Path, pki: Pki, addresses: Addresses, name: str, index: int, cgroup: str, pause: str
) -> None:
    """Writes all files of node `index` into `folder`.

    Args:
        folder: Of the node.
        pki: Has the node's certificate.
        addresses: Of the cluster.
        name: Of the node.
        index: Of the node.
        cgroup: Path of the group that its pods go into, relative to the root.
        pause: Name of the image that holds a pod's namespaces.
    """
    cni = folder / "cni"
    cni.mkdir()
    (folder / "containerd.toml").write_text(_CONTAINERD.format(socket=SOCKET, pause=pause, cni=cni))
    _write(cni / "pods.conflist", _pod_network(addresses.pods_of(index)))
    # Pods find each other; nothing outside the cluster has a name.
    (folder / "resolv.conf").write_text("")
    _write(folder / "kubelet.yaml", _kubelet(folder, pki, name, cgroup))
    _write(folder / "kube-proxy.yaml", _kube_proxy(pki, addresses, name))


def containerd_command(folder: Path) -> list[str]:
    return ["/usr/bin/containerd", f"--config={folder}/containerd.toml"]


def kubelet_command(
    folder: Path, pki: Pki, name: str, address: str, labels: Mapping[str, str]
) -> list[str]:
    """`labels` have an effect when the node registers, and may replace `kubernetes.io/hostname`."""
    return [
        str(KUBERNETES.folder / "kubelet"),
        f"--config={folder}/kubelet.yaml",
        f"--kubeconfig={pki.kubeconfig(name)}",
        f"--hostname-override={name}",
        f"--node-ip={address}",
        "--root-dir=/var/lib/kubelet",
        "--cert-dir=/var/lib/kubelet/pki",
        "--node-labels=" + ",".join(f"{key}={value}" for key, value in labels.items()),
    ]


def kube_proxy_command(folder: Path) -> list[str]:
    return [str(KUBERNETES.folder / "kube-proxy"), f"--config={folder}/kube-proxy.yaml"]


def _kubelet(folder: Path, pki: Pki, name: str, cgroup: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki.authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki.certificate(name)),
        "tlsPrivateKeyFile": str(pki.key(name)),
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "resolvConf": str(folder / "resolv.conf"),
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        # The disk is everybody's: its being full is no reason to evict pods or remove images.
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "4s",
        "nodeLeaseDurationSeconds": 12,
        "serializeImagePulls": False,
    }


def _kube_proxy(pki: Pki, addresses: Addresses, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(pki.kubeconfig("kube-proxy"))},
        "clusterCIDR": addresses.pods,
        "detectLocalMode": "ClusterCIDR",
        "hostnameOverride": name,
        # These settings of the kernel can't be changed from a node's network namespace.
        "conntrack": {
            "maxPerCore": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def _pod_network(subnet: str) -> dict[str, Any]:
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "ipMasq": False,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": subnet}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2))
