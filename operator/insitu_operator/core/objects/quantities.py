"""Kubernetes' quantities: `500m`, `2Gi`, `1e3`.

Format: kubernetes/apimachinery, pkg/api/resource/quantity.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

_BINARY = {f"{letter}i": Decimal(1 << 10 * n) for n, letter in enumerate("KMGTPE", start=1)}
_DECIMAL = {
    letter: Decimal(1).scaleb(3 * n)
    for n, letter in enumerate(("n", "u", "m", "", "k", *"MGTPE"), start=-3)
}
_SUFFIXES: Mapping[str, Decimal] = _BINARY | _DECIMAL
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d{1,3})|([KMGTPE]i|[numkMGTPE])?)")


def quantity(text: str) -> Decimal:
    """Its value in units (cores, bytes, devices).

    >>> quantity("1500m"), quantity("1Ki")
    (Decimal('1.500'), Decimal('1024'))

    Raises:
        ValueError: the text is no quantity.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no quantity such as 500m or 2Gi")
    number, exponent, suffix = match.groups()
    if exponent is not None:
        return Decimal(number).scaleb(int(exponent))
    return Decimal(number) * _SUFFIXES[suffix or ""]


def words(resource: str, value: Decimal) -> str:
    """As people write it.

    >>> words("cpu", Decimal("0.5")), words("memory", Decimal(3 << 29)), words("pods", Decimal(3))
    ('500m', '1.5Gi', '3')
    """
    if resource == "cpu" and value != value.to_integral_value():
        return f"{(value * 1000).to_integral_value()}m"
    if resource == "memory" or resource.endswith("-storage"):
        for suffix, factor in reversed(_BINARY.items()):
            if abs(value) >= factor:
                return f"{float(round(value / factor, 1)):g}{suffix}"
    return f"{value.normalize():f}"
