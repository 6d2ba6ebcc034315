"""Segmentation model of backbone and decoder: training losses, whole-image and sliding-window inference."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.common.microbatch import WHOLE, MicroBatch
from benchmark.models.backbone import Backbone
from benchmark.models.decoder import IGNORE, Decoder, Size

AT_ONCE = 1 << 18
"""Pixels of the windows in one forward pass: one window of 512 x 512, which is not faster in a batch on CPUs, or many
small ones, which are."""


class Segmenter(nn.Module):
    """A semantic segmentation model.

    Args:
        backbone: the (fine-tuned) foundation model.
        decoder: maps the backbone's block outputs to classes.
        class_weights: (C,) for the decoder's loss, see :func:`inverse_frequency_weights`; None for equal weights.
    """

    mean: Tensor
    std: Tensor
    class_weights: Tensor | None

    def __init__(self, backbone: Backbone, decoder: Decoder, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("class_weights", class_weights)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C, H, W) for RGB images (B, 3, H, W) in 0..255, of any size.

        With every decoder, their softmax is the predicted class distribution of each pixel.
        """
        return self._decoded(images, self.decoder.logits)

    def decode(self, features: list[Tensor], images: Tensor) -> Tensor:
        """Return logits (B, C, H, W) for given block outputs of ``images`` (B, 3, H, W), as :meth:`forward` does."""
        return self._decoded(images, self.decoder.logits, features)

    def losses(
        self, images: Tensor, labels: Tensor, normaliser: Tensor | None = None, micro_batch: MicroBatch = WHOLE
    ) -> dict[str, Tensor]:
        """Return the decoder's named losses; pixels that the backbone pads are ignored.

        Args:
            images: (B, 3, H, W), RGB in 0..255.
            labels: (B, H, W) int64, 255 = ignore.
            normaliser: loss normaliser, see :meth:`Decoder.losses`; None for :meth:`normaliser` of ``labels``.
            micro_batch: which images of the batch these are.
        """
        rows, columns = self._padding(images)
        padded = F.pad(labels, (0, columns, 0, rows), value=IGNORE)
        return self.decoder.losses(self._features(images), padded, self.class_weights, normaliser, micro_batch)

    def normaliser(self, labels: Tensor) -> Tensor:
        """Return the loss normaliser (k,) of these labels, see :meth:`Decoder.normaliser`."""
        return self.decoder.normaliser(labels, self.class_weights)

    def _features(self, images: Tensor) -> list[Tensor]:
        return self.backbone((images - self.mean) / self.std)

    def _padding(self, images: Tensor) -> Size:
        """Return the number of rows and columns that the backbone pads."""
        patch = self.backbone.patch_size
        return -images.shape[-2] % patch, -images.shape[-1] % patch

    def _decoded(
        self, images: Tensor, decode: Callable[[list[Tensor], Size], Tensor], features: list[Tensor] | None = None
    ) -> Tensor:
        features = self._features(images) if features is None else features
        height, width = images.shape[-2:]
        rows, columns = self._padding(images)
        return decode(features, (height + rows, width + columns))[..., :height, :width]

    @torch.no_grad()
    def predict(
        self, images: Tensor, mode: Literal["whole", "slide"] = "whole", crop: int = 0, stride: int = 0
    ) -> Tensor:
        """Return the decoder's scores (B, C, H, W), of whole images or averaged over sliding windows.

        Scores are logits for decoders that predict per-pixel logits, else :meth:`Decoder.scores`; in both cases the
        prediction is their argmax.

        Args:
            images: (B, 3, H, W), RGB in 0..255.
            mode: ``whole`` for one pass over the image; ``slide`` for windows whose overlaps are averaged.
            crop: side of a window in pixels; a smaller image is a single window without padding.
            stride: distance between windows; the last window of a row or column ends at the border.
        """
        if mode == "whole":
            return self._decoded(images, self.decoder.scores)
        height, width = images.shape[-2:]
        places = list(product(windows(height, crop, stride), windows(width, crop, stride)))
        total: Tensor | None = None
        count = images.new_zeros(1, 1, height, width)
        together = max(AT_ONCE // (len(images) * crop**2), 1)
        for some in (places[start : start + together] for start in range(0, len(places), together)):
            stacked = torch.cat([images[..., rows, columns] for rows, columns in some])
            for (rows, columns), scores in zip(
                some, self._decoded(stacked, self.decoder.scores).split(len(images)), strict=True
            ):
                if total is None:
                    total = scores.new_zeros(len(images), scores.shape[1], height, width)
                total[..., rows, columns] += scores
                count[..., rows, columns] += 1
        assert total is not None
        return total / count


def windows(length: int, crop: int, stride: int) -> list[slice]:
    """Return the windows of size ``crop`` along a side of ``length``: one every ``stride``, the last at the border."""
    starts = range(0, max(length - crop, 0) + stride, stride)
    ends = [min(start + crop, length) for start in starts]
    return [slice(max(end - crop, 0), end) for end in ends]


def inverse_frequency_weights(pixels: Tensor) -> Tensor:
    """Return class weights (C,): inverse square root of frequency, with mean 1 over the classes that occur.

    Args:
        pixels: (C,) number of source pixels per class; a class that never occurs is not in the loss and gets weight 0.
    """
    weights = pixels.double().clamp(min=1).rsqrt() * (pixels > 0)
    return (weights / weights.sum() * (pixels > 0).sum()).float()
