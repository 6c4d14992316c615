"""Secrets of local mode: folders of files, as Kubernetes mounts them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from insitu.api import SecretFiles
from insitu.errors import ConfigurationError


def secret_files(manifest_folder: Path, given: Mapping[str, Path]) -> SecretFiles:
    """Finds a Secret in the folder `given` for it, or in `secrets/<name>` beside the manifest."""

    def find(name: str) -> Mapping[str, Path]:
        folder = given.get(name, manifest_folder / "secrets" / name)
        if not folder.is_dir():
            raise ConfigurationError(
                f"secret '{name}' is not there: {folder} is not a folder. Make it, with a file for"
                f" each key, or name another one with --secret {name}=FOLDER"
            )
        return {path.name: path.resolve() for path in sorted(folder.iterdir()) if path.is_file()}

    return find
