"""`python -m testbed`: real servers to try things on."""

from __future__ import annotations

import shlex

import click
from rich.console import Console
from rich.table import Table

from testbed import cluster as kubernetes
from testbed import images
from testbed.cluster import binaries
from testbed.cluster import detached as kubernetes_detached
from testbed.cluster import ignite as ignite_in_cluster
from testbed.ignite import BootFailed, detached, start

_HERE = ".venv/bin/python -m testbed ignite"
_CLUSTER = ".venv/bin/python -m testbed cluster"


@click.group(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    pass


@main.group()
def ignite() -> None:
    """An Apache Ignite cluster on loopback addresses of this machine."""


@ignite.command()
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 32))
@click.option("--heap-mb", default=256, show_default=True, help="Java heap of a node.")
@click.option("--region-mb", default=256, show_default=True, help="Memory for tables of a node.")
@click.option("--tls", is_flag=True, help="Clients have to show a certificate.")
@click.option("--authentication", is_flag=True, help="Clients have to log in; tables are on disk.")
@click.option("--persistence", is_flag=True, help="Tables are on disk.")
@click.option("--fast", is_flag=True, help="For measurements: slower to boot, then full speed.")
def up(
    nodes: int,
    heap_mb: int,
    region_mb: int,
    tls: bool,
    authentication: bool,
    persistence: bool,
    fast: bool,
) -> None:
    """Start a cluster and leave it running."""
    if detached.find() is not None:
        raise click.ClickException(f"a cluster is up already; stop it with: {_HERE} down")
    try:
        cluster = start(
            nodes,
            tls=tls,
            authentication=authentication,
            persistence=persistence,
            heap_mb=heap_mb,
            region_mb=region_mb,
            fast=fast,
            detached=True,
        )
    except (BootFailed, FileNotFoundError) as problem:
        raise click.ClickException(str(problem)) from problem
    record = detached.detach(cluster)
    for node in record.nodes:
        click.echo(f"{node.id}  {node.host}:{node.port}")
    if cluster.credentials is not None:
        click.echo(f"user      {cluster.credentials.username}, its password is the same word")
    if cluster.tls is not None:
        click.echo(f"ca        {cluster.tls.ca}")
        click.echo(f"client    {cluster.tls.certificate}, {cluster.tls.key}")
    click.echo(f"\nStop it with: {_HERE} down")


@ignite.command()
def down() -> None:
    """Stop the cluster and remove its files."""
    record = detached.find()
    if record is None:
        click.echo("no cluster is up")
        return
    detached.stop(record)
    click.echo(f"stopped {len(record.nodes)} nodes")


@ignite.command()
def status() -> None:
    """Show the nodes; exit code 1 when not all of them are ready."""
    record = detached.find()
    if record is None:
        click.echo(f"no cluster is up; start one with: {_HERE} up")
        raise SystemExit(1)
    table = Table("node", "address", "pid", "memory", "ready", box=None)
    all_ready = True
    for node in record.nodes:
        process = node.process()
        ready = process is not None and record.is_ready(node)
        all_ready = all_ready and ready
        memory = f"{process.memory_info().rss / 1e6:.0f} MB" if process else "-"
        pid = str(node.pid) if process else "ended"
        table.add_row(node.id, f"{node.host}:{node.port}", pid, memory, "yes" if ready else "no")
    Console().print(table)
    raise SystemExit(0 if all_ready else 1)


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
