"""What the demos share: what they print, and how they ask."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console

WANTED_ACCURACY = 0.97
console = Console(highlight=False)


def say(what: str) -> None:
    """Announces what comes next."""
    console.print(f"\n[bold blue]▸ {what}[/]")


def insitu(*arguments: object) -> None:
    """Runs the `insitu` command."""
    subprocess.run(command(*arguments), check=True)


def command(*arguments: object) -> list[str]:
    """The `insitu` command of this environment."""
    return [sys.executable, "-m", "insitu_operator", *(str(one) for one in arguments)]


def accuracy(work: Path, store: str) -> float:
    """Of the newest checkpoint in `store`; `work` holds the scripts."""
    said = subprocess.run(
        [sys.executable, "evaluate.py", store, "digits"],
        cwd=work, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    console.print("  " + said.strip())
    found = re.search(r"accuracy ([0-9.]+)", said)
    return float(found[1]) if found else 0.0
