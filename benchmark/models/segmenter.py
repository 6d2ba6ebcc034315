"""Backbone and decoder joined: training loss, whole and sliding inference."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.models.backbone import Backbone

IGNORE = 255


class Segmenter(nn.Module):
    """A semantic segmentation model.

    Args:
        backbone: the (fine-tuned) foundation model.
        decoder: maps the tapped block outputs to logits, at any stride.
        class_weights: (C,) of the cross-entropy, see :func:`inverse_frequency_weights`; None weighs all
            classes alike.
    """

    mean: Tensor
    std: Tensor
    class_weights: Tensor | None

    def __init__(self, backbone: Backbone, decoder: nn.Module, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("class_weights", class_weights)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C, H, W) for RGB images (B, 3, H, W) in 0..255, of any size."""
        height, width = images.shape[-2:]
        patch = self.backbone.patch_size
        padded = (height + -height % patch, width + -width % patch)  # what the backbone's grid covers
        logits = self.decoder(self.backbone((images - self.mean) / self.std))
        logits = F.interpolate(logits, size=padded, mode="bilinear", align_corners=False)
        return logits[..., :height, :width]

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return ``{"ce": scalar}``: cross-entropy at the labels' resolution, as mmsegmentation compares.

        The mean is weighted by class and taken over labelled pixels (torch's convention); it is 0, not NaN,
        where a batch has none.

        Args:
            images: (B, 3, H, W), RGB in 0..255.
            labels: (B, H, W) int64, 255 where nothing applies.
        """
        logits = self(images).float()
        weights = self.class_weights
        total = F.cross_entropy(logits, labels, weight=weights, ignore_index=IGNORE, reduction="sum")
        labelled = labels[labels != IGNORE]
        mass = labelled.numel() if weights is None else weights[labelled].sum()
        return {"ce": total / torch.as_tensor(mass, dtype=total.dtype, device=total.device).clamp(min=1e-6)}

    @torch.no_grad()
    def predict(
        self, images: Tensor, mode: Literal["whole", "slide"] = "whole", crop: int = 0, stride: int = 0
    ) -> Tensor:
        """Return logits (B, C, H, W) of whole images, or averaged over sliding windows.

        Args:
            images: (B, 3, H, W), RGB in 0..255.
            mode: ``whole`` feeds the image at once; ``slide`` feeds windows and averages where they overlap.
            crop: side of a window in pixels; a smaller image is one window, unpadded.
            stride: from one window to the next; the last of a row or column is flush with the border.
        """
        if mode == "whole":
            return self(images)
        height, width = images.shape[-2:]
        total: Tensor | None = None
        count = images.new_zeros(1, 1, height, width)
        for rows in windows(height, crop, stride):
            for columns in windows(width, crop, stride):
                logits = self(images[..., rows, columns])
                if total is None:
                    total = logits.new_zeros(*logits.shape[:2], height, width)
                total[..., rows, columns] += logits
                count[..., rows, columns] += 1
        assert total is not None
        return total / count


def windows(length: int, crop: int, stride: int) -> list[slice]:
    """Return where windows of ``crop`` lie along a side of ``length``: every ``stride``, the last flush."""
    starts = range(0, max(length - crop, 0) + stride, stride)
    ends = [min(start + crop, length) for start in starts]
    return [slice(max(end - crop, 0), end) for end in ends]


def inverse_frequency_weights(pixels: Tensor) -> Tensor:
    """Return class weights (C,): inverse square root of frequency, with mean 1 over the classes that occur.

    Args:
        pixels: (C,) number of source pixels per class; a class that never occurs gets weight 0, as it never
            enters the loss.
    """
    weights = pixels.double().clamp(min=1).rsqrt() * (pixels > 0)
    return (weights / weights.sum() * (pixels > 0).sum()).float()
