"""Image arithmetic in int32, so that results are the same on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.int32]  # (H, W)
Image = NDArray[np.int32]  # (3, H, W), 0..255; intermediate results may exceed this range


def fixed(value: float) -> int:
    """Return a factor in units of 1/256, rounded."""
    return int(value * 256.0 + 0.5)


def blend(channel: NDArray[np.int32], other: NDArray[np.int32] | int, alpha: NDArray[np.int32] | int) -> None:
    """Move a channel towards another by alpha / 256, in place."""
    step = other - channel
    step *= alpha
    step >>= 8
    channel += step


def blur(image: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the 1-2-1 blur of (H, W) or (3, H, W), with edge pixels repeated."""
    across = image * 2
    across[..., 1:] += image[..., :-1]
    across[..., :1] += image[..., :1]
    across[..., :-1] += image[..., 1:]
    across[..., -1:] += image[..., -1:]
    down = across * 2
    down[..., 1:, :] += across[..., :-1, :]
    down[..., :1, :] += across[..., :1, :]
    down[..., :-1, :] += across[..., 1:, :]
    down[..., -1:, :] += across[..., -1:, :]
    down >>= 4
    return down


def luma(image: Image) -> NDArray[np.int32]:
    """Return the luma (Rec. 601)."""
    return (image[0] * 77 + image[1] * 150 + image[2] * 29) >> 8
