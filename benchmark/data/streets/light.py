"""Lighting by the sun, the sky and lamps."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from . import materials as m
from .camera import Camera
from .dice import Dice
from .finish import finish
from .look import Sample
from .mesh import Placed
from .pixels import Image, Plane, blur, fixed
from .raster import Surfaces
from .texture import Pattern


def lit_surfaces(
    surfaces: Surfaces, pattern: Pattern, sample: Sample, table: NDArray[np.int32], dice: Dice
) -> tuple[Image, Image]:
    """Return the lit surfaces and the emitted light."""
    polygons, seen = surfaces.polygons, surfaces.seen
    slots = np.concatenate([polygons.table["slot"], polygons.table["slot2"]])
    both = np.ascontiguousarray(table[np.tile(polygons.owner, 2), slots].T)
    colour = np.take(both, seen + len(polygons.owner) * pattern.second, axis=1)
    lights = _emitters(surfaces, pattern, sample, colour, seen)
    if sample.look.finishes:
        finish(colour, surfaces, pattern, sample.look.finishes, dice)
    ambient, sun = _light(polygons.normal, surfaces, sample)
    cover, contact = _shadows(surfaces, sample, seen)
    shadowless = (ambient[seen] * contact >> 8) * pattern.tone >> 8
    direct = (sun[seen] * cover >> 8) * pattern.tone >> 8
    if sample.night > 0:
        near = _headlights(surfaces, sample)
        shadowless, direct = shadowless * near >> 8, direct * near >> 8
    cold, warm = (248, 256, 266), (256 + fixed(0.5 * sample.warm), 256, 256 - fixed(1.5 * sample.warm))
    image = np.empty_like(colour)
    for k in range(3):
        np.multiply(colour[k], (shadowless * cold[k] + direct * warm[k]) >> 8, out=image[k])
    image >>= 8
    np.maximum(image, lights, out=image)
    return image, lights


def _emitters(surfaces: Surfaces, pattern: Pattern, sample: Sample, colour: Image, seen: NDArray[np.intp]) -> Image:
    """Return the light emitted by lamps and, after dark, by some windows."""
    polygons = surfaces.polygons
    shines = polygons.material == m.LIGHT
    if not sample.lit:
        shines &= (polygons.label == m.TRAFFIC_LIGHT) | (polygons.table["slot"] == m.AMBER)
    lights = colour * shines[seen]
    if sample.lit and sample.night > 0:
        glass = (polygons.texture == m.WINDOWS) | (polygons.texture == m.SHOPS)
        windows = pattern.second & glass[seen] & (pattern.cell < 88)
        level = np.where(windows, 150 + pattern.cell.astype(np.int32), 0)
        for k, warm in enumerate((236, 190, 112)):
            np.maximum(lights[k], level * warm >> 8, out=lights[k])
    return lights


def _light(
    normal: NDArray[np.float32], surfaces: Surfaces, sample: Sample
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return ambient and direct light of every polygon, in 1/256."""
    right, down, forward = surfaces.camera.axes()
    d = sample.direction
    sun = [axis[0] * d[0] + axis[1] * d[1] + axis[2] * d[2] for axis in (right, down, forward)]
    up = (right[1], down[1], forward[1])
    n = normal.astype(np.float64)
    towards = np.maximum(n[0] * sun[0] + n[1] * sun[1] + n[2] * sun[2], 0.0)
    upward = n[0] * up[0] + n[1] * up[1] + n[2] * up[2]
    dim = 1.0 - sample.night
    ambient = sample.ambient * (0.86 + 0.14 * upward) * (dim * dim * 0.75 + 0.25 * dim + 0.07 * sample.night)
    direct = sample.sun * towards * dim * dim
    return np.floor(ambient * 256.0 + 0.5).astype(np.int32), np.floor(direct * 256.0 + 0.5).astype(np.int32)


