"""The system packages that the nodes are made of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# What has to be there, and the Debian package that brings it.
_NEEDED = {
    "/usr/bin/containerd": "containerd",
    "/usr/sbin/runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "buildah": "buildah",
    "conntrack": "conntrack",
    "debootstrap": "debootstrap",
    "ethtool": "ethtool",
    "gcc": "gcc",
    "/usr/include/stdlib.h": "libc6-dev",
    "ip": "iproute2",
    "iptables": "iptables",  # used by the portmap plugin
    "modprobe": "kmod",
    "mount": "mount",
    "nft": "nftables",
    "nsenter": "util-linux",
    "socat": "socat",  # carries kubectl port-forward
    "sysctl": "procps",
}
# A kubelet and its container runtime take some dozens; the kernel's 128 are for two clusters.
_INOTIFY, _INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances"), 1024
_SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Unsuitable(RuntimeError):
    """This machine can't run a cluster as it is; the message says what to do about it."""


def installed() -> None:
    """Returns when all packages are there; installs the missing ones on Debian and Ubuntu.

    Raises:
        Unsuitable: not Linux, not root, or packages are missing that can't be installed here.
    """
    if sys.platform != "linux":
        raise Unsuitable("the testbed's Kubernetes needs Linux: its nodes are made of namespaces")
    if os.geteuid() != 0:
        raise Unsuitable("only root may create a node's namespaces: run this with sudo")
    if int(_INOTIFY.read_text()) < _INSTANCES:
        _INOTIFY.write_text(str(_INSTANCES))
    missing = _missing()
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise Unsuitable(
            f"missing: {', '.join(missing)}. Debian and Ubuntu have them in the packages "
            f"{' '.join(sorted(missing.values()))}; install what your system calls them"
        )
    print(f"cluster: apt-get install {' '.join(sorted(missing.values()))}", flush=True)
    _apt("update")
    _apt("-y", "-o", "Dpkg::Use-Pty=0", "install", "--no-install-recommends", *missing.values())
    if missing := _missing():
        raise Unsuitable(f"still missing after apt-get install: {', '.join(missing)}")


def _missing() -> dict[str, str]:
    return {name: package for name, package in _NEEDED.items() if not _there(name)}


def _there(name: str) -> bool:
    return Path(name).exists() if "/" in name else shutil.which(name, path=_SYSTEM) is not None


def _apt(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", "-qq", *arguments],
        check=False,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Unsuitable(f"apt-get {arguments[0]} failed: {done.stderr.strip()}")
