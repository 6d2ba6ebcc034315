"""Scores of images of any size, in bands from top to bottom, so that memory does not grow with the image's height."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.data.labels import Bytes
from benchmark.models.segmenter import AT_ONCE, Segmenter
from benchmark.protocol import Evaluation

Size = tuple[int, int]
WHOLE = 1 << 22
"""Maximum number of pixels of one pass over the whole image; a larger image is predicted in windows."""
CROP, STRIDE = 1024, 768
"""Windows of an image that is too large for one pass."""
GPU_AT_ONCE = 1 << 21
"""Pixels in one forward pass on a GPU: eight windows of 512 x 512, or images of one size."""
ROWS = 1 << 18
"""Pixels whose scores are turned into classes, or scaled, at a time."""


@dataclass(frozen=True)
class Prediction:
    """The prediction of one image.

    Attributes:
        classes: uint8 (H, W), train ids.
        confidence: mean probability of the predicted class.
        entropy: mean entropy of the class distribution, in nats.
    """

    classes: Bytes
    confidence: float
    entropy: float


def at_once(device: torch.device) -> int:
    """Return the number of pixels in one forward pass: on CPUs as in an evaluation, since more are not faster."""
    return AT_ONCE if device.type == "cpu" else GPU_AT_ONCE


def in_windows(size: Size, spec: Evaluation) -> bool:
    """Return whether an image is too large for the protocol's one pass and predicted in windows instead."""
    return spec.mode == "whole" and size[0] * size[1] > WHOLE


@torch.no_grad()
def predict(
    segmenter: Segmenter, images: Sequence[Bytes], size: Size, spec: Evaluation, tick: Callable[[int], None]
) -> list[Prediction]:
    """Predict images of one size.

    Args:
        segmenter: in eval mode.
        images: uint8 (h, w, 3), all of one size.
        size: height and width (H, W) of the predictions.
        spec: how the model is evaluated: whole images or sliding windows.
        tick: called with the number of pixels of each band that is done.
    """
    planes = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in images])
    classes: list[Tensor] = []
    sums = torch.zeros(2, len(images), dtype=torch.float64)
    for band in scores(segmenter, planes, size, spec):
        for rows in band.split(max(ROWS // size[1], 1), -2):
            log = segmenter.decoder.log_probabilities(rows.float())
            each = log.exp()
            sums[0] += each.amax(1).double().sum((1, 2)).cpu()
            sums[1] -= (each * log).sum(1).double().sum((1, 2)).cpu()
            classes.append(rows.argmax(1).byte().cpu())
            tick(classes[-1].numel())
    confidence, entropy = (sums / (size[0] * size[1])).tolist()
    maps = torch.cat(classes, 1).numpy()
    return [Prediction(*found) for found in zip(maps, confidence, entropy, strict=True)]


def scores(segmenter: Segmenter, images: Tensor, size: Size, spec: Evaluation) -> Iterator[Tensor]:
    """Yield the decoder's scores at ``size`` in bands (B, C, rows, W).

    Args:
        segmenter: in eval mode.
        images: uint8 (B, 3, h, w), on the CPU.
        size: (H, W).
        spec: as for :func:`predict`.
    """
    small, device = (images.shape[-2], images.shape[-1]), segmenter.mean.device
    if spec.mode == "slide" or in_windows(small, spec):
        crop, stride = (spec.crop or 0, spec.stride or 0) if spec.mode == "slide" else (CROP, STRIDE)
        bands: Iterable[Tensor] = segmenter.bands(images, crop, stride, at_once(device))
    else:
        bands = iter([segmenter.predict(images.to(device))])
    yield from bands if small == size else resized(bands, small, size)


def resized(bands: Iterable[Tensor], size: Size, to: Size) -> Iterator[Tensor]:
    """Scale bands of scores bilinearly, as an evaluation scales them to the size of the label.

    Args:
        bands: (B, C, rows, w) from top to bottom.
        size: (h, w), of all bands.
        to: (H, W).

    Yields:
        bands (B, C, rows, W).
    """
    (height, _), (rows, columns) = size, to
    place = ((torch.arange(rows, dtype=torch.float64) + 0.5) * (height / rows) - 0.5).clamp(0, height - 1)
    above = place.long()
    below = (above + 1).clamp(max=height - 1)
    top = done = 0
    kept: Tensor | None = None
    for band in bands:
        kept = band if kept is None else torch.cat([kept, band], -2)
        ready = int((below < top + kept.shape[-2]).sum())
        step = max(ROWS // columns, 1)
        for start in range(done, ready, step):
            some = torch.arange(start, min(start + step, ready))
            first, last = int(above[some[0]]), int(below[some[-1]])
            # Equal heights: this scales along the rows only.
            wide = F.interpolate(
                kept[..., first - top : last + 1 - top, :].float(),
                (last + 1 - first, columns), mode="bilinear", align_corners=False,
            )  # fmt: skip
            weight = (place - above)[some].to(wide)[:, None]
            upper, lower = above[some].to(wide.device) - first, below[some].to(wide.device) - first
            yield wide[..., upper, :] * (1 - weight) + wide[..., lower, :] * weight
        done = ready
        drop = min(int(above[done]) if done < rows else height, top + kept.shape[-2])
        kept, top = kept[..., drop - top :, :], drop
