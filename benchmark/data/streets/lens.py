"""Camera effects: blur, exposure, colour, vignetting, noise and contrast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .dice import Dice
from .look import Look
from .pixels import Image, blur, fixed, luma


def expose(image: Image, look: Look, dice: Dice) -> NDArray[np.uint8]:
    """Apply blur, exposure, colour, vignetting, noise and contrast; return (H, W, 3)."""
    height, width = image.shape[1:]
    for _ in range(dice.weighted(tuple(look.blur.items()))):
        image = blur(image)
    exposure, cast = fixed(dice.uniform(*look.exposure)), dice.pick(look.cast)
    for k in range(3):
        image[k] *= exposure * (cast[k] + dice.below(2 * look.cast_spread + 1) - look.cast_spread) >> 8
    image >>= 8
    if look.mix > 0:
        image = _mixed(image, look.mix, dice)
    if look.veil[1] > 0:
        _scatter(image, fixed(dice.uniform(*look.veil)))
    grey = luma(image)
    saturation, chroma = fixed(dice.uniform(*look.saturation)), dice.chance(look.chroma)
    edge, noise = fixed(dice.uniform(*look.vignette)), fixed(dice.uniform(*look.noise)) >> 2
    y, x = np.arange(height, dtype=np.int32)[:, None] * 2 - height, np.arange(width, dtype=np.int32) * 2 - width
    fall = 256 - ((x * x * 256 // (width * width) + y * y * 256 // (height * height)) * edge >> 9)
    grain = dice.bytes(2, 3, height, width)
    grain_sum = np.add(grain[0], grain[1], dtype=np.int32)
    for k in range(3):
        colour = image[k] - grey
        if chroma:
            colour = blur(blur(colour))
        colour *= saturation
        colour >>= 8
        colour += grey
        colour *= fall
        colour >>= 8
        image[k] = colour
    grain_sum -= 255
    grain_sum *= noise
    grain_sum >>= 13
    image += grain_sum
    tone = _tone(fixed(dice.uniform(*look.contrast)), int(dice.uniform(*look.lift)))
    if look.dark[1] > 0:
        tone = _darkened(tone, fixed(dice.uniform(*look.dark)))
    image += 256
    finished = np.take(tone, image, mode="clip")
    if look.compress[1] > 0:
        finished = _compressed(finished, dice.uniform(*look.compress))
    return np.ascontiguousarray(finished.transpose(1, 2, 0))


def _mixed(image: Image, strength: float, dice: Dice) -> Image:
    """Mix the colour channels at random."""
    mixed = np.empty_like(image)
    for k in range(3):
        weight = [fixed(strength * dice.uniform(0.0, 0.6)) for _ in range(3)]
        weight[k] = 256 - sum(w for i, w in enumerate(weight) if i != k)
        mixed[k] = (weight[0] * image[0] + weight[1] * image[1] + weight[2] * image[2]) >> 8
    return mixed


def _tone(contrast: int, lift: int) -> NDArray[np.uint8]:
    """Return the tone curve for levels -256 to 1023: contrast about middle grey, soft highlights, lifted blacks."""
    curve = 118 + ((np.arange(-256, 1024, dtype=np.int32) - 118) * contrast >> 8)
    over = np.maximum(curve - 200, 0)
    curve = np.minimum(curve, 200) + 55 * over // (over + 55)
    return np.clip(lift + curve * (255 - lift) // 246, 0, 255).astype(np.uint8)


def _darkened(tone: NDArray[np.uint8], amount: int) -> NDArray[np.uint8]:
    """Blend a tone curve with its cube by amount / 256."""
    level = tone.astype(np.int32)
    return (level + ((level * level // 255 * level // 255 - level) * amount >> 8)).astype(np.uint8)


def _scatter(image: Image, amount: int) -> None:
    """Add the image's mean colour, from 1/4 of amount / 256 at the lower edge to all of it at the upper edge."""
    height, width = image.shape[1:]
    rise = (256 - np.arange(height, dtype=np.int32) * 192 // height)[:, None] * amount >> 8
    for k in range(3):
        image[k] += rise * (int(image[k].sum()) // (height * width)) >> 8


# Rows of the 8-point discrete cosine transform (type II), times 2048.
_COSINES = np.array(
    [
        [724, 724, 724, 724, 724, 724, 724, 724],
        [1004, 851, 569, 200, -200, -569, -851, -1004],
        [946, 392, -392, -946, -946, -392, 392, 946],
        [851, -200, -1004, -569, 569, 1004, 200, -851],
        [724, -724, -724, 724, 724, -724, -724, 724],
        [569, -1004, 200, 851, -851, -200, 1004, -569],
        [392, -946, 946, -392, -392, 946, -946, 392],
        [200, -569, 851, -1004, 1004, -851, 569, -200],
    ],
    np.int64,
)


def _compressed(image: NDArray[np.uint8], step: float) -> NDArray[np.uint8]:
    """Quantise the frequencies of blocks of 8 x 8 pixels, as JPEG does; image (3, H, W)."""
    height, width = image.shape[1] // 8 * 8, image.shape[2] // 8 * 8
    blocks = image[:, :height, :width].astype(np.int64).reshape(3, height // 8, 8, width // 8, 8)
    waves = _transformed(blocks - 128, _COSINES)
    index = np.arange(8)
    steps = np.floor(step * (1.0 + 0.5 * (index[:, None] + index)) * float(1 << 22)).astype(np.int64)[:, None, :]
    waves = (waves + (steps >> 1)) // steps * (steps >> 11)
    back = _transformed(waves, _COSINES.T) >> 33
    out = image.copy()
    out[:, :height, :width] = np.clip(back.reshape(3, height, width) + 128, 0, 255)
    return out


def _transformed(blocks: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Apply a transform, whose rows are given, along both sides of blocks (3, y, 8, x, 8)."""
    # One side after the other: a single product over both takes four times as many multiplications.
    return np.einsum("cyixk,lk->cyixl", np.einsum("ij,cyjxk->cyixk", rows, blocks), rows)
