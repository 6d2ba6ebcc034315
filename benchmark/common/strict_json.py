"""JSON from others: no key twice, of which plain JSON keeps the last, and no number that would not fit a float."""

from __future__ import annotations

import json
import math
from typing import Any

DIGITS = 300
"""Most characters of an integer; a float has at most 309 digits."""


def load(text: str) -> Any:
    """Return the content of a JSON file.

    Raises:
        ValueError: not JSON, a key is given twice, a number is too large, or it is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_int=_int, parse_float=_float)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is given twice")
    return found


def _int(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits:.20} is too large")
    return value
