"""Street lamps, traffic lights and signs, all facing the viewer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from .dice import RING8, RING12
from .materials import (
    AMBER,
    BLACK,
    BLUE,
    DARK,
    GLASS,
    GREEN,
    GREY,
    LAMP,
    LIGHT,
    METAL,
    PAINT,
    PLASTIC,
    POLE,
    RED,
    TRAFFIC_LIGHT,
    TRAFFIC_SIGN,
    WHITE,
    WOOD,
    YELLOW,
)
from .mesh import Shape, Template

# Palette slots of the objects in this file: 0 pole, 1 lit edge of the pole, 2 housing or board.
SIGNS = (
    "limit", "warning", "stop", "yield", "priority", "parking", "direction", "diamond", "noentry", "plate", "order",
    "town",
    "chevron", "shield",
)  # fmt: skip
FROM_BEHIND = 3  # no lamp visible; used instead of the index of the lit lamp


def _post(shape: Shape, x: float, y0: float, y1: float, wide: float, slot: int = 0, material: int = METAL) -> None:
    """Add a post that looks the same from all sides."""
    shape.rect(x - wide / 2, x + wide / 2, y0, y1, slot, material, label=POLE)
    shape.rect(x - wide / 2, x - wide / 6, y0, y1, 1, material, z=-0.01, label=POLE)


@cache
def lamp(reach: float, high: float) -> Template:
    """Return a street lamp with an arm to the right, in metres (negative: to the left; 0: a lantern on top)."""
    shape = Shape(POLE)
    _post(shape, 0.0, 0.0, high, 0.20)
    _post(shape, 0.0, 0.0, 1.0, 0.30)
    if reach == 0.0:
        eaves = high + 0.5
        shape.flat([(-0.22, high), (0.22, high), (0.30, eaves), (-0.30, eaves)], LAMP, LIGHT)
        shape.flat([(-0.34, eaves), (0.34, eaves), (0.0, high + 0.75)], 0, METAL)
        return shape.done()
    shape.rect(min(0.0, reach), max(0.0, reach), high - 0.1, high + 0.05, 0, METAL)
    a, b = sorted((reach, reach - (0.8 if reach > 0 else -0.8)))
    shape.rect(a, b, high - 0.02, high + 0.16, 0, METAL, z=-0.02)
    shape.rect(a, b, high - 0.16, high - 0.02, LAMP, LIGHT, z=-0.02)
    return shape.done()


@cache
def utility_pole(lines: int) -> Template:
    """Return a wooden pole with cross-arms."""
    shape = Shape(POLE)
    _post(shape, 0.0, 0.0, 8.5, 0.28, 0, WOOD)
    for k in range(lines):
        y = 8.0 - 0.8 * k
        shape.rect(-1.1, 1.1, y, y + 0.14, 0, WOOD)
    shape.rect(0.15, 0.6, 6.2, 7.0, GREY, METAL)
    return shape.done()


def _head(shape: Shape, x: float, y: float, lit: int, big: float) -> None:
    """Add a traffic light's housing with three lamps, one of them lit (0 green, 1 amber, 2 red)."""
    half, high = 0.20 * big, 1.05 * big
    shape.label = TRAFFIC_LIGHT
    if big > 1.05:
        shape.rect(x - 1.5 * half, x + 1.5 * half, y - 0.1, y + high + 0.1, 2, PLASTIC, z=-0.01)
    shape.rect(x - half, x + half, y, y + high, 2, PLASTIC, z=-0.02)
    for k, colour in enumerate((GREEN, AMBER, RED)):
        if lit == FROM_BEHIND:
            continue
        slot, material = (colour, LIGHT) if k == lit else (DARK, GLASS)
        shape.flat(_ring(x, y + high * (0.18 + 0.32 * k), 0.125 * big, RING8), slot, material, z=-0.03)
    shape.label = POLE


@cache
def traffic_light(reach: float, lit: int, big: float) -> Template:
    """Return a traffic light on a pole; with an arm (metres, signed), a second one hangs over the road."""
    shape = Shape(POLE)
    high = 3.3 if reach == 0.0 else 5.6
    _post(shape, 0.0, 0.0, high + 0.2, 0.18)
    _head(shape, 0.0, 2.3, lit, big)
    if reach != 0.0:
        shape.rect(min(0.0, reach), max(0.0, reach), high, high + 0.16, 0, METAL)
        _head(shape, reach * 0.96, high - 0.75, lit, big)
    return shape.done()


