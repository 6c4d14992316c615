"""A loopback network of one's own, so that clusters side by side use the same ports.

All of 127.0.0.0/8 is this machine, and Linux lets a server bind any address of it.
"""

from __future__ import annotations

import fcntl
import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Network:
    """127.77.`third`.0/24, claimed for as long as any process holds `claim` open."""

    third: int
    folder: Path
    claim: int

    def host(self, number: int) -> str:
        return f"127.77.{self.third}.{number}"

    def release(self) -> None:
        """Lets go of this process's hold; server processes that inherited it keep theirs."""
        os.close(self.claim)


def claim(folder: Path, port: int) -> Network:
    """The first network that nobody else uses.

    Args:
        folder: Where claims live; each network has a subfolder, which the claimer may clear.
        port: Must be free on the network: another user's claims may lie in another folder.

    Raises:
        RuntimeError: all 254 are taken.
    """
    for third in range(1, 255):
        own = folder / f"127.77.{third}"
        own.mkdir(parents=True, exist_ok=True)
        # The lock belongs to the open file: a process that inherits it holds the claim too.
        handle = os.open(own / "claim", os.O_RDWR | os.O_CREAT, 0o600)
        network = Network(third, own, handle)
        if _lock(handle) and _is_free(network.host(1), port):
            return network
        network.release()
    raise RuntimeError(f"every network below {folder} is claimed, or port {port} is taken on it")


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
