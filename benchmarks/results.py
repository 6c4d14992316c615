"""What a benchmark prints: one JSON object a line, always with these fields."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """`value` in `unit`, and its `ratio` to what the same run measured for `against`."""

    name: str
    value: float
    unit: str
    against: str
    ratio: float
    conditions: Mapping[str, Any]

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


def compare(
    name: str,
    unit: str,
    ours: Sequence[float],
    against: str,
    theirs: Sequence[float],
    conditions: Mapping[str, Any],
) -> Result:
    """Medians of rounds that took turns; the ratio is the median of the rounds' own ratios, which
    a machine that is busier at one time than at another disturbs least.
    """
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    measured = {
        "rounds": len(ours),
        "value_spread": _spread(ours),
        "against_value": round(statistics.median(theirs), 1),
        "against_spread": _spread(theirs),
        "ratio_spread": [round(each, 2) for each in (min(ratios), max(ratios))],
    }
    return Result(
        name,
        round(statistics.median(ours), 1),
        unit,
        against,
        round(statistics.median(ratios), 2),
        {**conditions, **measured},
    )


def _spread(values: Sequence[float]) -> list[float]:
    return [round(min(values), 1), round(max(values), 1)]
