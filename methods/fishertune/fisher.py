"""Diagonal Fisher information of the weights of linear layers (Eq. 4, 8, 9), with one backward pass per batch.

F_n = 1/N Σ_i E_{y ~ f(y|x_i)} [(∂L(f(x_i), y) / ∂θ_n)²], squared per sample. L is the negative log-likelihood of the
decoder's per-pixel categorical distribution, averaged over the labelled pixels of an image, without class weights: a
weighted loss is not a likelihood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from benchmark.method import UserError, averaged, summed

IGNORE = 255
Losses = Callable[[], Tensor]
"""Runs the model and returns one loss per sample, (B,), which depends only on that sample."""


def sample_labels(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw the label of each pixel independently from the predicted distribution (Eq. 9).

    Ground truth is not used, so pixels with label 255 get a label, too. With equal uniforms, labels differ only where
    the distributions differ, so x and x' can share their noise.

    Args:
        logits: (B, C, H, W), at the resolution of the training loss.
        uniforms: (B, H, W) in [0, 1), on any device.

    Returns:
        (B, H, W) int64 in [0, C).
    """
    cumulative = logits.detach().float().softmax(1).cumsum(1)
    cumulative = cumulative / cumulative[:, -1:]  # so that rounding cannot give class C
    return (cumulative <= uniforms.to(logits.device).unsqueeze(1)).sum(1)


def sample_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean negative log-likelihood over labelled pixels per sample, (B,); 0 for samples without labels."""
    losses = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="none")
    return losses.flatten(1).sum(1) / (labels != IGNORE).flatten(1).sum(1).clamp(min=1)


class Watch(TorchFunctionMode):
    """Records the inputs and outputs of ``F.linear`` for given weights, whether or not a module calls it."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._names = {id(weight): name for name, weight in weights.items()}
        self.calls: list[tuple[str, Tensor, Tensor]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func``; record (name, input, output) if it applies a watched weight."""
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func is F.linear:
            name = self._names.get(id(args[1] if len(args) > 1 else kwargs["weight"]))
            if name is not None:
                self.calls.append((name, (args[0] if args else kwargs["input"]).detach(), output))
        return output


def per_sample(losses: Losses, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield Σ_i (∂L_i/∂θ)² for each weight matrix, from a single backward pass over the batch.

    The gradient of sample i is g_iᵀ a_i with the layer's input a_i (tokens, in) and the gradient of its output
    g_i (tokens, out). Weight gradients themselves are not computed, so this costs about as much as a normal backward
    pass. A weight that does not contribute to the loss gets zeros. The sum is over the samples of all ranks.

    Args:
        losses: see :data:`Losses`.
        weights: (out, in) matrices used in ``F.linear``; the first axis of its inputs is sample-major.

    Returns:
        (name, (out, in) float32, or float64 if the weight is), each computed when it is consumed.

    Raises:
        UserError: no linear layer uses any of the weights.
    """
    with Watch(weights) as watch:
        values = losses()
    if not watch.calls:
        raise UserError("fishertune: no linear layer uses a candidate weight; set estimator=per-batch")
    size = values.shape[0]
    gradients = torch.autograd.grad(values.sum(), [output for _, _, output in watch.calls], allow_unused=True)
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in weights}
    for (name, entered, _), gradient in zip(watch.calls, gradients, strict=True):
        if gradient is not None:
            weight = weights[name]
            pairs[name].append((_by_sample(entered, size, weight), _by_sample(gradient, size, weight)))
    return ((name, summed(_sum_of_squares(pairs.pop(name), weight))) for name, weight in weights.items())


def _by_sample(tokens: Tensor, size: int, weight: Tensor) -> Tensor:
    # Attention windows (SAM) are on the first axis, image by image; they count as tokens of their sample.
    return tokens.to(_accumulator(weight)).reshape(size, -1, tokens.shape[-1])


def _accumulator(weight: Tensor) -> torch.dtype:
    return torch.float64 if weight.dtype == torch.float64 else torch.float32


def _sum_of_squares(pairs: list[tuple[Tensor, Tensor]], weight: Tensor) -> Tensor:
    total = torch.zeros(weight.shape, dtype=_accumulator(weight), device=weight.device)
    if not pairs:
        return total
    entered, gradient = (torch.cat(parts, dim=1) for parts in zip(*pairs, strict=True))
    for sample_in, sample_out in zip(entered, gradient, strict=True):  # one at a time, so that (out, in) stays in cache
        single = sample_out.T @ sample_in
        total.addcmul_(single, single)
    return total


def per_batch(losses: Losses, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, (∂ mean_i L_i / ∂θ)²) for each weight: the squared batch gradient, as in most implementations.

    In distributed training the batch is that of all ranks, with equally many images each.
    """
    values = losses().mean()
    gradients = torch.autograd.grad(values, list(weights.values()), allow_unused=True)
    return (
        (name, torch.zeros_like(weight) if gradient is None else averaged(gradient).square())
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    )
