"""Bring values of different scale together: what share of all values is smaller."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

KNOTS = 1 << 16


def ranks(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return each value's rank among all values of all tensors, in [0, 1).

    The empirical distribution function, counted at 65,536 knots (a float32's leading 16 bits, so 128 per
    octave) and linear between them. It keeps the order of any two values that lie in different knots or
    differ enough for float32, costs one pass and no sort, and is the same on every machine.

    Args:
        values: name to non-negative tensor.
    """
    total = sum(value.numel() for value in values.values())
    counts = sum(torch.bincount(_bits(value) >> 16, minlength=KNOTS) for value in values.values())
    assert isinstance(counts, Tensor)
    below = (counts.cumsum(0) - counts).double() / total
    width = counts.double() / total
    found = {}
    for name, value in values.items():
        bits = _bits(value)
        knot = bits >> 16
        inside = (bits & (KNOTS - 1)).double() / KNOTS
        found[name] = (below[knot] + width[knot] * inside).float().view(value.shape)
    return found


def _bits(value: Tensor) -> Tensor:
    return value.detach().reshape(-1).float().abs().view(torch.int32)
