"""Haze, sky, snow and rain."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from . import materials as m
from .dice import Dice
from .look import Look, Sample
from .pixels import Image, blend, blur, fixed
from .raster import Surfaces
from .texture import Pattern, hashed


def haze(image: Image, surfaces: Surfaces, sample: Sample, dice: Dice) -> None:
    """Blend distant surfaces into the colour of the horizon."""
    # Depth in whole decimetres, 9000 for the sky.
    nearness = np.maximum(surfaces.inverse_depth, np.float32(1.0 / 900.0))
    depth = np.floor(np.float32(10.0) / nearness).astype(np.int32)
    half = 10.0 * dice.uniform(*sample.look.haze)
    steps = np.arange(9001, dtype=np.float64)
    share = steps * steps / (steps * steps + half * half) * 0.6 + steps / (steps + half) * 0.4
    alpha = np.take(np.floor(share * 256.0).astype(np.int32), depth, mode="clip")
    for k, horizon in enumerate(_sky_colours(sample)[1]):
        blend(image[k], horizon, alpha)


def _sky_colours(sample: Sample) -> tuple[list[int], list[int]]:
    dim = 1.0 - 0.88 * sample.night
    tint = (0.9, 0.95, 1.15) if sample.night > 0 else (1.0, 1.0, 1.0)
    return ([int(v * dim * t) for v, t in zip(sample.zenith, tint, strict=True)],
            [int(v * dim * t) for v, t in zip(sample.horizon, tint, strict=True)])  # fmt: skip


def sky(image: Image, surfaces: Surfaces, sample: Sample, dice: Dice) -> None:
    """Paint a gradient and clouds on sky pixels."""
    height, width = surfaces.seen.shape
    camera = surfaces.camera
    amount = fixed(dice.uniform(*sample.look.clouds))
    coarse, fine = dice.bytes(7, 9), dice.bytes(19, 27)
    free = surfaces.seen == 0
    used = int(np.flatnonzero(free.any(axis=1))[-1]) + 1 if free.any() else 0
    if not used:
        return
    level = camera.centre * height - camera.pitch * 2.0 * camera.focal * width
    rows = np.clip(np.floor((level - np.arange(used)) * (256.0 / (0.55 * height))), 0, 256).astype(np.int32)
    cloud = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)[:used].astype(np.int32)
    cloud = (cloud * 3 + cv2.resize(fine, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)[:used]) >> 2
    cover = np.clip((cloud - 120) * 4, 0, 255) * amount >> 8
    for k, (top, low) in enumerate(zip(*_sky_colours(sample), strict=True)):
        bright = low + (255 - low) * 3 // 4 if sample.night == 0 else low + 12
        sky = np.broadcast_to((low + ((top - low) * rows >> 8))[:, None], cover.shape).copy()
        blend(sky, bright, cover)
        np.copyto(image[k, :used], sky, where=free[:used])


def snow(image: Image, surfaces: Surfaces, pattern: Pattern, sample: Sample) -> None:
    """Whiten surfaces that face upwards, in patches."""
    right, down, forward = surfaces.camera.axes()
    polygons = surfaces.polygons
    n = polygons.normal
    up = n[0] * np.float32(right[1]) + n[1] * np.float32(down[1]) + n[2] * np.float32(forward[1])
    holds = np.where(up > 0.6, 1.0, np.where(polygons.material == m.FOLIAGE, 0.5, 0.0))
    holds = np.where(polygons.label == m.ROAD, 0.6, np.where(polygons.label == m.EGO, 0.15, holds))
    amount = np.floor(holds * sample.snow * 512.0).astype(np.int32)
    alpha = amount[surfaces.seen] - 120 + (pattern.tone >> 1) - 128 + _patches(surfaces)
    alpha = np.clip(alpha, 0, 235) * (amount > 0)[surfaces.seen]
    level = fixed(min(1.0, sample.ambient + 0.25)) * (256 - fixed(0.8 * sample.night)) >> 8
    for k, white in enumerate((226, 231, 238)):
        blend(image[k], white * level >> 8, alpha)


def _patches(surfaces: Surfaces) -> NDArray[np.int32]:
    """Return a soft random pattern, -64..63, in surface coordinates."""

    i = np.floor(surfaces.s * np.float32(0.8)).astype(np.int32)
    j = np.floor(surfaces.t * np.float32(0.4)).astype(np.int32)
    return blur(blur((hashed(i, j, 7).astype(np.int32) >> 1) - 64))


def reflect(image: Image, surfaces: Surfaces, sample: Sample) -> None:
    """Add reflections on wet road and pavement."""
    height, width = surfaces.seen.shape
    camera = surfaces.camera
    level = max(int(camera.centre * height - camera.pitch * 2.0 * camera.focal * width), 0)
    if level >= height:
        return
    rows = np.arange(level, height)
    mirror = image[:, np.clip(2 * level - rows, 0, height - 1)]
    mirror = (mirror + image[:, np.clip(2 * level - rows - 3, 0, height - 1)]) >> 1
    labels = surfaces.polygons.label
    alpha = (((labels == m.ROAD) | (labels == m.SIDEWALK)) * fixed(sample.wet * 0.62))[surfaces.seen[level:]]
    for k in range(3):
        blend(image[k, level:], mirror[k] * 230 >> 8, alpha)


def precipitation(image: Image, look: Look, dice: Dice) -> None:
    """Add rain streaks, snowflakes or drops on the lens."""
    height, width = image.shape[1:]
    if dice.chance(look.streaks):
        for _ in range(30 + dice.below(60)):
            x, y, long = dice.below(width), dice.below(height), 4 + dice.below(9)
            blend(image[:, y : y + long, x], 210, 40 + dice.below(40))
    if dice.chance(look.flakes):
        for _ in range(40 + dice.below(110)):
            x, y, side = dice.below(width), dice.below(height), 1 + (dice.below(4) == 0)
            blend(image[:, y : y + side, x : x + side], 243, 120 + dice.below(90))
    if dice.chance(look.drops):
        for _ in range(3 + dice.below(6)):
            x, y, side = dice.below(width - 8), dice.below(height - 8), 4 + dice.below(6)
            part = image[:, y : y + side, x : x + side]
            blend(part, blur(blur(part[:, ::-1])) + 8, 170)
