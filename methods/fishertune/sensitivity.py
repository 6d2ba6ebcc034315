"""Sensitivity and number of selected weights per group and block (Figure 6 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from benchmark.method import Candidate

Number = TypeVar("Number", int, float)


def by_block(candidates: Sequence[Candidate], values: Sequence[Number]) -> dict[str, list[Number]]:
    """Return, per group, the sum of the candidates' values in each block; 0 for blocks without candidates."""
    depth = 1 + max(candidate.block for candidate in candidates)
    found: dict[str, list[Number]] = {candidate.group: [type(values[0])(0)] * depth for candidate in candidates}
    for candidate, value in zip(candidates, values, strict=True):
        found[candidate.group][candidate.block] += value
    return found


def means(candidates: Sequence[Candidate], scores: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """Return, per group, the mean score over all candidate weights of each block.

    Args:
        candidates: in the order of the backbone.
        scores: one tensor per candidate, in that order.
    """
    sums = by_block(candidates, [score.double().sum().item() for score in scores.values()])
    sizes = by_block(candidates, [candidate.numel() for candidate in candidates])
    return {group: [s / max(n, 1) for s, n in zip(each, sizes[group], strict=True)] for group, each in sums.items()}
