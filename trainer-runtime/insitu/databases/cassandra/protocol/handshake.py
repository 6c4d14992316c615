"""Opening a connection: TCP, TLS, version and login, and every way in which each can fail."""

from __future__ import annotations

import socket
import ssl
from typing import Final

from insitu.databases import Credentials, Tls, sockets, tls
from insitu.databases.cassandra.protocol import faults, messages
from insitu.databases.cassandra.protocol.frames import Frame, read_frame
from insitu.databases.cassandra.protocol.messages import Opcode
from insitu.databases.cassandra.protocol.results import Scanner
from insitu.databases.sockets import spelled, why
from insitu.errors import AuthenticationError, DatabaseUnavailable, InsituError, ProtocolError

_OPTIONS: Final = {"CQL_VERSION": "3.0.0", "DRIVER_NAME": "insitu"}
#: No reply of a handshake is longer.
_LONGEST: Final = 1 << 16


def open_socket(
    host: str, port: int, credentials: Credentials | None, certificate: Tls | None, timeout: float
) -> socket.socket:
    """A logged-in socket; see `Connection.open`."""
    where = spelled(host, port)
    server = f"Cassandra at {where}"
    sock = sockets.connect(host, port, server, timeout)
    try:
        if certificate is not None:
            sock = tls.wrap(sock, host, server, certificate)
        _login(sock, where, credentials)
    except InsituError as error:
        sock.close()
        if isinstance(error, ProtocolError):
            raise _stranger((host, port), server, certificate, error) from error
        raise
    except OSError as error:
        sock.close()
        raise _hung_up((host, port), server, certificate, error) from error
    except BaseException:
        sock.close()
        raise
    return sock


def _login(sock: socket.socket, where: str, credentials: Credentials | None) -> None:
    reply = _ask(sock, Opcode.STARTUP, messages.startup(_OPTIONS))
    if reply.opcode == Opcode.AUTHENTICATE:
        if credentials is None:
            raise AuthenticationError(
                f"Cassandra at {where} asks for a user name and a password, and none was given"
            )
        login = messages.plain_login(credentials.username, credentials.password)
        reply = _ask(sock, Opcode.AUTH_RESPONSE, login)
        if reply.opcode == Opcode.AUTH_CHALLENGE:
            raise AuthenticationError(
                f"Cassandra at {where} wants more than a user name and a password: only "
                "PasswordAuthenticator and what works like it is supported"
            )
    if reply.opcode == Opcode.ERROR:
        raise error_of(where, reply)
    if reply.opcode not in (Opcode.READY, Opcode.AUTH_SUCCESS):
        raise ProtocolError(f"a reply of kind {reply.opcode:#04x} in the middle of a login")


def error_of(where: str, reply: Frame) -> InsituError:
    """What an `ERROR` of the server at `where` stands for."""
    if reply.body is None:
        return ProtocolError(f"Cassandra at {where} sent an error of {reply.size} bytes")
    scanner = Scanner(reply.body)
    return faults.explain(where, scanner.integer(), scanner.string())


def _ask(sock: socket.socket, opcode: Opcode, body: bytes) -> Frame:
    sock.sendall(messages.frame(0, opcode, body))
    return read_frame(sock, _LONGEST)


def _stranger(
    address: tuple[str, int], server: str, certificate: Tls | None, error: ProtocolError
) -> InsituError:
    if certificate is None and tls.speaks_tls(address):
        return AuthenticationError(tls.plain_client(server))
    return ProtocolError(
        f"{server}: this is not the native protocol of Cassandra 3.0 or newer: {error}"
    )


def _hung_up(
    address: tuple[str, int], server: str, certificate: Tls | None, error: OSError
) -> InsituError:
    """Why a connection broke before the login was done."""
    ended = isinstance(error, ConnectionError | ssl.SSLEOFError)
    if certificate is None and ended and tls.speaks_tls(address):
        return AuthenticationError(tls.plain_client(server))
    if certificate is not None:
        # With TLS 1.3 a server refuses a client's certificate only after the handshake.
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return tls.refused(server, error, certificate)
        if ended:
            return AuthenticationError(tls.unwanted(server, certificate))
    return DatabaseUnavailable(f"{server} {why(error)}")
