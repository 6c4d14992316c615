"""The jars of an Ignite server."""

from __future__ import annotations

from pathlib import Path

from testbed import maven


def jars() -> Path:
    """The folder with every jar of a server node; see `testbed.maven.jars`."""
    return maven.jars("ignite", Path(__file__).with_name("pom.xml"), "27 MB")
