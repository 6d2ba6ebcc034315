"""The selected weights, ranked, so that a growing selection never drops a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.method import Candidate, top_k, top_k_masks
from methods.fishertune.sensitivity import by_block


class Choice:
    """The k candidate weights with the largest scores, ranked; ties are broken by position.

    Args:
        candidates: in the order of the backbone; a fused matrix has several.
        places: for each candidate, the flat positions of its selected weights within its rows, int32.
        turns: for each candidate, the ranks of these weights among all selected, 0 to k - 1, int32.
        scores: the scores of all selected weights, descending, (k,).
    """

    def __init__(
        self, candidates: Sequence[Candidate], places: list[Tensor], turns: list[Tensor], scores: Tensor
    ) -> None:
        self.candidates, self.places, self.turns, self.scores = candidates, places, turns, scores

    @classmethod
    def best(cls, candidates: Sequence[Candidate], scores: Mapping[str, Tensor], k: int, ranking: str) -> Choice:
        """Select the k weights with the largest scores.

        Args:
            candidates: the weights to select from.
            scores: for each candidate, in the same order, the scores of its weights; read one by one, several times.
            k: at most the number of candidate weights.
            ranking: ``global``, or ``per-tensor`` to select the same fraction of each candidate (rounded such that the
                numbers add up to k).
        """
        if ranking == "global":
            masks = (mask for _, mask in top_k_masks(scores, k))
        else:
            counts = quotas([score.numel() for score in scores.values()], k)
            masks = (top_k({"": score}, count)[""] for score, count in zip(scores.values(), counts, strict=True))
        places = [mask.reshape(-1).nonzero().flatten().to(torch.int32) for mask in masks]
        chosen = [score.reshape(-1)[place] for score, place in zip(scores.values(), places, strict=True)]
        descending, order = torch.cat(chosen).sort(descending=True, stable=True)
        turns = torch.empty(k, dtype=torch.int32, device=order.device)
        turns[order] = torch.arange(k, dtype=torch.int32, device=order.device)
        return cls(candidates, places, list(turns.split([len(place) for place in places])), descending)

    def masks(self, count: int) -> dict[str, Tensor]:
        """Return the ``count`` best weights: matrix name to boolean mask of its shape."""
        found: dict[str, Tensor] = {}
        for candidate, place, turn in zip(self.candidates, self.places, self.turns, strict=True):
            if candidate.name not in found:
                found[candidate.name] = torch.zeros_like(candidate.parameter, dtype=torch.bool)
            rows = candidate.share(found[candidate.name])
            rows.view(-1)[place[turn < count].to(rows.device)] = True
        return found

    def overlap(self, other: Choice) -> float:
        """Return the fraction of these weights that ``other`` (same candidates, same size) also selects."""
        common = total = 0
        for mine, theirs in zip(self.places, other.places, strict=True):
            common += int(torch.isin(mine, theirs, assume_unique=True).sum())
            total += len(mine)
        return common / max(total, 1)

    def counts(self) -> dict[str, list[int]]:
        """Return, per group, the number of selected weights in each block."""
        return by_block(self.candidates, [len(place) for place in self.places])

    def state_dict(self) -> dict[str, Any]:
        """Return positions, ranks and scores."""
        return {"places": self.places, "turns": self.turns, "scores": self.scores}

    @classmethod
    def restored(cls, candidates: Sequence[Candidate], state: dict[str, Any]) -> Choice:
        """Return the selection with the given :meth:`state_dict`."""
        device = candidates[0].parameter.device
        places, turns = ([x.to(device) for x in state[key]] for key in ("places", "turns"))
        return cls(candidates, places, turns, state["scores"].to(device))


def quotas(sizes: Sequence[int], k: int) -> list[int]:
    """Divide k in proportion to ``sizes``, into integers that add up to k."""
    total, before, given, counts = sum(sizes), 0, 0, []
    for size in sizes:
        before += size
        counts.append(before * k // total - given)
        given += counts[-1]
    return counts