Ring = Sequence[tuple[float, float]]
_UP = ((0.87, -0.5), (0.0, 1.0), (-0.87, -0.5))
_DOWN = ((0.87, 0.5), (-0.87, 0.5), (0.0, -1.0))
_SQUARE = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))
_CORNER = ((0.92, 0.38), (0.38, 0.92))
_OCTAGON = (
    *_CORNER,
    *((-x, y) for x, y in reversed(_CORNER)),
    *((-x, -y) for x, y in _CORNER),
    *((x, -y) for x, y in reversed(_CORNER)),
)
# The face of a sign, in units of its radius: outlines (radius, points, colour), then bars (x0, x1, y0, y1, colour).
_FACES: dict[str, tuple[tuple[tuple[float, Ring, int], ...], tuple[tuple[float, float, float, float, int], ...]]] = {
    "limit": (
        ((1.0, RING12, RED), (0.74, RING12, WHITE)),
        ((-0.4, -0.08, -0.4, 0.4, BLACK), (0.1, 0.42, -0.4, 0.4, BLACK)),
    ),
    "noentry": (((1.0, RING12, RED),), ((-0.7, 0.7, -0.18, 0.18, WHITE),)),
    "warning": (((1.25, _UP, RED), (0.78, _UP, WHITE)), ((-0.09, 0.09, -0.3, 0.35, BLACK),)),
    "yield": (((1.25, _DOWN, RED), (0.78, _DOWN, WHITE)), ()),
    "stop": (((1.1, _OCTAGON, WHITE), (1.0, _OCTAGON, RED)), ((-0.65, 0.65, -0.18, 0.18, WHITE),)),
    "priority": (((1.25, _SQUARE, WHITE), (0.85, _SQUARE, YELLOW)), ()),
    "diamond": (((1.25, _SQUARE, BLACK), (1.15, _SQUARE, YELLOW)), ((-0.12, 0.12, -0.5, 0.45, BLACK),)),
    "parking": (
        (),
        ((-1.0, 1.0, -1.0, 1.0, BLUE), (-0.4, -0.12, -0.65, 0.65, WHITE), (-0.12, 0.4, -0.05, 0.6, WHITE)),
    ),
    "order": (
        ((1.0, RING12, WHITE), (0.92, RING12, BLUE)),
        ((-0.1, 0.1, -0.6, 0.5, WHITE), (-0.4, 0.4, 0.2, 0.4, WHITE)),
    ),
    "town": ((), ((-1.6, 1.6, -0.6, 0.6, BLACK), (-1.5, 1.5, -0.5, 0.5, YELLOW), (-1.1, 1.1, -0.15, 0.15, BLACK))),
    "chevron": (
        (),
        ((-1.3, 1.3, -0.8, 0.8, BLACK), *((-1.1 + 0.8 * k, -0.7 + 0.8 * k, -0.7, 0.7, YELLOW) for k in range(3))),
    ),
    "shield": (
        ((1.1, _DOWN, WHITE), (0.9, _DOWN, GREEN)),
        ((-1.0, 1.0, 0.3, 1.0, GREEN), (-0.5, 0.5, 0.5, 0.8, WHITE)),
    ),
    "plate": (
        (),
        (
            (-0.8, 0.8, -1.1, 1.1, WHITE),
            *((-0.55, 0.55, -0.8 + 0.6 * k, -0.5 + 0.6 * k, colour) for k, colour in enumerate((RED, BLACK, BLACK))),
        ),
    ),
}


def _ring(x: float, y: float, radius: float, points: Ring) -> list[tuple[float, float]]:
    return [(x + radius * c, y + radius * s) for c, s in points]


@cache
def sign(kind: str, high: float, big: float) -> Template:
    """Return a road sign on one post, or a direction board on two; ``kind`` is one of SIGNS."""
    shape = Shape(POLE)
    if kind == "direction":
        _board(shape, high, big)
        return shape.done()
    _post(shape, 0.0, 0.0, high, 0.10)
    shape.label = TRAFFIC_SIGN
    r = 0.36 * big
    outlines, bars = _FACES[kind]
    for layer, (radius, points, colour) in enumerate(outlines):
        shape.flat(_ring(0.0, high, radius * r, points), colour, PAINT, z=-0.03 - 0.01 * layer)
    for x0, x1, y0, y1, colour in bars:
        shape.rect(x0 * r, x1 * r, high + y0 * r, high + y1 * r, colour, PAINT, z=-0.05)
    return shape.done()


def _board(shape: Shape, y: float, big: float) -> None:
    """Add a direction board with three lines of writing."""
    for x in (-0.7 * big, 0.7 * big):
        _post(shape, x, 0.0, y, 0.14)
    shape.label = TRAFFIC_SIGN
    shape.rect(-1.1 * big, 1.1 * big, y - 0.8 * big, y + 0.5 * big, WHITE, PAINT, z=-0.05)
    shape.rect(-1.04 * big, 1.04 * big, y - 0.74 * big, y + 0.44 * big, 2, PAINT, z=-0.05)
    for k in range(3):
        low = y - (0.6 - 0.34 * k) * big
        shape.rect(-0.8 * big, (0.5 - 0.2 * k) * big, low, low + 0.14 * big, WHITE, PAINT, z=-0.05)
