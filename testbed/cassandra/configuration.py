"""What one Cassandra node is told: its YAML, its place and its Java command line. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.certificates import KeyStores

NATIVE_PORT = 9042
STORAGE_PORT = 7000
_JMX_PORT = 12000
_RING_DELAY_MS = 5000

# Cassandra's own conf/jvm17-server.options, and what its tools and tests need beyond it.
_EXPORTED = {
    "java.base": "jdk.internal.misc jdk.internal.ref java.lang.ref sun.nio.ch",
    "java.management": "com.sun.jmx.remote.security",
    "java.management.rmi": "com.sun.jmx.remote.internal.rmi",
    "java.rmi": "sun.rmi.registry sun.rmi.server",
    "java.sql": "java.sql",
    "jdk.attach": "sun.tools.attach",
    "jdk.compiler": "com.sun.tools.javac.file",
    "jdk.unsupported": "sun.misc",
}
_OPENED = {
    "java.base": (
        "java.io java.lang java.lang.module java.lang.reflect java.nio java.util"
        " java.util.concurrent java.util.concurrent.atomic jdk.internal.loader jdk.internal.math"
        " jdk.internal.misc jdk.internal.module jdk.internal.ref jdk.internal.reflect"
        " jdk.internal.util.jar sun.nio.ch"
    ),
    "jdk.compiler": "com.sun.tools.javac",
    "jdk.management": "com.sun.management.internal",
}

LOGBACK = """\
<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %date{HH:mm:ss.SSS} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="out"/></root>
</configuration>
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is, for the snitch."""

    datacenter: str = "datacenter1"
    rack: str = "rack1"

    @property
    def properties(self) -> str:
        """As `cassandra-rackdc.properties`."""
        return f"dc={self.datacenter}\nrack={self.rack}\n"


@dataclass(frozen=True, slots=True)
class Settings:
    """What all nodes of a cluster share."""

    vnodes: int = 16
    snitch: str = "GossipingPropertyFileSnitch"
    dynamic_snitch: bool = False
    node_local: bool = False
    authentication: bool = False
    heap_mb: int = 256
    fast: bool = False
    key_stores: KeyStores | None = None


def node_yaml(
    settings: Settings,
    host: str,
    folder: Path,
    *,
    seeds: Sequence[str],
    tokens: Sequence[int],
    bootstrap: bool,
) -> str:
    """The node's `cassandra.yaml`; JSON is YAML too.

    Args:
        settings: of the cluster.
        host: the address it listens on, for clients and for other nodes.
        folder: for its data.
        seeds: addresses of nodes that know the others.
        tokens: its own.
        bootstrap: fetch the data of its ranges before serving; a new cluster has none.
    """
    options: dict[str, object] = {
        "cluster_name": "testbed",
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "endpoint_snitch": settings.snitch,
        "dynamic_snitch": settings.dynamic_snitch,
        "num_tokens": len(tokens),
        "initial_token": ",".join(map(str, tokens)),
        "auto_bootstrap": bootstrap,
        "listen_address": host,
        "rpc_address": host,
        "storage_port": STORAGE_PORT,
        "native_transport_port": NATIVE_PORT,
        "start_native_transport": True,
        "seed_provider": [
            {
                "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                "parameters": [{"seeds": ",".join(seeds)}],
            }
        ],
        "data_file_directories": [str(folder / "data")],
        "commitlog_directory": str(folder / "commitlog"),
        "saved_caches_directory": str(folder / "saved_caches"),
        "hints_directory": str(folder / "hints"),
        "cdc_raw_directory": str(folder / "cdc_raw"),
        "commitlog_sync": "periodic",
        "commitlog_sync_period": "10s",
        "commitlog_segment_size": "32MiB",
        "auto_snapshot": False,
        "materialized_views_enabled": True,
        "concurrent_reads": 8,
        "concurrent_writes": 8,
        **_access(settings),
    }
    return json.dumps(options, indent=1)


def _access(settings: Settings) -> dict[str, object]:
    options: dict[str, object] = {}
    if settings.authentication:
        options |= {
            "authenticator": "PasswordAuthenticator",
            "authorizer": "CassandraAuthorizer",
            "role_manager": "CassandraRoleManager",
            # A grant counts at once.
            "permissions_validity": "0ms",
            "roles_validity": "0ms",
            "credentials_validity": "0ms",
        }
    if (stores := settings.key_stores) is not None:
        options["client_encryption_options"] = {
            "enabled": True,
            "optional": False,
            "keystore": str(stores.identity),
            "keystore_password": stores.password,
            "truststore": str(stores.trusted),
            "truststore_password": stores.password,
            "require_client_auth": True,
            "store_type": "PKCS12",
        }
    return options


def java_command(
    java: str, settings: Settings, jars: Path, folder: Path, jmx_port: int, *, bootstrap: bool
) -> list[str]:
    """Starts a node; small and quick to boot, or `fast`: without a limit to the compiler.

    With `bootstrap` it takes the time to learn the whole ring first. A node that joins on half of
    the news fetches half of its rows, and nobody ever notices.
    """
    heap = settings.heap_mb
    command = [java, "-Xms64m", f"-Xmx{heap}m", f"-XX:MaxDirectMemorySize={heap}m", "-Xss256k"]
    if not settings.fast:
        command += ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    command += [f"-javaagent:{next(jars.glob('jamm-*.jar'))}", *_modules()]
    properties = {
        "cassandra.config": (folder / "cassandra.yaml").as_uri(),
        "cassandra.storagedir": folder,
        "cassandra.triggers_dir": folder / "triggers",
        "cassandra.jmx.local.port": jmx_port,
        "cassandra.ring_delay_ms": _RING_DELAY_MS,
        "cassandra.superuser_setup_delay_ms": 0,
        "cassandra-foreground": "yes",
        "logback.configurationFile": folder / "logback.xml",
    }
    if not bootstrap:
        properties["cassandra.skip_wait_for_gossip_to_settle"] = 0
    if settings.node_local:
        properties["cassandra.enable_nodelocal_queries"] = "true"
    main = "org.apache.cassandra.service.CassandraDaemon"
    return [*command, *_defined(properties), "-cp", f"{folder}:{jars}/*", main]


def nodetool_command(java: str, jars: Path, folder: Path, jmx_port: int) -> list[str]:
    """Cassandra's own tool, asking the node at `jmx_port`; the subcommand follows."""
    # It keeps a history file in the user's home.
    properties = {"user.home": folder, "logback.configurationFile": folder / "logback.xml"}
    return [
        *(java, "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *_modules()),
        *_defined(properties),
        *("-cp", f"{folder}:{jars}/*", "org.apache.cassandra.tools.NodeTool"),
        *("-h", "127.0.0.1", "-p", str(jmx_port)),
    ]


def jmx_port(network: int, number: int) -> int:
    """A port of 127.0.0.1, where JMX always listens, that no other node of this machine has.

    It lies below the ephemeral ports for up to 64 nodes of each of the networks 1 to 254.
    """
    return _JMX_PORT + network * 64 + number


def _modules() -> list[str]:
    return [
        f"--add-{what}={module}/{package}=ALL-UNNAMED"
        for what, all_of in (("exports", _EXPORTED), ("opens", _OPENED))
        for module, packages in all_of.items()
        for package in packages.split()
    ] + ["-Djdk.attach.allowAttachSelf=true", "-Dio.netty.tryReflectionSetAccessible=true"]


def _defined(properties: Mapping[str, object]) -> list[str]:
    return [f"-D{name}={value}" for name, value in properties.items()]
