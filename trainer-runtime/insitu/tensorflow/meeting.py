"""How the ranks of a generation find each other: at an address of rank 0, under a time limit."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from insitu.contract import Assignment
from insitu.errors import ConfigurationError, PeerLost
from insitu.tensorflow.link import Link, receive, send

_RETRY_SECONDS: Final = 0.1
_HELLO_SECONDS: Final = 5.0
_HELLO_BYTES: Final = 4096
_FORMAT: Final = "insitu.link/1"


@dataclass(frozen=True, slots=True)
class Hello:
    """Who is there; all but `rank` has to be the same on both sides."""

    job: str
    generation: int
    world_size: int
    rank: int


def join(assignment: Assignment, *, join_seconds: float, timeout_seconds: float) -> Link:
    """Meets all ranks of this one's generation at `assignment.master`.

    Strangers and ranks of other generations are sent away, and waited for no more.

    Args:
        assignment: Rank, world size, and where to meet.
        join_seconds: How long to wait for all to be there.
        timeout_seconds: How long one exchange may take later.

    Raises:
        ConfigurationError: nobody said where to meet, or rank 0 can't listen there.
        PeerLost: not all ranks came, or rank 0 belongs to another generation.
    """
    rank, world_size = assignment.rank, assignment.world_size
    if world_size == 1:
        return Link(0, 1, (), timeout_seconds)
    host, port = assignment.master
    if not port:
        raise ConfigurationError(
            f"rank {rank} of {world_size} has to be told where to meet the others: set "
            "MASTER_ADDR and MASTER_PORT"
        )
    mine = Hello(assignment.job, assignment.generation, world_size, rank)
    deadline = time.monotonic() + join_seconds
    peers = [_call(host, port, mine, deadline)] if rank else _host(host, port, mine, deadline)
    return Link(rank, world_size, peers, timeout_seconds)


def own_address(assignment: Assignment) -> str:
    """This machine's address on the way to rank 0; rank 0's own is the one where all meet."""
    host, port = assignment.master
    if assignment.rank == 0:
        return host
    family, kind, _, _, there = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as way:
        way.connect(there)  # Sends nothing: the kernel only chooses a way.
        return str(way.getsockname()[0])


def _host(host: str, port: int, mine: Hello, deadline: float) -> Sequence[socket.socket]:
    found: dict[int, socket.socket] = {}
    with _listener(host, port) as listener:
        while len(found) < mine.world_size - 1:
            listener.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                caller, _ = listener.accept()
            except TimeoutError as error:
                for peer in found.values():
                    peer.close()
                missing = sorted(set(range(1, mine.world_size)) - found.keys())
                raise PeerLost(
                    f"rank 0 waited at {host}:{port}, and these ranks did not come: "
                    f"{', '.join(map(str, missing))}"
                ) from error
            hello = _answer(caller, mine)
            if hello is None or hello.rank in found:
                caller.close()
            else:
                found[hello.rank] = caller
    try:
        for peer in found.values():
            send(peer, b"all here", deadline)
    except OSError as error:
        raise PeerLost(f"a rank went away while the others were still coming: {error}") from error
    return [found[rank] for rank in sorted(found)]


def _listener(host: str, port: int) -> socket.socket:
    # Another machine may know this one by a name or address that it has not itself.
    local = host == "localhost" or host.startswith("127.")
    try:
        return socket.create_server((host if local else "", port))
    except OSError as error:
        raise ConfigurationError(
            f"rank 0 can't listen at {host}:{port} for the other ranks: {error.strerror}"
        ) from error


def _answer(caller: socket.socket, mine: Hello) -> Hello | None:
    """Who calls, where it is one of ours."""
    with contextlib.suppress(OSError, EOFError, ValueError, TypeError, KeyError):
        deadline = time.monotonic() + _HELLO_SECONDS
        said = json.loads(receive(caller, deadline, _HELLO_BYTES))
        if said.pop("format") == _FORMAT:
            hello = Hello(**said)
            expected = Hello(mine.job, mine.generation, mine.world_size, hello.rank)
            fits = hello == expected and 0 < hello.rank < mine.world_size
            send(caller, b"" if fits else _unlike(mine).encode(), deadline)
            return hello if fits else None
    return None


def _unlike(mine: Hello) -> str:
    return f"generation {mine.generation} of job '{mine.job}' with {mine.world_size} ranks"


def _call(host: str, port: int, mine: Hello, deadline: float) -> socket.socket:
    said = json.dumps({"format": _FORMAT} | asdict(mine)).encode()
    problem: object = "nobody listens there"
    while (left := deadline - time.monotonic()) > 0:
        try:
            caller = socket.create_connection((host, port), timeout=left)
        except OSError as error:  # Rank 0 may only be starting.
            problem = error
            time.sleep(min(_RETRY_SECONDS, left))
            continue
        try:
            send(caller, said, deadline)
            other = receive(caller, deadline, _HELLO_BYTES).decode(errors="replace")
            if not other:
                receive(caller, deadline, _HELLO_BYTES)
                return caller
        except (OSError, EOFError) as error:
            caller.close()
            problem = error
            time.sleep(min(_RETRY_SECONDS, left))
        else:
            caller.close()
            raise PeerLost(f"at {host}:{port} is {other}, and this is {_unlike(mine)}")
    raise PeerLost(f"rank {mine.rank} did not meet all others at {host}:{port}: {problem}")
