"""What makes the scores of a finished run doubtful: training that stayed finite but did not learn."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

LAST = 3
"""How many of the last logged losses are averaged."""


def constant_loss(pixels: Tensor, weights: Tensor | None) -> float:
    """Return the lowest cross-entropy of a prediction that is the same for every pixel.

    With class weights w and class frequencies f, the best constant prediction is proportional to w f, and its weighted
    cross-entropy is the entropy of that distribution.

    Args:
        pixels: (C,) pixels of each class.
        weights: (C,) class weights of the loss; None for none.
    """
    shares = pixels.double() * (1 if weights is None else weights.double().to(pixels.device))
    shares = shares[shares > 0] / shares.sum()
    return float(-(shares * shares.log()).sum())


def doubts(losses: Sequence[tuple[int, dict[str, float]]], constant: float | None) -> list[str]:
    """Return a sentence if the final loss is not below that of a model that has learnt nothing.

    That is the best constant prediction's or, where it is not known, the first loss.

    Args:
        losses: (iteration, losses by name) as logged; ``ce`` is the decoder's cross-entropy.
        constant: see :func:`constant_loss`; None if the decoder has another loss.
    """
    known = constant is not None and all("ce" in each for _, each in losses)
    totals = [each["ce"] if known else sum(each.values()) for _, each in losses]
    if len(totals) <= LAST:
        return []
    final = sum(totals[-LAST:]) / LAST
    bound, what = (constant, "of a constant prediction") if known else (totals[0], "at the start")
    if not bound or final < bound:  # with labels of one class, the bound is 0
        return []
    return [f"the final loss, {final:.3g}, is not below that {what}, {bound:.3g}: training has diverged"]
