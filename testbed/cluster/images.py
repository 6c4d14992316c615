"""Container images without a builder or a registry: layers that are tar files, in an OCI archive.

https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_SPEC = "application/vnd.oci.image"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Image:
    """What `Cluster.load_image` puts on the nodes.

    Args:
        name: With its tag, `example.test/name:tag`; pods of it need no pull.
        layers: Uncompressed tar files, the lowest first.
        entrypoint: What a pod runs unless it has a `command`.
        arguments: Of the entrypoint, unless the pod has `args` or a `command`.
        environment: Of all its processes.
        user: A number, or `uid:gid`; pods that must not run as root need a number.
        folder: Where the command starts.
    """

    name: str
    layers: tuple[Path, ...]
    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = "0"
    folder: str = "/"


def layer(target: Path, files: Mapping[str, Path], *, user: int = 0) -> Path:
    """Writes a layer with single files or whole folders, the same bytes for the same content.

    Args:
        target: The tar file to write.
        files: Path in the image, absolute, to the file or folder here.
        user: The numeric owner of all of them, and their group.

    Returns:
        `target`.
    """

    def normal(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if Path(entry.name).name == "__pycache__":
            return None
        entry.uid = entry.gid = user
        entry.uname = entry.gname = ""
        entry.mtime = 0
        return entry

    with tarfile.open(target, "w") as tar:
        for path in sorted(files):
            tar.add(files[path], path.lstrip("/"), filter=normal)
    return target


def write_archive(image: Image, target: Path, *, without: Container[str] = ()) -> Path:
    """Writes `image` as an OCI archive that `ctr images import` takes, and returns `target`.

    Layers whose digests are in `without` are named, and left out: whoever imports it has them.
    """
    digests = [digest(path) for path in image.layers]
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": list(image.entrypoint),
                "Cmd": list(image.arguments),
                "Env": [
                    f"{name}={value}"
                    for name, value in {"PATH": _PATH, **image.environment}.items()
                ],
                "User": image.user,
                "WorkingDir": image.folder,
            },
            "rootfs": {"type": "layers", "diff_ids": digests},
            # Builders refuse an image whose layers are not all told of here.
            "history": [{"created_by": path.name} for path in image.layers],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_SPEC}.manifest.v1+json",
            "config": _descriptor("config.v1+json", _digest(config), len(config)),
            "layers": [
                _descriptor("layer.v1.tar", name, path.stat().st_size)
                for name, path in zip(digests, image.layers, strict=True)
            ],
        }
    )
    named = _descriptor("manifest.v1+json", _digest(manifest), len(manifest))
    index = {
        "schemaVersion": 2,
        # The name that containerd gives it.
        "manifests": [named | {"annotations": {"io.containerd.image.name": image.name}}],
    }
    blobs = {_digest(config): config, _digest(manifest): manifest}
    with tarfile.open(target, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", _json(index))
        for name, data in blobs.items():
            _add(tar, _blob(name), data)
        for name, path in dict(zip(digests, image.layers, strict=True)).items():
            if name not in without:
                tar.add(path, _blob(name))
    return target


def digest(layer: Path) -> str:
    """Of a layer's file, as manifests write it."""
    with layer.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _descriptor(kind: str, name: str, size: int) -> dict[str, object]:
    return {"mediaType": f"{_SPEC}.{kind}", "digest": name, "size": size}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _blob(name: str) -> str:
    return f"blobs/{name.replace(':', '/')}"


def _json(value: Mapping[str, object] | Sequence[object]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
