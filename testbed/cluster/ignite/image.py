"""A Debian with Java, the jars of Ignite and two scripts."""

from __future__ import annotations

import hashlib
from pathlib import Path

from testbed.cluster.base_images import debian
from testbed.cluster.images import Image, layer
from testbed.cluster.once import once
from testbed.ignite.jars import jars
from testbed.paths import cache

FOLDER = "/opt/ignite"
_HERE = Path(__file__).parent
_SCRIPTS = ("ready", "run")


def image() -> Image:
    """What the pods of the StatefulSet run; it needs their command.

    Raises:
        RuntimeError: debootstrap or Maven failed; the message holds what they said.
    """
    java, lib = debian(["openjdk-17-jre-headless"]), jars()
    content = "".join([lib.name, *((_HERE / name).read_text() for name in _SCRIPTS)])
    key = hashlib.sha256(content.encode()).hexdigest()[:8]

    def make(target: Path) -> None:
        scripts = {f"{FOLDER}/{name}": _HERE / name for name in _SCRIPTS}
        layer(target, {f"{FOLDER}/lib": lib, **scripts})

    ignite = once(cache() / "images" / f"ignite-{key}.tar", make)
    return Image(f"insitu.test/ignite:{key}", (*java.layers, ignite), user="10001:10001")
