"""The jars of an Ignite server, copied once into the cache by Maven."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from testbed.paths import cache, tool

_POM = Path(__file__).with_name("pom.xml")
_REMEDY = "Run `make setup`, or on Debian and Ubuntu `apt-get install maven`."


def version() -> str:
    """The pinned release of Ignite, from the pom."""
    found = ElementTree.parse(_POM).findtext(".//{*}ignite.version")  # noqa: S314 - our own file
    if found is None:
        raise LookupError(f"{_POM} has no property ignite.version")
    return found


def jars() -> Path:
    """The folder with every jar of a server node; fetched when the cache lacks it.

    Raises:
        FileNotFoundError: Maven is needed and not installed.
        RuntimeError: Maven failed; the message holds what it said.
    """
    target = cache() / f"ignite-{version()}"
    with (cache() / "ignite.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            _fetch(target)
    return target


def _fetch(target: Path) -> None:
    print(f"ignite: fetching {target.name} with Maven (27 MB)", flush=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [tool("mvn", _REMEDY), "--quiet", "--batch-mode", "--file", str(_POM)]
        command += ["dependency:copy-dependencies", f"-DoutputDirectory={folder}/lib"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"Maven could not fetch Ignite:\n{done.stdout}{done.stderr}")
        # Renamed only when it is whole, so a folder of that name is always complete.
        shutil.move(Path(folder, "lib"), target)
