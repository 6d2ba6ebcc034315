"""The decoder interface: from the block outputs of a backbone to the class of each pixel.

Segmenter, training loop and methods use :class:`Decoder` only, so they do not depend on the kind of decoder. The
decoders themselves are built in :mod:`benchmark.models.decoders`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.common import rng
from benchmark.common.errors import UserError
from benchmark.common.microbatch import WHOLE, MicroBatch

IGNORE = 255
MIN_NORMALISER = 1e-6
Size = tuple[int, int]
MASK2FORMER_QUERIES: Size = (100, 256)
Queries = Callable[[], Tensor]
"""Computes object queries (m, d) with gradients; recomputed at every call."""


class DecoderSpec(Protocol):
    """The protocol's decoder section: name, and width of the head."""

    @property
    def name(self) -> str:
        """``segformer``, ``linear`` or ``mask2former``."""

    @property
    def channels(self) -> int:
        """Width of the head; ``linear`` ignores it."""


class Decoder(nn.Module):
    """Maps block outputs (B, D, h, w), shallow to deep, to classes.

    ``forward(features)`` returns class logits (B, C, h', w') at the decoder's own stride; their softmax is the
    class distribution of each pixel. Decoders that predict per-pixel logits implement only ``forward``; others
    override the methods below.
    """

    def logits(self, features: list[Tensor], size: Size) -> Tensor:
        """Return class logits (B, C, *size), whose softmax is the class distribution of each pixel."""
        return F.interpolate(self(features), size=size, mode="bilinear", align_corners=False)

    def scores(self, features: list[Tensor], size: Size) -> Tensor:
        """Return the scores (B, C, *size) that sliding inference averages before the argmax: here the logits."""
        return self.logits(features, size)

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """Return the logarithm of the class distribution of each pixel, of (averaged) :meth:`scores` (B, C, H, W)."""
        return scores.log_softmax(1)

    def losses(
        self,
        features: list[Tensor],
        labels: Tensor,
        class_weights: Tensor | None,
        normaliser: Tensor | None = None,
        micro_batch: MicroBatch = WHOLE,
    ) -> dict[str, Tensor]:
        """Return named losses: here ``ce``, cross-entropy at the resolution of the labels, as in mmsegmentation.

        The loss is the class-weighted mean over labelled pixels (torch's convention). Without labelled pixels it is
        0, not NaN.

        Args:
            features: as for ``forward``.
            labels: (B, H, W) int64, 255 = ignore, at the size that ``features`` cover.
            class_weights: (C,); None for equal weights.
            normaliser: loss normaliser of the whole batch if the labels are a part of it; None for
                :meth:`normaliser` of ``labels``.
            micro_batch: which images of the batch these are; determines their random numbers.
        """
        logits = self.logits(features, (labels.shape[-2], labels.shape[-1])).float()
        pixels = logits.permute(0, 2, 3, 1).flatten(0, 2)  # no copy if the decoder computes channels last
        total = F.cross_entropy(pixels, labels.flatten(), class_weights, ignore_index=IGNORE, reduction="sum")
        normaliser = self.normaliser(labels, class_weights) if normaliser is None else normaliser
        return {"ce": total / normaliser[0].to(total.dtype).clamp(min=MIN_NORMALISER)}

    def normaliser(self, labels: Tensor, class_weights: Tensor | None) -> Tensor:
        """Return the loss normaliser (k,), the divisor of summed losses: here the total weight of labelled pixels.

        It is additive: the normaliser of a batch is the sum of the normalisers of its parts.
        """
        labelled = labels[labels != IGNORE]
        if class_weights is None:
            return torch.tensor([float(labelled.numel())], device=labels.device)
        return class_weights[labelled].sum()[None]

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Return the parameter groups for the optimizer (``params``, ``weight_decay``)."""
        return [{"params": list(self.parameters()), "weight_decay": weight_decay}]

    def link(self, queries: Queries, seed: int) -> None:
        """Replace the decoder's object queries by ``queries``; decoders without queries ignore the call.

        Args:
            queries: same number and width as the decoder's own.
            seed: seed of the run, for layers that linking adds to the decoder.

        Raises:
            UserError: queries of another shape.
        """


def queries_taken(spec: DecoderSpec) -> Size | None:
    """Return number and width of a decoder's object queries without building it; None if it has none."""
    return MASK2FORMER_QUERIES if spec.name == "mask2former" else None


def check_queries(offered: Size, taken: Size) -> None:
    """Check that a method's queries have the shape that the decoder expects.

    Raises:
        UserError: the shapes differ.
    """
    if offered != taken:
        raise UserError(
            f"the method provides queries of shape {offered}, decoder mask2former takes {taken}; "
            f"give the method {taken[0]} tokens"
        )


@contextmanager
def seeded(seed: int, *name: str) -> Iterator[None]:
    """Seed torch's CPU generator with the RNG stream (seed, name); restore its state on exit."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive_seed(seed, *name))
        yield
