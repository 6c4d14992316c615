"""A supervisor that can't outlive `insitu run`, however that ends.

`python -m insitu_operator.local.tether PARENT -- COMMAND ...` asks the kernel to kill this process
with its parent, and becomes `insitu-run -- COMMAND ...`, which ties the command to itself likewise.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tie_to(parent: int) -> None:
    """Linux only; elsewhere a crash of the parent leaves its children running."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # It was gone before we asked.
        os._exit(1)


if __name__ == "__main__":
    tie_to(int(sys.argv[1]))
    from insitu.supervisor import main

    raise SystemExit(main(sys.argv[2:]))
