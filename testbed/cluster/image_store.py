"""Images imported and unpacked once, for all nodes of all clusters.

A store is the root folder of a containerd that has run no container: blobs, and unpacked layers.
Neither is ever written again, a running container least of all, so a node gets hard links. That
takes a moment where an import takes seconds, and nodes share the disk and memory that files take.
A new store begins as such a copy too, of the one that has most of its layers.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from testbed.cluster.images import Image, digest, write_archive
from testbed.cluster.once import once
from testbed.paths import cache

# Of those that were used last; another one is made from its images again.
_KEPT = 6
_CONTENT = "io.containerd.content.v1.content"
_START_SECONDS = 60.0
_CONFIGURATION = """\
version = 2
root = "{root}"
state = "{work}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{work}/socket"
"""


def store(images: Sequence[Image]) -> Path:
    """The folder with `images`; nothing in it may be changed.

    Raises:
        RuntimeError: containerd did not start, or refuses an image.
    """
    found = once(_folder() / _key(images), lambda target: _make(target, images))
    os.utime(found)
    return found


def copy(store: Path, target: Path) -> None:
    """Makes `target` a containerd root of its own with all that is in `store`."""
    subprocess.run(["cp", "--archive", "--link", store, target], check=True)
    for database in target.glob("*/*.db"):
        shutil.copyfile(database, database.with_suffix(".own"))
        database.with_suffix(".own").replace(database)


def _key(images: Sequence[Image]) -> str:
    described = [
        (image, [(path.stat().st_size, path.stat().st_mtime_ns) for path in image.layers])
        for image in images
    ]
    return hashlib.sha256(repr(described).encode()).hexdigest()[:16]


def _make(target: Path, images: Sequence[Image]) -> None:
    print(f"cluster: unpacking {', '.join(image.name for image in images)}", flush=True)
    for old in sorted(_stores(), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        shutil.rmtree(old)
    sizes = {digest(path): path.stat().st_size for image in images for path in image.layers}

    def shared(store: Path) -> int:
        return sum(size for layer, size in sizes.items() if layer in _blobs(store))

    if (best := max(_stores(), key=shared, default=None)) is not None:
        copy(best, target)
    # A socket's path may be no longer than 107 bytes.
    with tempfile.TemporaryDirectory(dir="/tmp") as work:
        configuration, log = Path(work, "containerd.toml"), Path(work, "log")
        configuration.write_text(_CONFIGURATION.format(root=target, work=work))
        # It unpacks by mounting; those mounts are nobody else's.
        command = ["unshare", "--mount", "/usr/bin/containerd", f"--config={configuration}"]
        with log.open("wb") as output:
            server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait(server, work, log)
            for image in images:
                archive = write_archive(image, Path(work, "image.tar"), without=_blobs(target))
                _ctr(work, "images", "import", str(archive))
            here = _ctr(work, "images", "list", "--quiet").split()
            if unwanted := set(here) - {image.name for image in images}:
                _ctr(work, "images", "remove", "--sync", *unwanted)
        finally:
            server.terminate()
            server.wait()


def _stores() -> list[Path]:
    return [path for path in _folder().glob("*") if (path / _CONTENT).is_dir()]


def _blobs(store: Path) -> set[str]:
    """Digests of what it holds."""
    return {f"sha256:{path.name}" for path in (store / _CONTENT / "blobs" / "sha256").glob("*")}


def _folder() -> Path:
    return cache() / "images" / "stores"


def _wait(server: subprocess.Popen[bytes], work: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            _ctr(work, "version")
        except RuntimeError as problem:
            if server.poll() is not None or time.monotonic() > deadline:
                said = log.read_text()[-2000:]
                raise RuntimeError(f"containerd did not start: {problem}\n{said}") from problem
            time.sleep(0.1)
        else:
            return


def _ctr(work: str, *arguments: str) -> str:
    command = ["ctr", f"--address={work}/socket", "--namespace=k8s.io", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ctr {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
