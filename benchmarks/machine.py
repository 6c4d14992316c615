"""What a benchmark says about the machine it ran on."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path


def cpu() -> str:
    """The processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
