"""The jars of a server, copied once into the cache by Maven."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from testbed.paths import cache, tool

_REMEDY = "Run `make setup`, or on Debian and Ubuntu `apt-get install maven`."


def jars(name: str, pom: Path, size: str) -> Path:
    """The folder with every jar that `pom` names; fetched when the cache lacks it.

    Args:
        name: The server, in lower case; the pom's property `name.version` is its release.
        pom: Names the server's modules.
        size: Of the download, for who has to wait for it.

    Raises:
        FileNotFoundError: Maven is needed and not installed.
        RuntimeError: Maven failed; the message holds what it said.
    """
    target = cache() / f"{name}-{_version(name, pom)}"
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            print(f"{name}: fetching {target.name} with Maven ({size})", flush=True)
            _fetch(pom, target)
    return target


def _version(name: str, pom: Path) -> str:
    found = ElementTree.parse(pom).findtext(f".//{{*}}{name}.version")  # noqa: S314 - our own file
    if found is None:
        raise LookupError(f"{pom} has no property {name}.version")
    return found


def _fetch(pom: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [tool("mvn", _REMEDY), "--quiet", "--batch-mode", "--file", str(pom)]
        command += ["dependency:copy-dependencies", f"-DoutputDirectory={folder}/lib"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"Maven could not fetch {target.name}:\n{done.stdout}{done.stderr}")
        # Renamed only when it is whole, so a folder of that name is always complete.
        shutil.move(Path(folder, "lib"), target)
