"""Who is who in the cluster: one authority, a certificate and a kubeconfig for each component.

https://kubernetes.io/docs/setup/best-practices/certificates/
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from testbed.cluster.addresses import FIRST_SERVICE, Addresses

# The API server, when it passes on a request to an API that somebody else serves.
FRONT_PROXY = "front-proxy"
_API_SERVER_NAMES = (
    "kubernetes", "kubernetes.default", "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local", FIRST_SERVICE,
)  # fmt: skip
# The roles that Kubernetes binds to these names by itself.
_COMPONENTS = {
    "admin": ("kubernetes-admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", None),
    "kube-scheduler": ("system:kube-scheduler", None),
    "kube-proxy": ("system:kube-proxy", None),
}


@dataclass(frozen=True, slots=True)
class Pki:
    """The folder with all of it.

    `NAME.crt`, `NAME.key` and `NAME.kubeconfig` belong together; a node's certificate is also what
    its kubelet serves with.
    """

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def authority_key(self) -> Path:
        return self.folder / "ca.key"

    @property
    def account_key(self) -> Path:
        """Signs the tokens of service accounts."""
        return self.folder / "accounts.key"

    @property
    def account_public_key(self) -> Path:
        return self.folder / "accounts.pub"

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def kubeconfig(self, name: str) -> Path:
        return self.folder / f"{name}.kubeconfig"


def issue(pki: Pki, addresses: Addresses, nodes: Mapping[str, str]) -> None:
    """Makes everything anew.

    Args:
        pki: Its folder is created.
        addresses: Where the API server will be.
        nodes: Name to address.
    """
    pki.folder.mkdir(mode=0o700)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(pki.authority)
    authority.private_key_pem.write_to_path(pki.authority_key)
    _account_keys(pki)
    _issue(pki, authority, FRONT_PROXY, None)
    _issue(pki, authority, "kube-apiserver", None, addresses.host, *_API_SERVER_NAMES)
    for name, (user, group) in _COMPONENTS.items():
        _issue(pki, authority, name, group, common_name=user)
        _kubeconfig(pki, name, addresses)
    for name, address in nodes.items():
        _issue(pki, authority, name, "system:nodes", address, common_name=f"system:node:{name}")
        _kubeconfig(pki, name, addresses)


def _issue(
    pki: Pki,
    authority: trustme.CA,
    name: str,
    group: str | None,
    *identities: str,
    common_name: str | None = None,
) -> None:
    issued = authority.issue_cert(
        # Go refuses a certificate without any name of a host, of a client's too.
        name,
        *identities,
        common_name=common_name or name,
        organization_name=group,
    )
    pki.certificate(name).write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(pki.key(name))


def _kubeconfig(pki: Pki, name: str, addresses: Addresses) -> None:
    def data(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    cluster = {"server": addresses.api_server, "certificate-authority-data": data(pki.authority)}
    user = {
        "client-certificate-data": data(pki.certificate(name)),
        "client-key-data": data(pki.key(name)),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": name}}],
        "current-context": "testbed",
    }
    # Whoever reads YAML reads JSON.
    pki.kubeconfig(name).write_text(json.dumps(document, indent=2))
    pki.kubeconfig(name).chmod(0o600)


def _account_keys(pki: Pki) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pki.account_key.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    pki.account_public_key.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