def _shadows(surfaces: Surfaces, sample: Sample, seen: NDArray[np.intp]) -> tuple[Plane, Plane]:
    """Return the fractions of sunlight and of ambient light that reach the ground, (H, W) in 1/256; 256 elsewhere."""
    cast, under = np.zeros(seen.shape, np.uint8), np.zeros(seen.shape, np.uint8)
    casters = [p for p in surfaces.placed if p.shadow is not None]
    if casters:
        points, depth = _shadow_outlines(casters, surfaces.camera, sample.direction, seen.shape)
        standing = np.array([p.kind != "building" for p in casters])
        for k in np.flatnonzero(standing & (depth[:, :4].min(1) > 0.5)).tolist():
            cv2.fillConvexPoly(under, points[k, :4], 255)
        if sample.sun * (1.0 - sample.night) > 0.15:
            for k in np.flatnonzero(depth.max(1) > 0.8).tolist():
                cv2.fillConvexPoly(cast, cv2.convexHull(points[k])[:, 0], 255)
    ground = np.array([p.kind == "ground" for p in surfaces.placed] + [False])[surfaces.polygons.owner][seen]
    cover = 256 - blur(blur(cast.astype(np.int32))) * ground
    contact = 256 - (blur(blur(blur(under.astype(np.int32)))) * 150 >> 8) * ground
    return cover, contact


def _shadow_outlines(
    casters: list[Placed], camera: Camera, sun: tuple[float, float, float], size: tuple[int, ...]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return pixels (N, 8, 2) and depths (N, 8) of each footprint's corners and of where its top's shadow falls."""
    box = np.array([p.shadow for p in casters])
    pose = np.array([(p.x, p.z, *p.heading) for p in casters])
    reach = min(1.0 / max(sun[1], 0.2), 2.5)
    corners = np.zeros((3, len(casters), 8))
    for k, (a, b) in enumerate(((-1, -1), (1, -1), (1, 1), (-1, 1))):
        x, z = a * box[:, 0], b * box[:, 1]
        corners[0, :, k] = pose[:, 0] + pose[:, 2] * x + pose[:, 3] * z
        corners[2, :, k] = pose[:, 1] + pose[:, 2] * z - pose[:, 3] * x
        corners[0, :, k + 4] = corners[0, :, k] - sun[0] * reach * box[:, 2]
        corners[2, :, k + 4] = corners[2, :, k] - sun[2] * reach * box[:, 2]
    x, y, depth = camera.to_camera(corners)
    scale = 1.0 / np.maximum(depth, 0.5) * (camera.focal * size[1])
    points = np.stack([np.floor(x * scale + 0.5 * size[1]), np.floor(y * scale + camera.centre * size[0])], axis=-1)
    return np.clip(points, -4000, 4000).astype(np.int32), depth


def _headlights(surfaces: Surfaces, sample: Sample) -> NDArray[np.int32]:
    """Return the brightening of near surfaces by headlights and street lighting; 256 = unchanged."""
    depth = np.float32(1.0) / np.maximum(surfaces.inverse_depth, np.float32(1.0 / 200.0))
    gain = np.float32(sample.night * 2.2 * 14.0 * 14.0) / (np.float32(14.0 * 14.0) + depth * depth)
    return np.floor((np.float32(1.0) + gain) * np.float32(256.0)).astype(np.int32)


def bloom(image: Image, glow: Image) -> None:
    """Add the glow around light sources."""
    height, width = glow.shape[1:]
    small = glow[:, : height // 4 * 4, : width // 4 * 4]
    spread = small[:, :, 0::4] + small[:, :, 1::4] + small[:, :, 2::4] + small[:, :, 3::4]
    spread = spread[:, 0::4] + spread[:, 1::4] + spread[:, 2::4] + spread[:, 3::4]
    wide = blur(blur(np.minimum(spread >> 2, 255)))
    wider = blur(blur(blur(wide)))
    total = np.minimum(wide + (wider >> 1), 255).astype(np.uint8)
    for k in range(3):
        image[k] += cv2.resize(total[k], (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
