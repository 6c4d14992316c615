"""Shared objects in the place of the CUDA libraries that torch is linked to and never calls."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.paths import tool

_REMEDY = "Debian and Ubuntu: `apt-get install gcc binutils`."
_GPU_LIBRARY = re.compile(r"lib(cu|nv|nccl)")
# Part of the driver: torch opens it only when there is a GPU, and takes its absence for "none".
_DRIVER = "libcuda.so.1"
_MARK = b"insitu testbed stub"


@dataclass(slots=True)
class Stub:
    """A library to make up: its versions and, per version ("" for none), the symbols in it."""

    symbols: dict[str, set[str]] = field(default_factory=dict)

    def add(self, symbol: str, version: str) -> None:
        self.symbols.setdefault(version, set()).add(symbol)


def write_stubs(torch: Path, into: Path) -> list[str]:
    """Writes a stub for each GPU library that torch needs and the environment lacks.

    Args:
        torch: The installed package's folder.
        into: A folder on the run path of torch's libraries.

    Returns:
        The sonames written; none on a Mac, or beside a stock PyTorch.

    Raises:
        FileNotFoundError: there is no compiler, or no binutils.
    """
    if sys.platform != "linux":
        return []
    libraries = [*torch.glob("lib/*.so*"), *torch.glob("_C*.so")]
    present = {path.name for path in torch.parent.glob("nvidia/**/*.so*")}
    present |= {path.name for path in libraries} | {_DRIVER}
    present -= {path.name for path in into.glob("*.so*") if _is_ours(path)}
    stubs = _missing(libraries, present)
    into.mkdir(parents=True, exist_ok=True)
    for soname, stub in stubs.items():
        _compile(soname, stub, into / soname)
    return sorted(stubs)


def _is_ours(path: Path) -> bool:
    return path.stat().st_size < 1 << 20 and _MARK in path.read_bytes()


def _missing(libraries: Iterable[Path], present: set[str]) -> dict[str, Stub]:
    stubs: dict[str, Stub] = {}
    undefined: set[tuple[str, str]] = set()
    versions: dict[str, str] = {}
    objdump, nm = tool("objdump", _REMEDY), tool("nm", _REMEDY)
    for library in libraries:
        headers = _output([objdump, "-p", str(library)])
        for soname in re.findall(r"NEEDED\s+(\S+)", headers):
            if _GPU_LIBRARY.match(soname) and soname not in present:
                stubs.setdefault(soname, Stub())
        versions |= _required_versions(headers)
        for line in _output([nm, "-D", "--undefined-only", str(library)]).splitlines():
            symbol, _, version = line.split()[-1].partition("@")
            undefined.add((symbol, version.lstrip("@")))
    for symbol, version in undefined:
        soname = versions.get(version) if version else _by_prefix(symbol, stubs)
        if soname is not None and soname in stubs:
            stubs[soname].add(symbol, version)
    return stubs


def _required_versions(headers: str) -> Mapping[str, str]:
    """Symbol version -> soname, from the "Version References" that objdump prints."""
    found: dict[str, str] = {}
    soname = ""
    for line in headers.partition("Version References:")[2].splitlines():
        if match := re.match(r"\s*required from (\S+):", line):
            soname = match[1]
        elif match := re.match(r"\s*0x\w+ 0x\w+ \d+ (\S+)", line):
            found[match[1]] = soname
    return found


def _by_prefix(symbol: str, sonames: Iterable[str]) -> str | None:
    """The library an unversioned symbol belongs to: they all begin with their library's name."""
    fitting = [name for name in sonames if symbol.lower().startswith(_stem(name))]
    return max(fitting, key=len, default=None)


def _stem(soname: str) -> str:
    return soname.removeprefix("lib").partition(".")[0].partition("_")[0].lower()


def _compile(soname: str, stub: Stub, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, script = Path(folder, "stub.c"), Path(folder, "versions")
        functions = sorted(set().union(*stub.symbols.values()))
        source.write_text(
            f'const char insitu_mark[] = "{_MARK.decode()}";\n'
            + "".join(f"void {name}(void) {{ __builtin_trap(); }}\n" for name in functions)
        )
        script.write_text(
            "".join(
                f"{version} {{ global: {'; '.join(sorted(names))}; }};\n"
                for version, names in sorted(stub.symbols.items())
                if version
            )
        )
        # Processes may have the old one mapped: it is replaced, never written over.
        fresh = target.with_name(f".{soname}.new")
        command = [
            tool("gcc", _REMEDY),
            "-shared",
            "-nostdlib",
            "-fPIC",
            "-w",
            "-o",
            str(fresh),
            str(source),
        ]
        command += [f"-Wl,-soname,{soname}"]
        if script.stat().st_size:
            command += [f"-Wl,--version-script={script}"]
        subprocess.run(command, check=True)
        fresh.replace(target)


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
