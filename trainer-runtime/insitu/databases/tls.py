"""TLS to a database: always verified, and every failure says what would be right.

`server` is what messages call the server, as in `Ignite at 10.0.0.5:10800`.
"""

from __future__ import annotations

import contextlib
import socket
import ssl

from insitu.databases import Tls
from insitu.errors import AuthenticationError, ConfigurationError, InsituError

_PROBE_SECONDS = 5.0


def client_context(tls: Tls) -> ssl.SSLContext:
    """A context that verifies the server's certificate and its name.

    Raises:
        ConfigurationError: a file is missing or is not what its name says.
    """
    for name, path in (("ca", tls.ca), ("certificate", tls.certificate), ("key", tls.key)):
        if path is not None and not path.is_file():
            raise ConfigurationError(f"tls.{name}: there is no file {path}")
    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"tls.ca: {tls.ca} holds no PEM certificate ({error.reason})"
        ) from error
    if tls.certificate is not None:
        try:
            # A password is always given: without one OpenSSL would ask on the terminal.
            context.load_cert_chain(
                tls.certificate, tls.key or tls.certificate, password=tls.key_password or ""
            )
        except (ssl.SSLError, ValueError) as error:
            raise ConfigurationError(
                f"tls.certificate: {tls.certificate} and its key {tls.key or tls.certificate} "
                "can't be used together: both must be PEM, belong to each other, and an encrypted "
                f"key needs its password ({getattr(error, 'reason', None) or error})"
            ) from error
    elif tls.key is not None:
        raise ConfigurationError("tls.key is given without tls.certificate; give both")
    return context


def wrap(sock: socket.socket, host: str, server: str, tls: Tls) -> ssl.SSLSocket:
    """The TLS handshake over a connected socket.

    Raises:
        AuthenticationError: the server's certificate or ours is not accepted.
        OSError: the connection broke.
    """
    context = client_context(tls)
    try:
        return context.wrap_socket(sock, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise AuthenticationError(_untrusted(server, host, error, tls)) from error
    except ssl.SSLEOFError as error:
        raise ConnectionResetError(str(error)) from error
    except ssl.SSLError as error:
        raise refused(server, error, tls) from error


def refused(server: str, error: ssl.SSLError, tls: Tls) -> InsituError:
    """What an alert of the server, or bytes that are no TLS, stand for."""
    reason = error.reason or str(error)
    if "WRONG_VERSION_NUMBER" in reason or "RECORD_LAYER_FAILURE" in reason:
        return AuthenticationError(plain_server(server))
    if "ALERT" in reason:
        return AuthenticationError(f"{unwanted(server, tls)} ({reason})")
    return AuthenticationError(f"the TLS handshake with {server} failed: {reason}")


def _untrusted(server: str, host: str, error: ssl.SSLCertVerificationError, tls: Tls) -> str:
    said = error.verify_message
    if "mismatch" in said.lower() or "not valid for" in said.lower():
        return (
            f"the certificate of {server} is not for the name '{host}' ({said}); "
            "connect by a name in the certificate, or add this one to its subjectAltName"
        )
    ca = f"the authority in {tls.ca}" if tls.ca else "any authority this machine trusts"
    return (
        f"the certificate of {server} is not signed by {ca} ({said}); "
        "give the PEM file of the right authority as tls.ca"
    )


def plain_server(server: str) -> str:
    """The message for a TLS client at a port without TLS."""
    return f"{server} does not speak TLS; leave the TLS options out, or switch it on there"


def plain_client(server: str) -> str:
    """The message for a client without TLS at a TLS port."""
    return (
        f"{server} speaks TLS only; give the TLS options "
        "(ca, and certificate and key if it asks clients for one)"
    )


def unwanted(server: str, tls: Tls) -> str:
    """The message for a server that hangs up right after the TLS handshake, time and again."""
    if tls.certificate is None:
        return (
            f"{server} closes the connection right after the TLS handshake: it asks "
            "clients for a certificate; give tls.certificate and tls.key"
        )
    return (
        f"{server} closes the connection right after the TLS handshake: it does not "
        f"accept the client certificate {tls.certificate}, which must be signed by an authority "
        "in the server's trust store"
    )


def speaks_tls(address: tuple[str, int]) -> bool:
    """Whether the port answers a TLS greeting. Only words an error: nothing is sent over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(OSError), socket.create_connection(address, _PROBE_SECONDS) as sock:
        sock.settimeout(_PROBE_SECONDS)
        try:
            context.wrap_socket(sock).close()
        except ssl.SSLEOFError:
            return False
        except ssl.SSLError as error:
            return "WRONG_VERSION_NUMBER" not in (error.reason or "")
        return True
    return False
