"""Decoders: from the block outputs of a backbone to the class of each pixel.

:class:`Decoder` is all that segmenter, loop and methods know of one, so none of them asks which it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark import streams
from benchmark.errors import UserError
from benchmark.portion import WHOLE, Portion

IGNORE = 255
TINY_MASS = 1e-6
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
        mass: Tensor | None = None,
        portion: Portion = WHOLE,
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
        mass = self.mass(labels, class_weights) if mass is None else mass
        return {"ce": total / mass[0].to(total.dtype).clamp(min=TINY_MASS)}

    def mass(self, labels: Tensor, class_weights: Tensor | None) -> Tensor:
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


class LightDecoder(Decoder):
    """The light decoder: a feature pyramid for plain ViTs and an all-MLP head, both mmsegmentation's.

    Feature2Pyramid (plain ViTs: Li et al., ECCV 2022) and SegformerHead (Xie et al., NeurIPS 2021). No batch
    statistics and no dropout: what an image yields depends neither on its batch, nor on the number of processes,
    nor on a random stream that a method could shift.
    """

    def __init__(self, pyramid: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.head = head

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return class logits (B, C, 4h, 4w) from four (B, D, h, w) block outputs, shallow to deep."""
        # Channels last halves the time of its convolutions and of the upsampling to pixels on CPUs.
        return self.head(self.pyramid([x.contiguous(memory_format=torch.channels_last) for x in features]))


class LinearDecoder(Decoder):
    """A linear probe: one 1×1 convolution on the last tapped block's output, and nothing else.

    Papers list "Linear" among fine-tuning methods: a frozen backbone under such a head. But the head is the decoder,
    and the decoder is the protocol's: a method that brought its own would not be compared under the same conditions.
    So it is a decoder here, which every method can be trained with (``--protocol streets@linear``), and what papers
    call Linear is the row ``freeze`` of such a protocol's table.

    No norm, no hidden layer, no pyramid: a place's logits are linear in its features, as the block puts them out.
    """

    def __init__(self, embed_dim: int, num_classes: int) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(embed_dim, num_classes, 1)
        for name, parameter in self.conv_seg.named_parameters():  # as the light decoder's last layer
            nn.init.normal_(parameter, std=0.01 if name == "weight" else 0.0)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return class logits (B, C, h, w) from block outputs (B, D, h, w), the deepest last."""
        return self.conv_seg(features[-1])


def build_decoder(spec: DecoderSpec, embed_dim: int, num_classes: int, seed: int) -> Decoder:
    """Build the decoder with initial weights that depend on the arguments alone.

    Args:
        spec: the protocol's section.
        embed_dim: width D of the backbone's tokens.
        num_classes: C.
        seed: the run's; the weights come from the stream (seed, "decoder"), torch's global generator stays
            as it is.
    """
    with seeded(seed, "decoder"):
        if spec.name == "mask2former":
            from benchmark.models.mask2former import Mask2Former

            return Mask2Former(embed_dim, num_classes)
        if spec.name == "linear":
            return LinearDecoder(embed_dim, num_classes)
        return _light(spec.channels, embed_dim, num_classes)


@contextmanager
def seeded(seed: int, *name: str) -> Iterator[None]:
    """Within the context torch's generator (CPU) is the stream (seed, name); afterwards it is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(streams.number(seed, *name))
        yield


def _light(channels: int, embed_dim: int, num_classes: int) -> LightDecoder:
    from benchmark.models.mmseg_parts import Feature2Pyramid, SegformerHead

    norm: dict[str, Any] = {"type": "GN", "num_groups": math.gcd(32, embed_dim), "requires_grad": True}
    pyramid = Feature2Pyramid(embed_dim, rescales=[4, 2, 1, 0.5], norm_cfg=norm)
    pyramid.downsample_2x.ceil_mode = True  # a grid of one row or column has a coarse level, too
    # The head insists on a loss; it stays unused, the decoder compares.
    head = SegformerHead(
        in_channels=[embed_dim] * 4,
        in_index=[0, 1, 2, 3],
        channels=channels,
        num_classes=num_classes,
        dropout_ratio=0.0,
        loss_decode={"type": "CrossEntropyLoss", "avg_non_ignore": True},
    )
    nn.init.normal_(head.conv_seg.weight, std=0.01)  # as mmsegmentation's runner would
    nn.init.zeros_(head.conv_seg.bias)
    return LightDecoder(pyramid, head)
