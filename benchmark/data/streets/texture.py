"""Procedural textures, evaluated per pixel in metres: window grids, shop fronts, joints, leaves, grain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import materials as m
from .raster import Surfaces

Floats = NDArray[np.floating[Any]]

# Grain of each material: size in metres, strength in 1/256.
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
    """The textures of an image, evaluated at each pixel."""

    second: NDArray[np.bool_]  # (H, W) whether the pixel has the texture's second colour (usually glass)
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
    """Evaluate all textures of an image."""
    polygons, seen = surfaces.polygons, surfaces.seen
    pixel = np.float32(1.0 / (surfaces.camera.focal * seen.shape[1]))  # size of a pixel at a distance of 1 m
    footprint = pixel / np.maximum(surfaces.inverse_depth, np.float32(1e-3))
    tone = 256 + _grain(surfaces, polygons.material[seen], footprint)
    second, cell = np.zeros(seen.shape, np.bool_), np.zeros(seen.shape, np.uint8)
    codes = polygons.texture[seen]
    params = np.ascontiguousarray(polygons.table["params"].T)
    for code, paint in _PAINTERS.items():
        at = np.nonzero(codes == code)
        if at[0].size:
            index = seen[at]
            painted = paint(_Spots(surfaces.s[at], surfaces.t[at], footprint[at], index, params[:, index]))
            tone[at] += painted.tone
            if painted.second is not None:
                second[at] = painted.second
            if painted.cell is not None:
                cell[at] = painted.cell
    return Pattern(second, np.maximum(tone, 0), cell)


def _grain(surfaces: Surfaces, material: NDArray[np.uint8], footprint: Floats) -> NDArray[np.int32]:
    """Return the grain of each material, faded out where it is smaller than a pixel."""
    size = _GRAIN_SIZE[material]
    cells = np.maximum(size, footprint)
    fade = np.minimum(np.float32(1.0), np.float32(2.0) * size / cells)
    noise = _random(surfaces.s / cells, surfaces.t / cells, material) - 128
    grain: NDArray[np.int32] = (noise * (_GRAIN_STRENGTH[material] * fade).astype(np.int32)) >> 7
    return grain


@dataclass(frozen=True)
class _Spots:
    """The pixels of one texture."""

    s: Floats
    t: Floats
    footprint: Floats  # size of a pixel on the surface, metres
    polygon: NDArray[np.intp]
    params: Floats  # (4, N)


@dataclass(frozen=True)
class _Paint:
    """The values of a texture at its pixels."""

    tone: NDArray[np.int32]
    second: NDArray[np.bool_] | None = None
    cell: NDArray[np.uint8] | None = None


def _random(x: Floats, y: Floats, salt: NDArray | int) -> NDArray[np.int32]:
    """Return a random value 0..255 for the lattice cell of each point."""
    return hashed(np.floor(x).astype(np.int32), np.floor(y).astype(np.int32), salt).astype(np.int32)


def _windows(at: _Spots) -> _Paint:
    """Draw a grid of framed windows, blended to an even grey where a window is smaller than a pixel."""
    column, row = at.s / at.params[0] + np.float32(0.06), at.t / at.params[1]
    random = _random(column, row, at.polygon)
    off, v = np.abs(column - np.floor(column) - np.float32(0.5)), row - np.floor(row)
    half = np.float32(0.5) * at.params[2]
    glass = (off < half) & (v > 0.28) & (v < 0.80)
    frame = (off < half + np.float32(0.07)) & (v > 0.22) & (v < 0.86) & ~glass
    fine = at.footprint < np.float32(0.45) * at.params[0]
    mullion = (off < 0.03) & (at.footprint < 0.12)
    change = np.where(glass, (random >> 1) - 40, np.where(frame, 44, 0))
    return _Paint(np.where(fine, change, -26), glass & fine & ~mullion, random.astype(np.uint8))


def _shops(at: _Spots) -> _Paint:
    """Draw shop windows with a door in each, between pillars."""
    column = at.s / at.params[0]
    u = column - np.floor(column)
    glass = (np.abs(u - np.float32(0.5)) < np.float32(0.5) * at.params[2]) & (at.t > 0.5) & (at.t < 2.6)
    door = glass & (u > 0.42) & (u < 0.58)
    goods = (_random(column, at.t * np.float32(3.0), at.polygon) >> 1) - 30
    lit = _random(column, column, at.polygon) >> 1
    return _Paint(np.where(door, -60, np.where(glass, goods, 0)), glass, lit.astype(np.uint8))


def _blocks(at: _Spots) -> _Paint:
    """Draw rows of slightly different blocks with darker joints."""
    row = at.t / at.params[1]
    j = np.floor(row)
    column = at.s / at.params[0] + np.float32(0.5) * (j - np.float32(2.0) * np.floor(j * np.float32(0.5)))
    joint = ((column - np.floor(column)) * at.params[0] < at.params[2]) | ((row - j) * at.params[1] < at.params[2])
    shade = np.where(joint, -46, (_random(column, row, at.polygon) >> 3) - 16)
    return _Paint(np.where(at.footprint < np.float32(0.5) * at.params[1], shade, 0))


def _leaves(at: _Spots) -> _Paint:
    """Draw clumps of leaves in light and shade."""
    side = np.maximum(at.params[0], at.footprint)
    random = _random(at.s / side, at.t / side, at.polygon)
    return _Paint((random >> 2) - 28, random < 52)


def _ribs(at: _Spots) -> _Paint:
    """Draw vertical ribs, as on a container or a tarpaulin."""
    column = at.s / at.params[0]
    rib = (column - np.floor(column) < at.params[2]) & (at.footprint < 0.25)
    return _Paint(np.where(rib, -34, 0))


_PAINTERS = {m.WINDOWS: _windows, m.SHOPS: _shops, m.BLOCKS: _blocks, m.LEAVES: _leaves, m.RIBS: _ribs}
