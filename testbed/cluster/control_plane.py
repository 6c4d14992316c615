"""The command lines of etcd, the API server, the controller manager and the scheduler."""

from __future__ import annotations

from pathlib import Path

from testbed.cluster.addresses import SERVICES, Addresses
from testbed.cluster.binaries import ETCD, KUBERNETES
from testbed.cluster.pki import FRONT_PROXY, Pki


def etcd(folder: Path, loopback: str) -> list[str]:
    """On `loopback` only; its data is of no use after the cluster, so it never waits for a disk."""
    clients, peers = f"http://{loopback}:2379", f"http://{loopback}:2380"
    return [
        str(ETCD.folder / "etcd"),
        "--name=testbed",
        f"--data-dir={folder}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=testbed={peers}",
        "--unsafe-no-fsync",
        "--log-level=warn",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=10m",
    ]


def api_server(pki: Pki, addresses: Addresses, loopback: str) -> list[str]:
    """Pod security admission and everything else that is on by default, and NodeRestriction."""
    return [
        str(KUBERNETES.folder / "kube-apiserver"),
        f"--etcd-servers=http://{loopback}:2379",
        f"--bind-address={addresses.host}",
        f"--advertise-address={addresses.host}",
        "--secure-port=6443",
        f"--client-ca-file={pki.authority}",
        f"--tls-cert-file={pki.certificate('kube-apiserver')}",
        f"--tls-private-key-file={pki.key('kube-apiserver')}",
        f"--service-account-key-file={pki.account_public_key}",
        f"--service-account-signing-key-file={pki.account_key}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-cluster-ip-range={SERVICES}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        # It speaks to kubelets (logs, exec) as an administrator.
        f"--kubelet-client-certificate={pki.certificate('admin')}",
        f"--kubelet-client-key={pki.key('admin')}",
        f"--kubelet-certificate-authority={pki.authority}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={pki.authority}",
        f"--requestheader-allowed-names={FRONT_PROXY}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki.certificate(FRONT_PROXY)}",
        f"--proxy-client-key-file={pki.key(FRONT_PROXY)}",
    ]


def controller_manager(pki: Pki, loopback: str) -> list[str]:
    """Notices a lost node in 16 seconds instead of 50, and evicts its pods at once."""
    return [
        str(KUBERNETES.folder / "kube-controller-manager"),
        *_client(pki, "kube-controller-manager", loopback),
        f"--service-account-private-key-file={pki.account_key}",
        f"--root-ca-file={pki.authority}",
        f"--cluster-signing-cert-file={pki.authority}",
        f"--cluster-signing-key-file={pki.authority_key}",
        "--use-service-account-credentials=true",
        "--node-monitor-period=2s",
        "--node-monitor-grace-period=16s",
        "--node-eviction-rate=10",
        "--secondary-node-eviction-rate=10",
        # Of hundreds of Jobs that come together the default looks at five at a time.
        "--concurrent-job-syncs=50",
    ]


def scheduler(pki: Pki, loopback: str) -> list[str]:
    """The default one."""
    return [
        str(KUBERNETES.folder / "kube-scheduler"),
        *_client(pki, "kube-scheduler", loopback),
    ]


def _client(pki: Pki, name: str, loopback: str) -> list[str]:
    kubeconfig = pki.kubeconfig(name)
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
        f"--bind-address={loopback}",
        # The defaults, of 20 to 50 requests a second, are for sharing an API server with others.
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
    ]
