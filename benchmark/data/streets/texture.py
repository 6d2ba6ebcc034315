"""Patterns on surfaces, per pixel and in metres: window grids, shop fronts, joints, leaves, grain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import materials as m
from .raster import Surfaces

# Per material: side of a grain in metres, strength of the grain in 1/256.
_GRAIN = {
    m.ASPHALT: (0.05, 26), m.PAINT: (0.2, 10), m.PAVING: (0.1, 20), m.MASONRY: (0.25, 44), m.PLASTER: (0.7, 14),
    m.CONCRETE: (0.4, 22), m.TILE: (0.3, 56), m.GLASS: (0.6, 24), m.CLOTH: (0.12, 22), m.WOOD: (0.15, 44),
    m.FOLIAGE: (0.14, 90), m.GRASS: (0.16, 70), m.SOIL: (0.3, 50), m.PANEL: (0.5, 6), m.METAL: (0.3, 16),
}  # fmt: skip
_GRAIN_SIZE = np.full(256, 1.0, np.float32)
_GRAIN_STRENGTH = np.zeros(256, np.float32)
for _material, (_size, _strength) in _GRAIN.items():
    _GRAIN_SIZE[_material], _GRAIN_STRENGTH[_material] = _size, _strength


@dataclass(frozen=True)
class Pattern:
    """What the textures say about each pixel."""

    second: NDArray[np.bool_]  # (H, W) the texture's second colour (glass, as a rule)
    tone: NDArray[np.int32]  # (H, W) brightness, 256 = unchanged
    cell: NDArray[np.uint8]  # (H, W) a random number per window


def hashed(x: NDArray[np.int32], y: NDArray[np.int32], salt: NDArray | int) -> NDArray[np.uint8]:
    """Return a random byte for each lattice point."""
    h = x.astype(np.uint32) * np.uint32(0x9E3779B1)
    h ^= y.astype(np.uint32) * np.uint32(0x85EBCA77)
    h += np.asarray(salt, np.uint32) * np.uint32(0xC2B2AE3D)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x2C1B3C6D)
    h ^= h >> np.uint32(12)
    h *= np.uint32(0x297A2D39)
    return (h >> np.uint32(24)).astype(np.uint8)


def pattern(surfaces: Surfaces) -> Pattern:
    """Evaluate every texture of a picture."""
    polygons, seen = surfaces.polygons, surfaces.seen
    material = polygons.material[seen]
    footprint = np.float32(1.0 / (surfaces.camera.focal * seen.shape[1])) / np.maximum(
        surfaces.inverse_depth, np.float32(1e-3)
    )
    size = _GRAIN_SIZE[material]
    cells = np.maximum(size, footprint)
    noise = hashed(_floor(surfaces.s / cells), _floor(surfaces.t / cells), material).astype(np.int32) - 128
    strength = (
        _GRAIN_STRENGTH[material] * np.minimum(np.float32(1.0), np.float32(2.0) * size / np.maximum(footprint, size))
    ).astype(np.int32)
    tone = 256 + ((noise * strength) >> 7)
    second = np.zeros(seen.shape, np.bool_)
    cell = np.zeros(seen.shape, np.uint8)
    codes = polygons.texture[seen]
    params = np.ascontiguousarray(polygons.table["params"].T)
    flat_codes = codes.ravel()
    for code, paint in _PAINTERS.items():
        at = np.flatnonzero(flat_codes == code)
        if at.size:
            index = seen.ravel()[at]
            paint(surfaces.s.ravel()[at], surfaces.t.ravel()[at], params[:, index], index, footprint.ravel()[at],
                  at, tone.reshape(-1), second.reshape(-1), cell.reshape(-1))  # fmt: skip
    return Pattern(second, np.maximum(tone, 0), cell)


def _floor(values: NDArray[np.float32]) -> NDArray[np.int32]:
    return np.floor(values).astype(np.int32)


def _windows(s, t, params, index, footprint, at, tone, second, cell) -> None:  # type: ignore[no-untyped-def]
    """Draw a grid of framed windows; far away, where a window is under a pixel, an even greyish blend."""
    column, row = s / params[0] + np.float32(0.06), t / params[1]
    i, j = np.floor(column), np.floor(row)
    u, v = column - i, row - j
    half = np.float32(0.5) * params[2]
    glass = (np.abs(u - np.float32(0.5)) < half) & (v > 0.28) & (v < 0.80)
    fine = footprint < np.float32(0.45) * params[0]
    frame = (np.abs(u - np.float32(0.5)) < half + np.float32(0.07)) & (v > 0.22) & (v < 0.86) & ~glass
    random = hashed(i.astype(np.int32), j.astype(np.int32), index)
    second[at] = glass & fine
    cell[at] = random
    coarse = ~fine
    change = np.where(glass, (random.astype(np.int32) >> 1) - 40, np.where(frame, 44, 0))
    mullion = glass & (np.abs(u - np.float32(0.5)) < 0.03) & (footprint < 0.12)
    second[at[mullion]] = False
    tone[at] += np.where(coarse, -26, change)


def _shops(s, t, params, index, footprint, at, tone, second, cell) -> None:  # type: ignore[no-untyped-def]
    """Draw shop windows between pillars."""
    column = s / params[0]
    i = np.floor(column)
    u = column - i
    half = np.float32(0.5) * params[2]
    glass = (np.abs(u - np.float32(0.5)) < half) & (t > 0.5) & (t < 2.6)
    door = glass & (u > 0.42) & (u < 0.58)
    random = hashed(i.astype(np.int32), np.floor(t * 3).astype(np.int32), index)
    second[at] = glass
    cell[at] = hashed(i.astype(np.int32), i.astype(np.int32), index) >> 1
    tone[at] += np.where(door, -60, np.where(glass, (random.astype(np.int32) >> 1) - 30, 0))
    del footprint


def _blocks(s, t, params, index, footprint, at, tone, second, cell) -> None:  # type: ignore[no-untyped-def]
    """Draw courses of blocks with darker joints, each block a little different."""
    row = t / params[1]
    j = np.floor(row)
    column = s / params[0] + np.float32(0.5) * (j - np.float32(2.0) * np.floor(j * np.float32(0.5)))
    i = np.floor(column)
    joint = ((column - i) * params[0] < params[2]) | ((row - j) * params[1] < params[2])
    random = hashed(i.astype(np.int32), j.astype(np.int32), index).astype(np.int32)
    fine = footprint < np.float32(0.5) * params[1]
    tone[at] += np.where(fine, np.where(joint, -46, (random >> 3) - 16), 0)
    del second, cell


def _leaves(s, t, params, index, footprint, at, tone, second, cell) -> None:  # type: ignore[no-untyped-def]
    """Draw clumps of leaves in light and shade."""
    side = np.maximum(params[0], footprint)
    random = hashed(_floor(s / side), _floor(t / side), index).astype(np.int32)
    second[at] = random < 52
    tone[at] += (random >> 2) - 28
    del cell


def _ribs(s, t, params, index, footprint, at, tone, second, cell) -> None:  # type: ignore[no-untyped-def]
    """Draw vertical ribs, as on a container or a tarpaulin."""
    column = s / params[0]
    rib = (column - np.floor(column)) < params[2]
    tone[at] += np.where(rib & (footprint < 0.25), -34, 0)
    del t, index, second, cell


_PAINTERS = {m.WINDOWS: _windows, m.SHOPS: _shops, m.BLOCKS: _blocks, m.LEAVES: _leaves, m.RIBS: _ribs}
