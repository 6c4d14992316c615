"""Writes the definition to where it is used (make generate).

`python -m insitu_operator.crd MANIFEST CHART_TEMPLATE`
"""

from __future__ import annotations

import sys
from pathlib import Path

from insitu_operator.crd import chart_template, manifest

if __name__ == "__main__":
    plain, template = map(Path, sys.argv[1:])
    plain.write_text(manifest())
    template.write_text(chart_template())
