"""A Debian with Java, the jars of Cassandra and a script."""

from __future__ import annotations

import hashlib
from pathlib import Path

from testbed.cassandra.jars import jars
from testbed.cluster.base_images import debian
from testbed.cluster.images import Image, layer
from testbed.cluster.once import once
from testbed.paths import cache

FOLDER = "/opt/cassandra"
_RUN = Path(__file__).with_name("run")


def image() -> Image:
    """What the pods of the StatefulSet run; it needs their command.

    Raises:
        RuntimeError: debootstrap or Maven failed; the message holds what they said.
    """
    java, lib = debian(["openjdk-17-jre-headless"]), jars()
    key = hashlib.sha256(f"{lib.name}{_RUN.read_text()}".encode()).hexdigest()[:8]

    def make(target: Path) -> None:
        layer(target, {f"{FOLDER}/lib": lib, f"{FOLDER}/run": _RUN})

    cassandra = once(cache() / "images" / f"cassandra-{key}.tar", make)
    return Image(f"insitu.test/cassandra:{key}", (*java.layers, cassandra), user="10001:10001")
