"""What a decoder is: from the block outputs of a backbone to the class of each pixel.

:class:`Decoder` is all that segmenter, loop and methods know of one, so none of them asks which it is. The decoders
themselves are built by :mod:`benchmark.models.decoders`.
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
"""Computes object queries (m, d), anew each time, with gradients."""


class DecoderSpec(Protocol):
    """What a protocol must say about the decoder: which one, and the head's width."""

    @property
    def name(self) -> str:
        """``segformer``, ``linear`` or ``mask2former``."""

    @property
    def channels(self) -> int:
        """Width of the head; ``linear`` has none."""


class Decoder(nn.Module):
    """Maps block outputs (B, D, h, w), shallow to deep, to classes.

    ``forward(features)`` returns class logits (B, C, h', w') at the decoder's own stride; their softmax is the
    distribution of each pixel's class. A decoder of per-pixel logits defines nothing else; one whose answer comes
    about differently says here what stands in for them.
    """

    def logits(self, features: list[Tensor], size: Size) -> Tensor:
        """Return class logits (B, C, *size), whose softmax is the distribution of each pixel's class."""
        return F.interpolate(self(features), size=size, mode="bilinear", align_corners=False)

    def scores(self, features: list[Tensor], size: Size) -> Tensor:
        """Return what inference averages over windows before it takes the largest, (B, C, *size): the logits."""
        return self.logits(features, size)

    def losses(
        self,
        features: list[Tensor],
        labels: Tensor,
        class_weights: Tensor | None,
        normaliser: Tensor | None = None,
        micro_batch: MicroBatch = WHOLE,
    ) -> dict[str, Tensor]:
        """Return named losses: here ``ce``, cross-entropy at the labels' resolution, as mmsegmentation compares.

        The mean is weighted by class and taken over labelled pixels (torch's convention); it is 0, not NaN,
        where a batch has none.

        Args:
            features: as for ``forward``.
            labels: (B, H, W) int64, 255 where nothing applies, of the size that ``features`` cover.
            class_weights: (C,); None weighs all classes alike.
            mass: what sums are divided by where the labels are a part of a batch; None for their own :meth:`mass`.
            portion: which of the batch's images these are, which decides what chance gives them.
        """
        logits = self.logits(features, (labels.shape[-2], labels.shape[-1])).float()
        pixels = logits.permute(0, 2, 3, 1).flatten(0, 2)  # no copy where the decoder computes channels last
        total = F.cross_entropy(pixels, labels.flatten(), class_weights, ignore_index=IGNORE, reduction="sum")
        normaliser = self.normaliser(labels, class_weights) if normaliser is None else normaliser
        return {"ce": total / normaliser[0].to(total.dtype).clamp(min=MIN_NORMALISER)}

    def normaliser(self, labels: Tensor, class_weights: Tensor | None) -> Tensor:
        """Return what sums of losses over ``labels`` are divided by, (k,): here the labelled pixels' total weight.

        It adds up: the mass of a batch is the sum of its parts' masses.
        """
        labelled = labels[labels != IGNORE]
        if class_weights is None:
            return torch.tensor([float(labelled.numel())], device=labels.device)
        return class_weights[labelled].sum()[None]

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Return the optimizer's groups (``params``, ``weight_decay``)."""
        return [{"params": list(self.parameters()), "weight_decay": weight_decay}]

    def link(self, queries: Queries, seed: int) -> None:
        """Read ``queries`` in place of own ones from now on; a decoder without queries lets the offer pass.

        Args:
            queries: as many as the decoder's own, of the same width.
            seed: the run's, of whatever the link adds to the decoder.

        Raises:
            UserError: queries of another shape.
        """


def queries_taken(spec: DecoderSpec) -> Size | None:
    """Return number and width of a decoder's object queries, known without building it; None if it has none."""
    return MASK2FORMER_QUERIES if spec.name == "mask2former" else None


def check_queries(offered: Size, taken: Size) -> None:
    """Hold a method's offer to what a decoder takes.

    Raises:
        UserError: another shape.
    """
    if offered != taken:
        raise UserError(
            f"the method offers queries of shape {offered}, decoder mask2former takes {taken}; "
            f"give the method {taken[0]} tokens"
        )


@contextmanager
def seeded(seed: int, *name: str) -> Iterator[None]:
    """Within the context torch's generator (CPU) is the stream (seed, name); afterwards it is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive_seed(seed, *name))
        yield
