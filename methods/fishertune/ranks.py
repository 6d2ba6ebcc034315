"""Bring values of different scale together: what share of all values is smaller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

KNOTS = 1 << 16
CHUNK = 1 << 16  # values looked at together: what is computed of them stays in cache


def ranks(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return each value's rank among all values of all tensors, see :func:`ranking`.

    Args:
        values: name to non-negative tensor.
    """
    rank = ranking(values.values())
    return {name: rank(value) for name, value in values.items()}


def ranking(values: Iterable[Tensor]) -> Callable[[Tensor], Tensor]:
    """Return what gives the values of a tensor their ranks among all of ``values``, in [0, 1).

    The empirical distribution function, counted at 65,536 knots (a float32's leading 16 bits, so 128 per
    octave) and linear between them. It keeps the order of any two values that lie in different knots or
    differ enough for float32, costs one pass and no sort, and is the same on every machine.

    Args:
        values: non-negative tensors; looked at one after the other, and not kept.
    """
    counts = torch.zeros(KNOTS, dtype=torch.int64)
    for value in values:
        counts = counts.to(value.device)
        for part in _bits(value).split(CHUNK):
            counts += torch.bincount(part >> 16, minlength=KNOTS)
    total = int(counts.sum())
    below = (counts.cumsum(0) - counts).double() / total
    width = counts.double() / total

    def rank(value: Tensor) -> Tensor:
        found = torch.empty(value.numel(), device=value.device)
        for part, bits in zip(found.split(CHUNK), _bits(value).split(CHUNK), strict=True):
            knot = bits >> 16
            inside = (bits & (KNOTS - 1)).double() / KNOTS
            part.copy_(below[knot] + width[knot] * inside)
        return found.view(value.shape)

    return rank


def _bits(value: Tensor) -> Tensor:
    return value.detach().reshape(-1).float().abs().view(torch.int32)
