"""Certificates of a TLS cluster: an authority, a server and a client, and a pair nobody trusts."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)

from insitu.databases import Tls


@dataclass(frozen=True, slots=True)
class KeyStores:
    """PKCS12 files of the server side of TLS, and the password of both."""

    identity: Path
    trusted: Path
    password: str


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of both sides.

    `client` is what the cluster accepts. `untrusted` is as well-formed, but of another authority:
    its `ca` does not vouch for the servers, and they don't take its certificate.
    """

    server: KeyStores
    client: Tls
    untrusted: Tls


def issue(folder: Path, hosts: Sequence[str]) -> Certificates:
    """Makes everything anew in `folder`, for servers at the addresses `hosts`."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    stores = KeyStores(folder / "server.p12", folder / "trusted.p12", secrets.token_hex(16))
    encryption = BestAvailableEncryption(stores.password.encode())

    server = authority.issue_cert(*hosts)
    key = load_pem_private_key(server.private_key_pem.bytes(), None)
    chain = [x509.load_pem_x509_certificate(pem.bytes()) for pem in server.cert_chain_pems]
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    stores.identity.write_bytes(
        pkcs12.serialize_key_and_certificates(b"server", key, chain[0], chain[1:], encryption)
    )
    root = pkcs12.PKCS12Certificate(
        x509.load_pem_x509_certificate(authority.cert_pem.bytes()), b"authority"
    )
    stores.trusted.write_bytes(pkcs12.serialize_java_truststore([root], encryption))
    return Certificates(
        stores,
        _client(folder, "client", authority),
        _client(folder, "untrusted", trustme.CA()),
    )


def _client(folder: Path, name: str, authority: trustme.CA) -> Tls:
    ca, certificate, key = (folder / f"{name}{end}" for end in ("-ca.pem", ".pem", ".key"))
    issued = authority.issue_cert("client.insitu.test")
    authority.cert_pem.write_to_path(ca)
    certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return Tls(ca=ca, certificate=certificate, key=key)
