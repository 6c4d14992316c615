"""Kubernetes and its companions, built from Go modules once and kept in the cache."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.paths import cache, tool

_REMEDY = "Install Go 1.26 or newer, see https://go.dev/doc/install."


@dataclass(frozen=True, slots=True)
class Program:
    """A release of a Go module, and which of its commands to build.

    `data` are files of the module that are kept beside the binaries, as globs.
    """

    name: str
    module: str
    version: str
    commands: tuple[str, ...]
    variables: Mapping[str, str]
    data: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Holds the binaries once they are built; a single one has the name of the program."""
        return cache() / "go" / f"{self.name}-{self.version}"


_VERSION = "k8s.io/component-base/version"
KUBERNETES = Program(
    name="kubernetes",
    module="k8s.io/kubernetes",
    version="v1.34.4",
    commands=(
        "cmd/kube-apiserver",
        "cmd/kube-controller-manager",
        "cmd/kube-scheduler",
        "cmd/kube-proxy",
        "cmd/kubelet",
        "cmd/kubectl",
    ),
    # Without these every component says it is v0.0.0, and charts refuse to install.
    variables={
        f"{_VERSION}.gitVersion": "v1.34.4",
        f"{_VERSION}.gitMajor": "1",
        f"{_VERSION}.gitMinor": "34",
    },
)
# The newest series that Kubernetes 1.34 is tested with.
ETCD = Program("etcd", "go.etcd.io/etcd/server/v3", "v3.6.16", (".",), {})
COREDNS = Program("coredns", "github.com/coredns/coredns", "v1.15.0", (".",), {})
KWOK = Program(
    "kwok",
    "sigs.k8s.io/kwok",
    "v0.8.0",
    ("cmd/kwok",),
    {},
    data=(
        "kustomize/stage/node/fast/*.yaml",
        "kustomize/stage/node/heartbeat-with-lease/*.yaml",
        "kustomize/stage/pod/fast/*.yaml",
    ),
)
HELM = Program("helm", "helm.sh/helm/v3", "v3.22.0", ("cmd/helm",), {})
VERSITYGW = Program("versitygw", "github.com/versity/versitygw", "v1.8.0", ("cmd/versitygw",), {})
ALL = (KUBERNETES, ETCD, COREDNS, KWOK, HELM, VERSITYGW)


def built(*programs: Program) -> None:
    """Returns when all of `programs` are in the cache; builds what is missing, which takes minutes.

    Raises:
        FileNotFoundError: Go is needed and not installed.
        RuntimeError: a build failed; the message holds what the compiler said.
    """
    if all(program.folder.is_dir() for program in programs):
        return
    root = cache() / "go"
    root.mkdir(exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [program for program in programs if not program.folder.is_dir()]
        for number, program in enumerate(missing, 1):
            print(
                f"cluster: building {program.name} {program.version} ({number} of {len(missing)}; "
                "kept for next time)",
                flush=True,
            )
            started = time.monotonic()
            _build(program, root / "build")
            print(f"cluster: built in {time.monotonic() - started:.0f} s", flush=True)
        # Modules and objects are gigabytes; after a failure they stay, so the next try is quick.
        shutil.rmtree(root / "build", ignore_errors=True)


def _build(program: Program, work: Path) -> None:
    wrapper = work / program.name
    output = work / f"{program.name}.out"
    for folder in (wrapper, output):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    # `go install` refuses modules with replacements; a module of our own may repeat them.
    (wrapper / "go.mod").write_text("module wrapper\n\ngo 1.24\n")
    go = _Go(wrapper, work)
    origin = json.loads(go("mod", "download", "-json", f"{program.module}@{program.version}"))
    for replacement in _staging(Path(origin["GoMod"]).read_text(), program.version):
        go("mod", "edit", f"-replace={replacement}")
    packages = [os.path.normpath(f"{program.module}/{name}") for name in program.commands]
    go("get", "-tool", *(f"{package}@{program.version}" for package in packages))
    variables = " ".join(f"-X {name}={value}" for name, value in program.variables.items())
    # Go would call etcd's binary `server`.
    target = f"{output}/{program.name}" if len(packages) == 1 else f"{output}/"
    go("build", "-trimpath", f"-ldflags=-s -w {variables}", "-o", target, *packages)
    for pattern in program.data:
        for file in Path(origin["Dir"]).glob(pattern):
            name = "-".join(file.relative_to(origin["Dir"]).parts)
            shutil.copyfile(file, output / name)
    # Renamed only when it is whole, so a folder of that name is always complete.
    output.rename(program.folder)


def _staging(go_mod: str, version: str) -> list[str]:
    """Replacements of the modules that Kubernetes develops in its own tree.

    There they are required as v0.0.0; release v1.N.P publishes them as v0.N.P.
    """
    names = re.findall(r"^\s*(k8s\.io/\S+) v0\.0\.0$", go_mod, re.MULTILINE)
    return [f"{name}={name}@{version.replace('v1.', 'v0.', 1)}" for name in names]


class _Go:
    def __init__(self, folder: Path, work: Path) -> None:
        self._go = tool("go", _REMEDY)
        self._folder = folder
        self._environment = os.environ | {
            "CGO_ENABLED": "0",
            "GOPATH": str(work / "path"),
            "GOMODCACHE": str(work / "path" / "modules"),
            "GOCACHE": str(work / "objects"),
            # So that the folder can be removed like any other.
            "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip(),
        }

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ["nice", "-n", "19", self._go, *arguments],
            check=False,
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"go {arguments[0]} failed in {self._folder}:\n{done.stderr}")
        return done.stdout
