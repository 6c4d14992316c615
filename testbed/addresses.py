"""A loopback network of one's own, so that clusters side by side use the same ports.

All of 127.0.0.0/8 is this machine, and Linux lets a server bind any address of it.
"""

from __future__ import annotations

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

# The network's last address is used for nothing but the claim.
_CLAIM = 254


@dataclass(frozen=True, slots=True)
class Network:
    """127.78.`third`.0/24, claimed for as long as any process holds `claim` open."""

    third: int
    claim: socket.socket

    @property
    def name(self) -> str:
        return f"127.78.{self.third}"

    def host(self, number: int) -> str:
        """The address of server `number`, from 1 to 253."""
        return f"{self.name}.{number}"

    def release(self) -> None:
        """Lets go of this process's hold; server processes that inherited it keep theirs."""
        self.claim.close()


def claim(port: int) -> Network:
    """The first network where nobody else on this machine, of whatever user, serves on `port`.

    Raises:
        RuntimeError: all 254 are taken.
    """
    for third in range(1, 255):
        if (network := claim_one(third, port)) is not None:
            return network
    raise RuntimeError(f"port {port} is taken on every network from 127.78.1.0 to 127.78.254.0")


def claim_one(third: int, port: int) -> Network | None:
    """127.78.`third`.0/24, or None when it is taken.

    The claim is a bound socket: the kernel grants it once, and takes it back from the dead.
    """
    held = socket.socket()
    network = Network(third, held)
    try:
        held.bind((network.host(_CLAIM), port))
    except OSError:
        held.close()
        return None
    return network


def claimed_folder(run: Path, network: Network, port: int) -> Path:
    """The path below `run` for files of servers on `network`; nothing is there yet.

    Those of networks nobody serves on are removed.
    """
    for left in run.glob("*"):
        # A claim that is granted says that whoever left the files is gone.
        if left.name == str(network.third):
            shutil.rmtree(left)
        elif (dead := claim_one(int(left.name), port)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            dead.release()
    return run / str(network.third)
