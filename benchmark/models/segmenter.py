"""Segmentation model of backbone and decoder: training losses, whole-image and sliding-window inference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
        return self.decoder.losses(self.features(images), padded, self.class_weights, normaliser, micro_batch)

    def normaliser(self, labels: Tensor) -> Tensor:
        """Return the loss normaliser (k,) of these labels, see :meth:`Decoder.normaliser`."""
        return self.decoder.normaliser(labels, self.class_weights)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the backbone's block outputs, four of (B, D, h, w), of images (B, 3, H, W) in RGB, 0..255."""
        return self.backbone((images - self.mean) / self.std)

    def _padding(self, images: Tensor) -> Size:
        """Return the number of rows and columns that the backbone pads."""
        patch = self.backbone.patch_size
        return -images.shape[-2] % patch, -images.shape[-1] % patch

    def _decoded(
        self, images: Tensor, decode: Callable[[list[Tensor], Size], Tensor], features: list[Tensor] | None = None
    ) -> Tensor:
        features = self.features(images) if features is None else features
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
            images: (B, 3, H, W), RGB in 0..255, float or uint8.
            mode: ``whole`` for one pass over the image; ``slide`` for windows whose overlaps are averaged.
            crop: side of a window in pixels; a smaller image is a single window without padding.
            stride: distance between windows, at most ``crop``; the last of a row or column ends at the border.

        Raises:
            ValueError: images of another shape or value range, such as 0..1; an unknown mode; windows that leave gaps.
        """
        if mode == "slide":
            return self._slid(images, crop, stride)
        if mode != "whole":
            raise ValueError(f"mode must be 'whole' or 'slide', not {mode!r}")
        check_images(images)
        return self._decoded(images, self.decoder.scores)

    @torch.no_grad()
    def bands(self, images: Tensor, crop: int, stride: int, at_once: int | None = None) -> Iterator[Tensor]:
        """Yield what :meth:`predict` returns for sliding windows in bands from top to bottom, (B, C, rows, W).

        A band is yielded when no later window overlaps it. Apart from the images, memory grows with their width, not
        with their height.

        Args:
            images: as for :meth:`predict`; they may be on another device than the model.
            crop: side of a window.
            stride: distance between windows.
            at_once: pixels of the windows in one forward pass; None for :data:`AT_ONCE`.

        Raises:
            ValueError: as :meth:`predict`.
        """
        check_images(images)
        if not 1 <= stride <= crop:
            raise ValueError(f"mode 'slide' needs 1 <= stride <= crop, not stride {stride} and crop {crop}")
        height, width = images.shape[-2:]
        down, across = windows(height, crop, stride), windows(width, crop, stride)
        by_row, by_column = votes(down, height).to(self.mean)[:, None], votes(across, width).to(self.mean)
        places = list(product(down, across))
        together = max((at_once or AT_ONCE) // (len(images) * crop**2), 1)
        total, top = self.mean.new_zeros(len(images), 0, 0, width), 0
        for start in range(0, len(places), together):
            some, after = places[start : start + together], places[start + together : start + together + 1]
            stacked = torch.cat([images[..., rows, columns] for rows, columns in some]).to(self.mean.device)
            scored = self._decoded(stacked, self.decoder.scores).split(len(images))
            total = _extended(total, some[-1][0].stop - top, scored[0])
            for (rows, columns), scores in zip(some, scored, strict=True):
                total[..., rows.start - top : rows.stop - top, columns] += scores
            end = after[0][0].start if after else height
            if end > top:
                yield total[..., : end - top, :] / (by_row[top:end] * by_column)
                total, top = total[..., end - top :, :].clone(), end

    def _slid(self, images: Tensor, crop: int, stride: int) -> Tensor:
        found: Tensor | None = None
        top = 0
        for band in self.bands(images, crop, stride):
            if found is None:
                found = band.new_empty(*band.shape[:2], *images.shape[-2:])
            found[..., top : top + band.shape[-2], :] = band
            top += band.shape[-2]
        assert found is not None
        return found


def check_images(images: Tensor) -> None:
    """Check shape and value range of a batch of images.

    Raises:
        ValueError: not (B, 3, H, W) or empty; not float or uint8; outside 0..255; or in 0..1 with fractions, which
            dark images in 0..255 do not have.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.numel():
        raise ValueError(f"images must be (B, 3, H, W), RGB, not {tuple(images.shape)}")
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point():
        raise ValueError(f"images must be float or uint8, not {images.dtype}")
    low, high = (float(value) for value in images.aminmax())
    if not (low >= 0 and high <= 255):
        raise ValueError(f"images must be RGB in 0..255 and not normalised; values are in {low:.4g}..{high:.4g}")
    if high <= 1 and bool((images != images.round()).any()):
        raise ValueError(f"images must be RGB in 0..255, not in 0..1 (values are in {low:.4g}..{high:.4g}); times 255")


def _extended(total: Tensor, rows: int, like: Tensor) -> Tensor:
    """Return sums (B, C, h, W) with zeros appended below, (B, C, rows, W), for scores such as ``like``."""
    if rows == total.shape[-2]:
        return total
    below = like.new_zeros(*like.shape[:2], rows - total.shape[-2], total.shape[-1])
    return torch.cat([total, below], -2) if total.numel() else below


def votes(placed: Iterable[slice], length: int) -> Tensor:
    """Return how many of the windows cover each row or column of a side, (length,)."""
    count = torch.zeros(length)
    for window in placed:
        count[window] += 1
    return count


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
