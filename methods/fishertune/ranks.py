"""Ranks: replace values of different scale by the fraction of values that are smaller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

KNOTS = 1 << 16
CHUNK = 1 << 16  # values processed at once, so that intermediate results stay in cache


def ranks(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the rank of each value among all values of all tensors, see :func:`ranking`.

    Args:
        values: name to non-negative tensor.
    """
    rank = ranking(values.values())
    return {name: rank(value) for name, value in values.items()}


def ranking(values: Iterable[Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a function that maps the values of a tensor to their ranks among ``values``, in [0, 1).

    The empirical distribution function, evaluated at 65,536 knots (the leading 16 bits of a float32, so 128 per octave)
    and interpolated linearly. It preserves the order of values in different knots, and within a knot up to float32
    precision. It takes one pass without sorting and gives the same result on every machine.

    Args:
        values: non-negative tensors; read one by one and not kept.
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
