"""Finish of surfaces: structure at several scales on road, pavement, soil, walls, leaves and vehicles.

It belongs to the appearance, not to the street: the same street can be shown with another finish. All values are
computed from world coordinates and integer hashes, element by element, so that they are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import materials as m
from .dice import Dice
from .pixels import Image, blend
from .raster import Surfaces
from .texture import Pattern, hashed

Range = tuple[float, float]
Rgb = tuple[int, int, int]
Floats = NDArray[np.floating[Any]]

SURFACES: dict[str, tuple[int, ...]] = {
    "road": (m.ROAD,),
    "pavement": (m.SIDEWALK,),
    "soil": (m.TERRAIN,),
    "ground": (m.ROAD, m.SIDEWALK, m.TERRAIN),
    "wall": (m.BUILDING, m.WALL),
    "leaf": (m.VEGETATION,),
    "fence": (m.FENCE, m.POLE),
    "vehicle": (m.CAR, m.TRUCK, m.BUS, m.TRAIN, m.MOTORCYCLE),
    "person": (m.PERSON, m.RIDER),
}


@dataclass(frozen=True)
class Finish:
    """One structure on one kind of surface; size and strength are drawn uniformly for each image.

    Attributes:
        on: one of SURFACES.
        kind: one of KINDS.
        size: of the largest structure, in metres.
        strength: contrast; 1 = from black to twice the brightness, or up to full cover by the tint.
        tint: colours, one of them drawn per image, to blend in where the structure is high; () changes the brightness.
        stretch: height of the structure divided by its width (on the ground: length along the street).
    """

    on: str
    kind: str
    size: Range
    strength: Range
    tint: tuple[Rgb, ...] = ()
    stretch: float = 1.0


@dataclass(frozen=True)
class Spots:
    """The pixels of one finish: coordinates in units of its size, the size of a pixel, and a salt per object."""

    x: Floats
    y: Floats
    pixel: Floats
    salt: NDArray[np.uint32]


def finish(colour: Image, surfaces: Surfaces, pattern: Pattern, finishes: tuple[Finish, ...], dice: Dice) -> None:
    """Add the finishes to the unlit colours of an image, in place. Glass and lamps stay as they are."""
    polygons, seen = surfaces.polygons, surfaces.seen
    label = polygons.label[seen]
    solid = ~pattern.second & ~np.isin(polygons.material, (m.GLASS, m.LIGHT))[seen]
    leaves = (polygons.texture == m.LEAVES)[seen]
    across, up, footprint = _coordinates(surfaces)
    for layer, each in enumerate(finishes):
        size, strength, salt = dice.uniform(*each.size), dice.uniform(*each.strength), dice.below(1 << 16)
        tint = dice.pick(each.tint) if each.tint else None
        at = np.nonzero(np.isin(label, SURFACES[each.on]) & (solid | leaves))
        if not at[0].size or strength <= 0:
            continue
        own = polygons.owner[seen[at]].astype(np.uint32) * np.uint32(7919) + np.uint32(salt + 31 * layer)
        wide = np.float32(1.0 / size)
        spots = Spots(across[at] * wide, up[at] * np.float32(wide / each.stretch), footprint[at] * wide, own)
        level = np.floor(KINDS[each.kind](spots) * np.float32(256.0 * strength)).astype(np.int32)
        for k in range(3):
            channel = colour[k][at]
            if tint is None:
                channel = np.maximum(channel * (256 + level) >> 8, 0)
            else:
                blend(channel, tint[k], np.clip(level, 0, 256))
            colour[k][at] = np.minimum(channel, 255)


def _coordinates(surfaces: Surfaces) -> tuple[Floats, Floats, Floats]:
    """Return surface coordinates that continue across polygons, and the size of a pixel, all (H, W) in metres."""
    camera, seen = surfaces.camera, surfaces.seen
    u, v = camera.rays(seen.shape)
    depth = np.float32(1.0) / np.maximum(surfaces.inverse_depth, np.float32(1e-3))
    rows = np.array(camera.axes(), np.float32)
    place = (camera.x, camera.height, 0.0)
    x, y, z = (np.float32(place[k]) + (rows[0, k] * u + rows[1, k] * v + rows[2, k]) * depth for k in range(3))
    n = surfaces.polygons.normal
    nx, ny, nz = (rows[0, k] * n[0] + rows[1, k] * n[1] + rows[2, k] * n[2] for k in range(3))
    flat = (np.abs(ny) > 0.7)[seen]
    across = np.where(flat, x, x * nz[seen] - z * nx[seen])
    pixel = np.float32(1.0 / (camera.focal * seen.shape[1]))
    return across, np.where(flat, z, y), depth * pixel


# ---- structures: (N,) in about -1..1, or 0..1 for those meant for a tint -----------------------------------
def _byte(x: Floats, y: Floats, salt: NDArray[np.uint32]) -> Floats:
    """Return a random number in 0..1 for the lattice cell of each point."""
    cell = hashed(np.floor(x).astype(np.int32), np.floor(y).astype(np.int32), salt)
    return cell.astype(np.float32) * np.float32(1.0 / 255.0)


def _value(x: Floats, y: Floats, salt: NDArray[np.uint32]) -> Floats:
    """Return smooth noise, -1..1, with one random value per unit square."""
    i, j = np.floor(x), np.floor(y)
    a, b = x - i, y - j
    a, b = a * a * (np.float32(3.0) - a - a), b * b * (np.float32(3.0) - b - b)
    low = _byte(i, j, salt) * (1 - a) + _byte(i + 1, j, salt) * a
    high = _byte(i, j + 1, salt) * (1 - a) + _byte(i + 1, j + 1, salt) * a
    return (low * (1 - b) + high * b) * np.float32(2.0) - np.float32(1.0)


def _fade(pixel: Floats, size: float) -> Floats:
    """Return 1 where structures of the given size are larger than two pixels, 0 where smaller than one."""
    return np.clip(np.float32(size) / np.maximum(pixel, np.float32(1e-6)) - np.float32(1.0), 0.0, 1.0)


def _blotches(at: Spots) -> Floats:
    """Stains: three octaves of noise."""
    total = np.zeros_like(at.x)
    for scale, share in ((1.0, 0.8), (0.41, 0.55), (0.17, 0.4)):
        x, y = (at.x + at.y * 0.31) / np.float32(scale), (at.y - at.x * 0.31) / np.float32(scale)
        total += np.float32(share) * _fade(at.pixel, scale) * _value(x, y, at.salt + np.uint32(100 * scale))
    return total


def _cracks(at: Spots) -> Floats:
    """Cracks: dark lines where noise changes its sign."""
    total = np.zeros_like(at.x)
    for scale, share in ((1.0, 1.0), (0.37, 0.7)):
        noise = np.abs(_value(at.x / np.float32(scale), at.y / np.float32(scale), at.salt + np.uint32(100 * scale)))
        total -= np.float32(share) * _fade(at.pixel, 0.4 * scale) * np.maximum(1 - noise * np.float32(7.0), 0)
    return total


def _stones(at: Spots) -> Floats:
    """Setts or rubble: rows of stones of different brightness with dark joints."""
    row = np.floor(at.y)
    column = at.x + np.float32(0.5) * (row - np.float32(2.0) * np.floor(row * np.float32(0.5)))
    joint = (column - np.floor(column) < 0.16) | (at.y - row < 0.16)
    stone = _byte(column, at.y, at.salt) * np.float32(1.6) - np.float32(0.8)
    return np.where(joint, np.float32(-0.9), stone) * _fade(at.pixel, 0.7)


def _boards(at: Spots) -> Floats:
    """Boards, corrugated iron or clinker: horizontal bands of different brightness with a dark edge."""
    edge = at.y - np.floor(at.y) < 0.22
    band = _byte(np.zeros_like(at.y), at.y, at.salt) * np.float32(1.2) - np.float32(0.5)
    return np.where(edge, np.float32(-0.9), band) * _fade(at.pixel, 0.7)


def _beams(at: Spots) -> Floats:
    """Timber frame: 1 on upright, level and slanting beams, 0 between."""
    x, y = at.x - np.floor(at.x), at.y - np.floor(at.y)
    braced = _byte(at.x, at.y, at.salt) < 0.3
    beam = (x < 0.12) | (y < 0.12) | (braced & (np.abs(x - y) < 0.1))
    return beam * _fade(at.pixel, 0.25)


def _streaks(at: Spots) -> Floats:
    """Water stains: noise drawn out downwards, mostly darker."""
    long = _value(at.x, at.y * np.float32(0.08), at.salt)
    fine = _value(at.x * np.float32(2.7), at.y * np.float32(0.3), at.salt + np.uint32(1))
    return (
        _fade(at.pixel, 1.0) * (long * np.float32(0.8))
        + fine * np.float32(0.5) * _fade(at.pixel, 0.37)
        - np.float32(0.25)
    )


def _spots(at: Spots) -> Floats:
    """Spots: fallen leaves, blossom, litter; 1 in some of the discs of a jittered lattice, 0 between."""
    x, y = at.x - np.floor(at.x) - np.float32(0.5), at.y - np.floor(at.y) - np.float32(0.5)
    chosen = _byte(at.x, at.y, at.salt)
    reach = _byte(at.x, at.y, at.salt + np.uint32(1)) * np.float32(0.22) + np.float32(0.03)
    x += (_byte(at.x, at.y, at.salt + np.uint32(2)) - np.float32(0.5)) * np.float32(0.5)
    y += (_byte(at.x, at.y, at.salt + np.uint32(3)) - np.float32(0.5)) * np.float32(0.5)
    return ((x * x + y * y < reach) & (chosen < 0.6)) * _fade(at.pixel, 0.6)


def _dapple(at: Spots) -> Floats:
    """Shade of leaves: sharp dark and light patches of two sizes."""
    noise = _value(at.x, at.y, at.salt) + np.float32(0.7) * _fade(at.pixel, 0.35) * _value(
        at.x * np.float32(2.9), at.y * np.float32(2.9), at.salt + np.uint32(1)
    )
    return np.clip(noise * np.float32(5.0), -1.0, 0.45) * _fade(at.pixel, 1.0)


def _patches(at: Spots) -> Floats:
    """Posters, mended plaster, mended road: 1 in some upright rectangles, 0 between."""
    x, y = at.x - np.floor(at.x), at.y - np.floor(at.y)
    chosen, right = _byte(at.x, at.y, at.salt), _byte(at.x, at.y, at.salt + np.uint32(1))
    top = _byte(at.x, at.y, at.salt + np.uint32(2))
    inside = (x > 0.08) & (x < 0.4 + np.float32(0.5) * right) & (y > 0.1) & (y < 0.4 + np.float32(0.5) * top)
    return (inside & (chosen < 0.4)) * _fade(at.pixel, 0.3)


KINDS: dict[str, Callable[[Spots], Floats]] = {
    "blotches": _blotches, "cracks": _cracks, "stones": _stones, "boards": _boards, "beams": _beams,
    "streaks": _streaks, "spots": _spots, "dapple": _dapple, "patches": _patches,
}  # fmt: skip
