"""The jars of a Cassandra node."""

from __future__ import annotations

from pathlib import Path

from testbed import maven


def jars() -> Path:
    """The folder with every jar of a node; see `testbed.maven.jars`."""
    return maven.jars("cassandra", Path(__file__).with_name("pom.xml"), "67 MB")
