"""Network namespaces of the nodes and the switch between them.

The switch is a bridge in a namespace of its own, where no firewall of the machine filters what
nodes and pods say to each other. It is reached from here through one pair of virtual interfaces,
and removing the namespaces removes all of it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from testbed.cluster.addresses import Addresses


def namespace(number: int, name: str) -> str:
    """The name of a namespace of cluster `number`."""
    return f"insitu-{number}-{name}"


def _outside(number: int) -> str:
    return f"insitu{number}"


def create(addresses: Addresses, nodes: Sequence[str]) -> None:
    """Connects `nodes` with each other and this machine.

    Raises:
        RuntimeError: a command of iproute2 failed; the message holds what it said.
    """
    if not Path("/proc/sys/net/bridge").exists():
        _run("modprobe", "br_netfilter")
    number, switch = addresses.number, namespace(addresses.number, "switch")
    _refuse_overlap(addresses)
    _add(switch)
    _ip("-n", switch, "link", "add", "switch", "up", "type", "bridge")
    outside = _outside(number)
    _plug(switch, "machine", "link", "add", outside, "type", "veth", "peer", "machine")
    _ip("addr", "add", f"{addresses.host}/24", "dev", outside)
    _ip("link", "set", outside, "up")
    for index, name in enumerate(nodes):
        inside, port = namespace(number, name), f"port{index}"
        _add(inside)
        _plug(switch, port, "-n", inside, "link", "add", "eth0", "type", "veth", "peer", port)
        _ip("-n", inside, "addr", "add", f"{addresses.node(index)}/24", "dev", "eth0")
        _ip("-n", inside, "link", "set", "eth0", "up")
        _ip("-n", inside, "route", "add", "default", "via", addresses.host)
        for other in range(len(nodes)):
            if other != index:
                route = (addresses.pods_of(other), "via", addresses.node(other))
                _ip("-n", inside, "route", "add", *route)
        _ip("route", "add", addresses.pods_of(index), "via", addresses.node(index))
        _sysctl(
            inside,
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.all.rp_filter=0",
            # Without it, answers between two pods of one node bypass the Service's translation.
            "net.bridge.bridge-nf-call-iptables=1",
        )


def remove(number: int) -> None:
    """Removes all that `create` made, also what is left of a failed one."""
    # The kernel removes what is inside a namespace later; this and its routes have to go now.
    if Path("/sys/class/net", _outside(number)).exists():
        _ip("link", "del", _outside(number))
    prefix = namespace(number, "")
    for path in Path("/run/netns").glob(f"{prefix}*"):
        _ip("netns", "del", path.name)


def _refuse_overlap(addresses: Addresses) -> None:
    for wanted in (f"{addresses.host}/24", addresses.pods):
        for relation in ("match", "root"):  # what contains it, what is inside it
            for route in json.loads(_ip("-json", "route", "show", relation, wanted)):
                if route["dst"] != "default":
                    raise RuntimeError(
                        f"the testbed needs {wanted} for itself, but this machine has a route to "
                        f"{route['dst']} through {route.get('dev')}"
                    )


def _add(name: str) -> None:
    _ip("netns", "add", name)
    _ip("-n", name, "link", "set", "lo", "up")


def _plug(switch: str, port: str, *link: str) -> None:
    _ip(*link, "netns", switch)
    _ip("-n", switch, "link", "set", port, "master", "switch", "up")


def _sysctl(name: str, *settings: str) -> None:
    _run("nsenter", f"--net=/run/netns/{name}", "sysctl", "-q", "-w", *settings)


def _ip(*arguments: str) -> str:
    return _run("ip", *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
