"""The chosen weights in the order in which they join, so that a growing set never shrinks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.method import Candidate, top_k, top_k_masks
from methods.fishertune.sensitivity import by_block


class Choice:
    """The k best-scored candidate weights, best first; ties by position.

    Args:
        candidates: in the backbone's order; a fused matrix has several.
        places: for each candidate, the flat positions of its chosen weights within its share, int32.
        turns: for each candidate, the same weights' places in the common order, 0 to k - 1, int32.
    """

    def __init__(self, candidates: Sequence[Candidate], places: list[Tensor], turns: list[Tensor]) -> None:
        self.candidates, self.places, self.turns = candidates, places, turns

    @classmethod
    def best(cls, candidates: Sequence[Candidate], scores: Mapping[str, Tensor], k: int, ranking: str) -> Choice:
        """Choose k weights by score.

        Args:
            candidates: where to choose.
            scores: for each candidate, in their order, a score for every weight of its share; looked at one after the
                other, several times.
            k: at most the number of candidate weights.
            ranking: ``global``, or ``per-tensor`` for the same share of each candidate (rounded so that they
                sum to k).
        """
        if ranking == "global":
            masks = (mask for _, mask in top_k_masks(scores, k))
        else:
            shares = quotas([score.numel() for score in scores.values()], k)
            masks = (top_k({"": score}, quota)[""] for score, quota in zip(scores.values(), shares, strict=True))
        places = [mask.reshape(-1).nonzero().flatten().to(torch.int32) for mask in masks]
        chosen = [score.reshape(-1)[place] for score, place in zip(scores.values(), places, strict=True)]
        order = torch.cat(chosen).argsort(descending=True, stable=True)
        turns = torch.empty(k, dtype=torch.int32, device=order.device)
        turns[order] = torch.arange(k, dtype=torch.int32, device=order.device)
        return cls(candidates, places, list(turns.split([len(place) for place in places])))

    def masks(self, count: int) -> dict[str, Tensor]:
        """Return which weights belong to the best ``count``: matrix name to boolean mask of its shape."""
        found: dict[str, Tensor] = {}
        for candidate, place, turn in zip(self.candidates, self.places, self.turns, strict=True):
            if candidate.name not in found:
                found[candidate.name] = torch.zeros_like(candidate.parameter, dtype=torch.bool)
            share = candidate.share(found[candidate.name])
            share.view(-1)[place[turn < count].to(share.device)] = True
        return found

    def overlap(self, other: Choice) -> float:
        """Return the share of these weights that ``other``, of the same candidates and size, chose too."""
        common = total = 0
        for mine, theirs in zip(self.places, other.places, strict=True):
            common += int(torch.isin(mine, theirs, assume_unique=True).sum())
            total += len(mine)
        return common / max(total, 1)

    def counts(self) -> dict[str, list[int]]:
        """Return, per group, how many weights of each block are chosen."""
        return by_block(self.candidates, [len(place) for place in self.places])

    def state_dict(self) -> dict[str, Any]:
        """Return positions and order."""
        return {"places": self.places, "turns": self.turns}

    @classmethod
    def restored(cls, candidates: Sequence[Candidate], state: dict[str, Any]) -> Choice:
        """Return the choice whose :meth:`state_dict` is given."""
        device = candidates[0].parameter.device
        return cls(candidates, *([x.to(device) for x in state[key]] for key in ("places", "turns")))


def quotas(sizes: Sequence[int], k: int) -> list[int]:
    """Return how many of k fall to each size: in proportion, whole, summing to k."""
    total, before, given, shares = sum(sizes), 0, 0, []
    for size in sizes:
        before += size
        shares.append(before * k // total - given)
        given += shares[-1]
    return shares
