"""Ports for servers that are started a little later."""

from __future__ import annotations

import contextlib
import random
import socket
from typing import Final

_PORTS: Final = (20_000, 32_000)


def free_port(chance: random.Random | None = None) -> int:
    """A port that nobody listens on now, on any of this machine's addresses.

    It lies below those that systems give to outgoing connections, so that none of these takes it
    before TensorFlow does.
    """
    chance = chance or random.SystemRandom()
    while True:
        port = chance.randrange(*_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return port
