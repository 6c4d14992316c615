"""Writes the definition: `python -m insitu_operator.crd FILE` (make generate)."""

from __future__ import annotations

import sys
from pathlib import Path

from insitu_operator.crd import manifest

if __name__ == "__main__":
    Path(sys.argv[1]).write_text(manifest())
