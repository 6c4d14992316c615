"""`python -m testbed`: real servers to try things on."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import click
from rich.console import Console
from rich.table import Table

from insitu.databases import Credentials, Tls
from testbed import cassandra, detached, ignite, images
from testbed import cluster as kubernetes
from testbed.cassandra import clients as cassandra_clients
from testbed.cluster import binaries
from testbed.cluster import detached as kubernetes_detached
from testbed.cluster import ignite as ignite_in_cluster
from testbed.ignite import probe as ignite_probe
from testbed.node import BootFailed

_CLUSTER = ".venv/bin/python -m testbed cluster"

SeesAll = Callable[[str, int, set[str], Credentials | None, Tls | None], bool]
"""Asks the node at an address whether it sees all of some hosts."""


@click.group(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    pass


@main.group("ignite")
def ignite_group() -> None:
    """An Apache Ignite cluster on loopback addresses of this machine."""


@ignite_group.command("up")
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 32))
@click.option("--heap-mb", default=256, show_default=True, help="Java heap of a node.")
@click.option("--region-mb", default=256, show_default=True, help="Memory for tables of a node.")
@click.option("--tls", is_flag=True, help="Clients have to show a certificate.")
@click.option("--authentication", is_flag=True, help="Clients have to log in; tables are on disk.")
@click.option("--persistence", is_flag=True, help="Tables are on disk.")
@click.option("--fast", is_flag=True, help="For measurements: slower to boot, then full speed.")
def ignite_up(nodes: int, **options: bool | int) -> None:
    """Start a cluster and leave it running."""
    _up("ignite", lambda: ignite.start(nodes, detached=True, **options))  # type: ignore[arg-type]


@main.group("cassandra")
def cassandra_group() -> None:
    """An Apache Cassandra cluster on loopback addresses of this machine."""


@cassandra_group.command("up")
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 32))
@click.option("--racks", default=1, show_default=True, help="In each datacenter.")
@click.option("--datacenters", default=1, show_default=True)
@click.option("--vnodes", default=16, show_default=True, help="Tokens of a node.")
@click.option("--heap-mb", default=256, show_default=True, help="Java heap of a node.")
@click.option("--tls", is_flag=True, help="Clients have to show a certificate.")
@click.option("--authentication", is_flag=True, help="Clients have to log in.")
@click.option("--fast", is_flag=True, help="For measurements: slower to boot, then full speed.")
def cassandra_up(nodes: int, **options: bool | int) -> None:
    """Start a cluster and leave it running."""
    _up("cassandra", lambda: cassandra.start(nodes, detached=True, **options))  # type: ignore[arg-type]


@ignite_group.command("down")
def ignite_down() -> None:
    """Stop the cluster and remove its files."""
    _down("ignite")


@cassandra_group.command("down")
def cassandra_down() -> None:
    """Stop the cluster and remove its files."""
    _down("cassandra")


@ignite_group.command("status")
def ignite_status() -> None:
    """Show the nodes; exit code 1 when not all of them are ready."""
    _status("ignite", ignite_probe.sees_all)


@cassandra_group.command("status")
def cassandra_status() -> None:
    """Show the nodes; exit code 1 when not all of them are ready."""
    _status("cassandra", cassandra_clients.sees_all)


def _up(kind: str, start: Callable[[], detached.Runs]) -> None:
    if detached.find(kind) is not None:
        raise click.ClickException(f"a cluster is up already; stop it with: {_here(kind)} down")
    try:
        cluster = start()
    except (BootFailed, FileNotFoundError) as problem:
        raise click.ClickException(str(problem)) from problem
    record = detached.detach(kind, cluster)
    for node in record.nodes:
        click.echo(f"{node.id}  {node.host}:{node.port}")
    if cluster.credentials is not None:
        click.echo(f"user      {cluster.credentials.username}, its password is the same word")
    if cluster.tls is not None:
        click.echo(f"ca        {cluster.tls.ca}")
        click.echo(f"client    {cluster.tls.certificate}, {cluster.tls.key}")
    click.echo(f"\nStop it with: {_here(kind)} down")


def _down(kind: str) -> None:
    record = detached.find(kind)
    if record is None:
        click.echo("no cluster is up")
        return
    detached.stop(record)
    click.echo(f"stopped {len(record.nodes)} nodes")


def _status(kind: str, sees_all: SeesAll) -> None:
    record = detached.find(kind)
    if record is None:
        click.echo(f"no cluster is up; start one with: {_here(kind)} up")
        raise SystemExit(1)
    table = Table("node", "address", "pid", "memory", "ready", box=None)
    all_ready = True
    members = {node.host for node in record.nodes}
    for node in record.nodes:
        process = node.process()
        ready = process is not None and sees_all(
            node.host, node.port, members, record.credentials, record.tls
        )
        all_ready = all_ready and ready
        memory = f"{process.memory_info().rss / 1e6:.0f} MB" if process else "-"
        pid = str(node.pid) if process else "ended"
        table.add_row(node.id, f"{node.host}:{node.port}", pid, memory, "yes" if ready else "no")
    Console().print(table)
    raise SystemExit(0 if all_ready else 1)


def _here(kind: str) -> str:
    return f".venv/bin/python -m testbed {kind}"


@main.group()
def cluster() -> None:
    """A Kubernetes cluster whose nodes are namespaces of this machine."""


@cluster.command("build")
def cluster_build() -> None:
    """Install and build now what clusters would build when they need it first."""
    try:
        kubernetes.build()
        ignite_in_cluster.image()
        images.operator()
        images.trainer_torch()
    except (RuntimeError, OSError) as problem:
        raise click.ClickException(str(problem)) from problem


@cluster.command("up")
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 99))
@click.option("--name", "names", multiple=True, help="Of a node; as often as there are nodes.")
def cluster_up(nodes: int, names: tuple[str, ...]) -> None:
    """Start a cluster and leave it running; the first time, build Kubernetes."""
    if kubernetes_detached.find() is not None:
        raise click.ClickException(f"a cluster is up already; stop it with: {_CLUSTER} down")
    try:
        started = kubernetes.start(nodes, node_names=names or None, detached=True)
    except (RuntimeError, OSError, ValueError) as problem:
        raise click.ClickException(str(problem)) from problem
    started.abandon()
    for node in started.nodes:
        click.echo(f"{node.name}  {node.ip}")
    click.echo(f"\nexport KUBECONFIG={shlex.quote(str(started.kubeconfig))}")
    click.echo(f"export PATH={shlex.quote(str(binaries.KUBERNETES.folder))}:$PATH")
    click.echo(f"\nStop it with: {_CLUSTER} down")


@cluster.command("down")
def cluster_down() -> None:
    """Stop the cluster, and remove what crashed ones left behind."""
    stopped = kubernetes_detached.stop()
    click.echo(f"removed {len(stopped)} cluster(s)" if stopped else "no cluster is up")


@cluster.command("status")
def cluster_status() -> None:
    """Show the nodes and all pods; exit code 1 when a node is not Ready."""
    record = kubernetes_detached.find()
    if record is None:
        click.echo(f"no cluster is up; start one with: {_CLUSTER} up")
        raise SystemExit(1)
    try:
        click.echo(record.kubectl("get", "nodes", "-o", "wide"))
        click.echo(record.kubectl("get", "pods", "--all-namespaces", "-o", "wide"), nl=False)
        ready = record.kubectl.ready("nodes")
    except kubernetes.KubectlFailed as problem:
        raise click.ClickException(str(problem)) from problem
    raise SystemExit(0 if all(ready.get(name, False) for name in record.nodes) else 1)


@cluster.command("kubeconfig")
def cluster_kubeconfig() -> None:
    """Print the path of the administrator's kubeconfig."""
    record = kubernetes_detached.find()
    if record is None:
        raise click.ClickException(f"no cluster is up; start one with: {_CLUSTER} up")
    click.echo(record.kubeconfig)


if __name__ == "__main__":
    main(prog_name="python -m testbed")
