"""An image from its Containerfile, made again only when something that goes into it has changed."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.cluster.base_images import debian
from testbed.cluster.images import Image, write_archive
from testbed.cluster.once import once
from testbed.images.buildah import Buildah
from testbed.images.packages import fill_cache, key, uv, uv_cache
from testbed.paths import REPOSITORY, cache

# Of the same name: the one in use, and those of a branch or two.
_KEPT = 4
_UV_CACHE = "/var/cache/uv"


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that an image is made of.

    Args:
        name: Of its folder in `images/`.
        context: Files and folders of the repository that its Containerfile copies from.
        requirements: What it installs, with hashes: it finds them in uv's cache.
        arguments: Of the Containerfile, beside BASE.
    """

    name: str
    context: tuple[str, ...]
    requirements: str
    arguments: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return REPOSITORY / "images" / self.name / "Containerfile"

    def files(self) -> list[Path]:
        """Of the context, in a fixed order."""
        named = [REPOSITORY / name for name in self.context]
        inside = {file for path in named for file in [path, *path.rglob("*")]}
        return sorted(file for file in inside if file.is_file() and file.suffix != ".pyc")


def build(recipe: Recipe) -> Image:
    """The image of `recipe`; pods find it under a name that says what went into it.

    Raises:
        RuntimeError: it could not be built; the message holds what the builder said.
    """
    base = debian()
    tag = _tag(recipe, base)
    name = f"insitu.test/{recipe.name}:{tag}"

    def make(target: Path) -> None:
        _forget(recipe.name)
        target.write_text(json.dumps(_make(recipe, base, name)))

    record = once(_records() / f"{recipe.name}-{tag}.json", make)
    record.touch()
    return _image(name, json.loads(record.read_text()))


def _tag(recipe: Recipe, base: Image) -> str:
    found = hashlib.sha256(repr((base.name, sorted(recipe.arguments.items()))).encode())
    for file in [recipe.file, *recipe.files()]:
        content = file.read_bytes()
        found.update(f"{file.relative_to(REPOSITORY)} {len(content)}\n".encode() + content)
    return found.hexdigest()[:12]


def _make(recipe: Recipe, base: Image, name: str) -> Mapping[str, Any]:
    started = time.monotonic()
    print(f"images: building {recipe.name}", flush=True)
    fill_cache(recipe.requirements)
    # In the cache, so that layers need no copying from one file system to another.
    with tempfile.TemporaryDirectory(dir=_folder()) as folder:
        work = Path(folder)
        buildah = Buildah(_storage(recipe), work)
        if not buildah.storage.exists():
            buildah.pull(write_archive(base, work / "base.tar"))
        for file in recipe.files():
            target = work / "context" / file.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        settings = work / "uv"
        settings.mkdir()
        (settings / "uv.toml").write_text(f'offline = true\ncache-dir = "{_UV_CACHE}"\n')
        tools = work / "tools" / "tools" / "bin"
        tools.mkdir(parents=True)
        shutil.copy(uv(), tools)
        buildah.build(
            name,
            recipe.file,
            work / "context",
            arguments={"BASE": base.name, **recipe.arguments},
            contexts={"tools": work / "tools"},
            volumes={settings: "/etc/uv", uv_cache(): _UV_CACHE},
        )
        config = buildah.export(name, _layers())
    print(f"images: built in {time.monotonic() - started:.0f} s", flush=True)
    return config


def _storage(recipe: Recipe) -> Path:
    """Buildah's: a new one for new requirements, without the large layers of the old ones."""
    storages = _folder() / "buildah"
    wanted = storages / f"{recipe.name}-{key(recipe.requirements)}"
    for old in storages.glob(f"{recipe.name}-*"):
        if old != wanted:
            shutil.rmtree(old)
    return wanted


def _image(name: str, config: Mapping[str, Any]) -> Image:
    runs, digests = config["config"], config["rootfs"]["diff_ids"]
    return Image(
        name,
        tuple(_layers() / digest.removeprefix("sha256:") for digest in digests),
        entrypoint=tuple(runs.get("Entrypoint") or ()),
        arguments=tuple(runs.get("Cmd") or ()),
        environment=dict(entry.split("=", 1) for entry in runs.get("Env", ())),
        user=runs["User"],
        folder=runs["WorkingDir"],
    )


def _forget(name: str) -> None:
    """Removes the images that were asked for longest ago, with the layers that only they have."""
    ours = sorted(_records().glob(f"{name}-*.json"), key=lambda path: path.stat().st_mtime)
    for old in ours[:-_KEPT]:
        old.unlink()
    kept = [json.loads(record.read_text()) for record in _records().glob("*.json")]
    used = {digest for config in kept for digest in config["rootfs"]["diff_ids"]}
    for layer in _layers().iterdir():
        if f"sha256:{layer.name}" not in used:
            layer.unlink()


def _records() -> Path:
    return _folder() / "built"


def _layers() -> Path:
    path = _folder() / "layers"
    path.mkdir(exist_ok=True)
    return path


def _folder() -> Path:
    return cache() / "images"
