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
    image += 256
    finished = np.take(tone, image, mode="clip")
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
