"""What one server node is told: its Spring XML and its Java command line. Pure."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from testbed.certificates import KeyStores

THIN_PORT = 10800
# Below the ephemeral ports, so that no outgoing connection of this machine ever sits on them.
DISCOVERY_PORT = 10850
COMMUNICATION_PORT = 10860

_TEMPLATE = Path(__file__).with_name("node.xml")

# Ignite's own bin/include/jvmdefaults.sh, for Java 15 and newer.
_OPENED = {
    "java.base": (
        "java.io java.lang java.lang.invoke java.lang.reflect java.math java.net java.nio "
        "java.text java.time java.util java.util.concurrent java.util.concurrent.atomic "
        "java.util.concurrent.locks jdk.internal.access jdk.internal.misc sun.nio.ch "
        "sun.reflect.generics.reflectiveObjects sun.util.calendar"
    ),
    "java.management": "com.sun.jmx.mbeanserver sun.management",
    "jdk.internal.jvmstat": "sun.jvmstat.monitor",
    "jdk.management": "com.sun.management.internal",
    "java.sql": "java.sql",
    "java.desktop": "java.awt.font",
}
# What becomes of partitions whose last copy is lost: empty ones, or none until they are reset.
_LOSS_POLICIES = {"p": "IGNORE", "safe": "READ_ONLY_SAFE"}
_SYSTEM_PROPERTIES = {
    "java.net.preferIPv4Stack": "true",
    "IGNITE_QUIET": "true",
    "IGNITE_NO_ASCII": "true",
    "IGNITE_UPDATE_NOTIFIER": "false",
    "IGNITE_PERFORMANCE_SUGGESTIONS_DISABLED": "true",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What all nodes of a cluster share. Sizes are MiB a node."""

    heap_mb: int = 256
    region_mb: int = 256
    partitions: tuple[int, ...] = (1, 7, 64, 100, 1024)
    authentication: bool = False
    persistence: bool = False
    fast: bool = False
    key_stores: KeyStores | None = None

    @property
    def activated(self) -> bool:
        """Whether the cluster keeps data on disk, and so has to be activated once."""
        return self.persistence or self.authentication


def node_xml(settings: Settings, node: str, host: str, members: Sequence[str], work: Path) -> str:
    """The Spring XML of the node with consistent id `node` at `host`, one of `members`."""
    values = {
        "id": node,
        "host": host,
        "work": str(work),
        "port": THIN_PORT,
        "discovery_port": DISCOVERY_PORT,
        "communication_port": COMMUNICATION_PORT,
        "region_mb": settings.region_mb,
        "authentication": settings.authentication,
        "persistence": settings.activated,
        "tls": settings.key_stores is not None,
    }
    blocks = {
        "members": "".join(f"<value>{m}:{DISCOVERY_PORT}</value>" for m in members),
        "templates": "".join(
            _cache_template(f"{prefix}{partitions}", partitions, policy)
            for partitions in settings.partitions
            for prefix, policy in _LOSS_POLICIES.items()
        ),
        "ssl_context_factory": _ssl_context_factory(settings.key_stores),
    }
    plain = {name: escape(str(value).lower() if isinstance(value, bool) else str(value))
             for name, value in values.items()}  # fmt: skip
    return string.Template(_TEMPLATE.read_text()).substitute(plain | blocks)


def java_command(java: str, settings: Settings, jars: Path, xml: Path) -> list[str]:
    """Starts a node; small and quick to boot, or `fast`: without a limit to the compiler."""
    command = [java, "-Xms64m", f"-Xmx{settings.heap_mb}m"]
    if not settings.fast:
        command += ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    command += [
        f"--add-opens={module}/{package}=ALL-UNNAMED"
        for module, packages in _OPENED.items()
        for package in packages.split()
    ]
    command += [f"-D{name}={value}" for name, value in _SYSTEM_PROPERTIES.items()]
    main = "org.apache.ignite.startup.cmdline.CommandLineStartup"
    return [*command, "-cp", f"{jars}/*", main, str(xml)]


def _cache_template(name: str, partitions: int, loss_policy: str) -> str:
    return f"""
        <bean class="org.apache.ignite.configuration.CacheConfiguration">
          <property name="name" value="{name}*"/>
          <property name="partitionLossPolicy" value="{loss_policy}"/>
          <property name="writeSynchronizationMode" value="FULL_SYNC"/>
          <property name="affinity">
            <bean class="org.apache.ignite.cache.affinity.rendezvous.RendezvousAffinityFunction">
              <constructor-arg value="false"/>
              <constructor-arg value="{partitions}"/>
            </bean>
          </property>
        </bean>"""


def _ssl_context_factory(stores: KeyStores | None) -> str:
    if stores is None:
        return "<null/>"
    values = {
        "keyStoreType": "PKCS12",
        "keyStoreFilePath": stores.identity,
        "keyStorePassword": stores.password,
        "trustStoreType": "PKCS12",
        "trustStoreFilePath": stores.trusted,
        "trustStorePassword": stores.password,
    }
    return (
        '<bean class="org.apache.ignite.ssl.SslContextFactory">'
        + "".join(
            f'<property name="{name}" value="{escape(str(value))}"/>'
            for name, value in values.items()
        )
        + "</bean>"
    )
