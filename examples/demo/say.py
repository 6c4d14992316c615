"""What the demos share: what they print, and how they ask."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console

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


def rows_file(work: Path) -> Path:
    """Runs the example's data.py in `work`, which holds the scripts, and returns what it wrote."""
    return Path(_script(work, "data.py", str(work)))


def accuracy(work: Path, store: str, job: str) -> float:
    """Of the newest checkpoint of `job` in `store`; `work` holds the scripts."""
    said = _script(work, "evaluate.py", store, job)
    console.print("  " + said)
    found = re.search(r"accuracy ([0-9.]+)", said)
    return float(found[1]) if found else 0.0


def _script(work: Path, *command: str) -> str:
    """The last line it prints."""
    done = subprocess.run(
        [sys.executable, *command], cwd=work, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip().splitlines()[-1]
