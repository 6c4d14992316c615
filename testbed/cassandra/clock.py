"""Nodes whose clocks are wrong: Cassandra asks a class of ours for the time."""

from __future__ import annotations

import subprocess
from pathlib import Path

from testbed.paths import tool

_SOURCE = Path(__file__).with_name("ShiftedClock.java")
_REMEDY = "On Debian and Ubuntu: `apt-get install openjdk-17-jdk-headless`."


def shifted(ahead: float, folder: Path, jars: Path) -> list[str]:
    """Java options of a node whose clock is `ahead` seconds ahead; its class path has `folder`.

    Raises:
        FileNotFoundError: there is no Java compiler; the message says what to install.
    """
    command = [tool("javac", _REMEDY), "-d", str(folder), "-cp", f"{jars}/*", str(_SOURCE)]
    subprocess.run(command, check=True)
    return [f"-Dcassandra.clock={_SOURCE.stem}", f"-Dclock.shift={round(1000 * ahead)}"]
