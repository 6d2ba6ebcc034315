"""The learning rates of a search, and the best of those tried; see :mod:`benchmark.runs.tune`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from pydantic import ValidationError

from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.records.naming import base

Tried = Mapping[float, float | None]
"""Score by rate; None where training diverged."""
Allowed = Callable[[float], bool]
TRIES = 3
"""Runs of full length per method."""


def parse(text: str) -> list[float]:
    """Read ``1e-4,3e-4``.

    Raises:
        UserError: anything else, or a rate that is not above 0 and at most 1.
    """
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--rates {text}: must be numbers, such as 1e-4,1e-3") from None
    if not all(0 < rate <= 1 for rate in rates):
        raise UserError(f"--rates {text}: each must be above 0 and at most 1")
    return sorted(set(rates))


def allowed(method: str) -> Allowed:
    """Return whether a rate is within the limits of the method's settings, above 0 and at most 1."""
    kind = registry.find("method", base(method)).Settings

    def check(rate: float) -> bool:
        try:
            kind(lr=rate)
        except ValidationError:
            return False
        return 0 < rate <= 1

    return check


def best(tried: Tried) -> float | None:
    """Return the rate with the highest score; None if training diverged at every rate.

    Of equal scores, one inside the range comes before one at an end, then the lower rate.
    """
    finished = {rate: score for rate, score in tried.items() if score is not None}
    return min(finished, key=lambda rate: (-finished[rate], at_end(rate, tried), rate), default=None)


def at_end(rate: float, tried: Tried) -> bool:
    """Return whether a rate is the lowest or the highest of those tried."""
    return rate in (min(tried), max(tried))


def wider(tried: Tried, allowed: Allowed) -> list[float]:
    """Return the rates to try next: one step of ten beyond each end that is the best; empty once the best is inside."""
    found = best(tried)
    steps = [_rounded(end * factor) for end, factor in ((min(tried), 0.1), (max(tried), 10)) if end == found]
    return [rate for rate in steps if allowed(rate)]


def beside(rate: float, allowed: Allowed) -> list[float]:
    """Return the rate and the two beside it in the series 1, 3, 10, 30, ...: the :data:`TRIES` runs of full length.

    Where a limit leaves none on one side, both are from the other side.
    """
    exponent = math.floor(math.log10(rate))
    series = [_rounded(digit * 10.0**power) for power in range(exponent - 2, exponent + 3) for digit in (1, 3)]
    below = [each for each in series if each < rate and allowed(each)]
    above = [each for each in series if each > rate and allowed(each)]
    others = [*below[-1:], *above[:1]] if below and above else [*below[1 - TRIES :], *above[: TRIES - 1]]
    return sorted([rate, *others])


def _rounded(rate: float) -> float:
    """Return the rate without the rounding error of a product: its name in records has few digits."""
    return float(f"{rate:.12g}")
