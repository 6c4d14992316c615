"""Images that are made on this machine: a Debian to build on, the pause container, CoreDNS."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from testbed.cluster import binaries
from testbed.cluster.images import Image, layer
from testbed.cluster.once import once
from testbed.paths import REPOSITORY, cache

_PAUSE = REPOSITORY / "images" / "pause" / "pause.c"
# Its Python is 3.11.
_SUITE = "bookworm"
_PYTHON = ("ca-certificates", "libpython3-stdlib", "python3-minimal")
# Of no use in a container; half of the size.
_LEFT_OUT = (
    "./dev/*",
    "./proc/*",
    "./sys/*",
    "./usr/share/doc/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
)


def pause() -> Image:
    """The container that holds each pod's namespaces."""
    return Image(
        "insitu.test/pause:1", (_layer("pause", pause_binary()),), ("/pause",), user="65535"
    )


def coredns() -> Image:
    """The DNS server of the cluster, nothing else."""
    binaries.built(binaries.COREDNS)
    program = _layer("coredns", binaries.COREDNS.folder / "coredns")
    return Image("insitu.test/coredns:1", (program,), ("/coredns",))


def debian(packages: Sequence[str] = _PYTHON) -> Image:
    """A minimal Debian 12 with `packages`; the default brings Python 3.11.

    Raises:
        RuntimeError: debootstrap failed; the message holds the end of what it said.
    """
    wanted = ",".join(sorted(packages))
    key = hashlib.sha256(wanted.encode()).hexdigest()[:8]

    def make(target: Path) -> None:
        print(f"cluster: debootstrap {_SUITE} with {wanted} (2 minutes, kept)", flush=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            root = Path(folder, "root")
            # In a namespace of its own, so that what it mounts can't stay behind.
            bootstrap = ["unshare", "--mount", "debootstrap", "--variant=minbase"]
            _run(*bootstrap, f"--include={wanted}", _SUITE, str(root))
            leave_out = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
            _run("tar", "-C", str(root), "--numeric-owner", "--anchored", *leave_out,
                 "-cf", str(target), ".")  # fmt: skip

    made = once(_folder() / f"debian-{_SUITE}-{key}.tar", make)
    return Image(f"insitu.test/debian:{_SUITE}-{key}", (made,))


def pause_binary() -> Path:
    """The static program of `images/pause`, compiled when its source has changed."""
    key = hashlib.sha256(_PAUSE.read_bytes()).hexdigest()[:8]

    def make(target: Path) -> None:
        _run("gcc", "-static", "-Os", "-s", "-o", str(target), str(_PAUSE))

    return once(_folder() / f"pause-{key}", make)


def _layer(name: str, program: Path) -> Path:
    """A layer with nothing but `program`, as `/name`."""
    key = f"{program.stat().st_mtime_ns:x}"

    def make(target: Path) -> None:
        layer(target, {f"/{name}": program})

    return once(_folder() / f"{name}-{key}.tar", make)


def _folder() -> Path:
    return cache() / "images"


def _run(*command: str) -> None:
    done = subprocess.run(
        ["nice", "-n", "19", *command], check=False, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-2000:]}")
