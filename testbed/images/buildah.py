"""Buildah as a command, with a storage of its own.

https://github.com/containers/buildah/tree/main/docs
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Buildah:
    """Keeps its layers in `storage`, and nothing outside of `work`, a folder for the moment."""

    storage: Path
    work: Path

    def pull(self, archive: Path) -> None:
        """Takes the image in an OCI archive into the storage, under the name it has there."""
        self._run("pull", "--quiet", f"oci-archive:{archive}")

    def build(
        self,
        name: str,
        file: Path,
        context: Path,
        *,
        arguments: Mapping[str, str],
        contexts: Mapping[str, Path],
        volumes: Mapping[Path, str],
    ) -> None:
        """Builds the Containerfile `file`, and calls the image `name`.

        The same input gives the same bytes: nothing in the image knows when it was made. Steps
        whose input is that of the last time are not run again.

        Args:
            name: With its tag.
            file: The Containerfile.
            context: What its COPY copies from.
            arguments: Of the Containerfile.
            contexts: Folders in the place of stages, by the stages' names.
            volumes: Seen by each RUN: a folder here, and where it is there.

        Raises:
            RuntimeError: a step failed; the message holds the end of what it said.
        """
        options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        options += [f"--build-context={stage}={path}" for stage, path in contexts.items()]
        options += [f"--volume={here}:{there}" for here, there in volumes.items()]
        # No container runtime and no network of its own: a RUN sees no more than a chroot hides.
        options += ["--isolation=chroot", "--network=host", "--pull-never"]
        options += ["--layers", "--timestamp=0"]
        self._run("build", *options, f"--file={file}", f"--tag={name}", str(context))

    def export(self, name: str, layers: Path) -> Mapping[str, Any]:
        """Puts the layers of an image into the folder `layers`, each as a tar file called by its
        sha256, and returns the image's configuration as the OCI defines it.

        Those that are there already cost nothing.
        """
        layout = self.work / "layout"
        blobs = layout / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for known in layers.iterdir():
            os.link(known, blobs / known.name)
        self._run("push", "--quiet", "--compression-level=1", name, f"oci:{layout}:image")
        index = json.loads((layout / "index.json").read_text())
        manifest = _json(blobs, index["manifests"][0])
        config: dict[str, Any] = _json(blobs, manifest["config"])
        digests = config["rootfs"]["diff_ids"]
        for digest, stored in zip(digests, manifest["layers"], strict=True):
            if not (target := layers / _hexadecimal(digest)).exists():
                _unpack(blobs / _hexadecimal(stored["digest"]), target)
        return config

    def _run(self, *arguments: str) -> None:
        command = [
            # What it mounts goes when it ends, however it ends.
            "nice", "-n", "19", "unshare", "--mount", "--propagation=private",
            "buildah", f"--root={self.storage}", f"--runroot={self.work}/run",
            "--storage-driver=overlay", *arguments,
        ]  # fmt: skip
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode:
            raise RuntimeError(f"buildah {arguments[0]} failed:\n{done.stdout[-3000:]}")


def _unpack(packed: Path, target: Path) -> None:
    """Either whole or not there, and called by what is in it."""
    part = target.with_suffix(".part")
    with gzip.open(packed) as source, part.open("wb") as output:
        shutil.copyfileobj(source, output, 1 << 20)
    with part.open("rb") as file:
        if (found := hashlib.file_digest(file, "sha256").hexdigest()) != target.name:
            raise RuntimeError(f"buildah wrote a layer {found} and called it {target.name}")
    part.rename(target)


def _json(blobs: Path, descriptor: Mapping[str, Any]) -> Any:
    return json.loads((blobs / _hexadecimal(descriptor["digest"])).read_text())


def _hexadecimal(digest: str) -> str:
    return digest.removeprefix("sha256:")
