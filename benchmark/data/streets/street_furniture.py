"""What stands along a street: lamps, traffic lights, signs, fences, walls, bins, shelters."""

from __future__ import annotations

from functools import cache

from .dice import RING8, RING12
from .materials import (
    AMBER,
    BLACK,
    BLOCKS,
    BLUE,
    CONCRETE,
    DARK,
    FENCE,
    GLASS,
    GREEN,
    GREY,
    LAMP,
    LIGHT,
    MASONRY,
    METAL,
    PAINT,
    PLASTER,
    PLASTIC,
    POLE,
    RED,
    STATIC,
    TRAFFIC_LIGHT,
    TRAFFIC_SIGN,
    WALL,
    WHITE,
    WOOD,
    YELLOW,
)  # fmt: skip
from .mesh import Point, Shape, Template

# The furniture's own colours: 0 main, 1 second, 2 third.
SIGNS = ("limit", "warning", "stop", "yield", "priority", "parking", "direction", "diamond", "noentry", "plate")
FENCES = ("bars", "planks", "mesh", "rail")
WALLS = {"brick": MASONRY, "concrete": CONCRETE, "plaster": PLASTER}
CLUTTER = ("bin", "bench", "box", "shelter", "bollard", "skip")


def _post(shape: Shape, x: float, y0: float, y1: float, wide: float, slot: int = 0, material: int = METAL) -> None:
    """Add an upright seen the same from everywhere."""
    shape.poly([(x - wide / 2, y0, 0.0), (x + wide / 2, y0, 0.0), (x + wide / 2, y1, 0.0), (x - wide / 2, y1, 0.0)],
               slot, material, label=POLE)  # fmt: skip
    shape.poly([(x - wide / 2, y0, -0.01), (x - wide / 6, y0, -0.01), (x - wide / 6, y1, -0.01), (x - wide / 2, y1, -0.01)],
               1, material, label=POLE)  # fmt: skip


@cache
def lamp(reach: float, high: float, wood: bool) -> Template:
    """Return a street lamp whose arm reaches this far to the right (negative: left; 0: a lantern on top)."""
    shape = Shape(POLE)
    _post(shape, 0.0, 0.0, high, 0.24 if wood else 0.20, 0, WOOD if wood else METAL)
    _post(shape, 0.0, 0.0, 1.0, 0.30, 0, WOOD if wood else METAL)
    if reach == 0.0:
        shape.poly([(-0.22, high, 0.0), (0.22, high, 0.0), (0.30, high + 0.5, 0.0), (-0.30, high + 0.5, 0.0)], LAMP, LIGHT)
        shape.poly([(-0.34, high + 0.5, 0.0), (0.34, high + 0.5, 0.0), (0.0, high + 0.75, 0.0)], 0, METAL)
        return shape.done()
    low, tip = (0.0, reach)[reach < 0], (reach, 0.0)[reach < 0]
    shape.poly([(low, high - 0.1, 0.0), (tip, high - 0.1, 0.0), (tip, high + 0.05, 0.0), (low, high + 0.05, 0.0)], 0, METAL)
    a, b = sorted((reach, reach - (0.8 if reach > 0 else -0.8)))
    shape.poly([(a, high - 0.02, -0.02), (b, high - 0.02, -0.02), (b, high + 0.16, -0.02), (a, high + 0.16, -0.02)], 0, METAL)
    shape.poly([(a, high - 0.16, -0.02), (b, high - 0.16, -0.02), (b, high - 0.02, -0.02), (a, high - 0.02, -0.02)], LAMP, LIGHT)
    return shape.done()


@cache
def utility_pole(lines: int) -> Template:
    """Return a wooden pole with cross-arms."""
    shape = Shape(POLE)
    _post(shape, 0.0, 0.0, 8.5, 0.28, 0, WOOD)
    for k in range(lines):
        y = 8.0 - 0.8 * k
        shape.poly([(-1.1, y, 0.0), (1.1, y, 0.0), (1.1, y + 0.14, 0.0), (-1.1, y + 0.14, 0.0)], 0, WOOD)
    shape.poly([(0.15, 6.2, 0.0), (0.6, 6.2, 0.0), (0.6, 7.0, 0.0), (0.15, 7.0, 0.0)], GREY, METAL)
    return shape.done()


def _head(shape: Shape, x: float, y: float, lit: int, big: float) -> None:
    """Add a traffic light's housing with three lamps, one of them lit (3: seen from behind)."""
    half, high = 0.20 * big, 1.05 * big
    shape.label = TRAFFIC_LIGHT
    if big > 1.05:
        shape.poly([(x - 1.5 * half, y - 0.1, -0.01), (x + 1.5 * half, y - 0.1, -0.01), (x + 1.5 * half, y + high + 0.1, -0.01),
                    (x - 1.5 * half, y + high + 0.1, -0.01)], 2, PLASTIC)  # fmt: skip
    shape.poly([(x - half, y, -0.02), (x + half, y, -0.02), (x + half, y + high, -0.02), (x - half, y + high, -0.02)],
               2, PLASTIC)  # fmt: skip
    for k, colour in enumerate((GREEN, AMBER, RED)):
        if lit == 3:
            continue
        cy, radius = y + high * (0.18 + 0.32 * k), 0.125 * big
        slot, material = (colour, LIGHT) if k == lit else (DARK, GLASS)
        shape.poly([(x + radius * c, cy + radius * s, -0.03) for c, s in RING8], slot, material)
    shape.label = POLE


@cache
def traffic_light(reach: float, lit: int, big: float) -> Template:
    """Return lights on a pole; with an arm (metres, signed) a second head hangs over the road."""
    shape = Shape(POLE)
    high = 3.3 if reach == 0.0 else 5.6
    _post(shape, 0.0, 0.0, high + 0.2, 0.18)
    _head(shape, 0.0, 2.3, lit, big)
    if reach != 0.0:
        low, tip = sorted((0.0, reach))
        shape.poly([(low, high, 0.0), (tip, high, 0.0), (tip, high + 0.16, 0.0), (low, high + 0.16, 0.0)], 0, METAL)
        _head(shape, reach * 0.96, high - 0.75, lit, big)
    return shape.done()


def _ring(x: float, y: float, radius: float, z: float, points: tuple = RING12) -> list[Point]:
    return [(x + radius * c, y + radius * s, z) for c, s in points]


def _regular(shape: Shape, y: float, radius: float, z: float, slot: int, points: tuple) -> None:
    shape.poly(_ring(0.0, y, radius, z, points), slot, PAINT)


def _bar(shape: Shape, x0: float, x1: float, y0: float, y1: float, slot: int) -> None:
    shape.poly([(x0, y0, -0.05), (x1, y0, -0.05), (x1, y1, -0.05), (x0, y1, -0.05)], slot, PAINT)


_UP = ((0.87, -0.5), (0.0, 1.0), (-0.87, -0.5))
_DOWN = ((0.87, 0.5), (-0.87, 0.5), (0.0, -1.0))
_SQUARE = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))
_OCTAGON = ((0.92, 0.38), (0.38, 0.92), (-0.38, 0.92), (-0.92, 0.38), (-0.92, -0.38), (-0.38, -0.92), (0.38, -0.92), (0.92, -0.38))


@cache
def sign(kind: str, high: float, big: float) -> Template:
    """Return a road sign on its post; `kind` is one of SIGNS."""
    shape = Shape(POLE)
    r = 0.36 * big
    wide = kind == "direction"
    if wide:
        _post(shape, -0.7 * big, 0.0, high, 0.14)
        _post(shape, 0.7 * big, 0.0, high, 0.14)
    else:
        _post(shape, 0.0, 0.0, high, 0.10)
    shape.label = TRAFFIC_SIGN
    y = high
    if kind in ("limit", "noentry"):
        _regular(shape, y, r, -0.03, RED, RING12)
        if kind == "limit":
            _regular(shape, y, 0.74 * r, -0.04, WHITE, RING12)
            _bar(shape, -0.4 * r, -0.08 * r, y - 0.4 * r, y + 0.4 * r, BLACK)
            _bar(shape, 0.1 * r, 0.42 * r, y - 0.4 * r, y + 0.4 * r, BLACK)
        else:
            _bar(shape, -0.7 * r, 0.7 * r, y - 0.18 * r, y + 0.18 * r, WHITE)
    elif kind in ("warning", "yield"):
        points = _UP if kind == "warning" else _DOWN
        _regular(shape, y, 1.25 * r, -0.03, RED, points)
        _regular(shape, y, 0.78 * r, -0.04, WHITE, points)
        if kind == "warning":
            _bar(shape, -0.09 * r, 0.09 * r, y - 0.3 * r, y + 0.35 * r, BLACK)
    elif kind == "stop":
        _regular(shape, y, 1.1 * r, -0.03, WHITE, _OCTAGON)
        _regular(shape, y, 1.0 * r, -0.04, RED, _OCTAGON)
        _bar(shape, -0.65 * r, 0.65 * r, y - 0.18 * r, y + 0.18 * r, WHITE)
    elif kind in ("priority", "diamond"):
        _regular(shape, y, 1.25 * r, -0.03, WHITE if kind == "priority" else BLACK, _SQUARE)
        _regular(shape, y, (0.85 if kind == "priority" else 1.15) * r, -0.04, YELLOW, _SQUARE)
        if kind == "diamond":
            _bar(shape, -0.12 * r, 0.12 * r, y - 0.5 * r, y + 0.45 * r, BLACK)
    elif kind == "parking":
        _bar(shape, -r, r, y - r, y + r, BLUE)
        _bar(shape, -0.4 * r, -0.12 * r, y - 0.65 * r, y + 0.65 * r, WHITE)
        _bar(shape, -0.12 * r, 0.4 * r, y - 0.05 * r, y + 0.6 * r, WHITE)
    elif kind == "direction":
        _bar(shape, -1.1 * big, 1.1 * big, y - 0.8 * big, y + 0.5 * big, WHITE)
        _bar(shape, -1.04 * big, 1.04 * big, y - 0.74 * big, y + 0.44 * big, 2)
        for k in range(3):
            _bar(shape, -0.8 * big, (0.5 - 0.2 * k) * big, y - (0.6 - 0.34 * k) * big, y - (0.46 - 0.34 * k) * big, WHITE)
    else:
        _bar(shape, -0.8 * r, 0.8 * r, y - 1.1 * r, y + 1.1 * r, WHITE)
        for k in range(3):
            _bar(shape, -0.55 * r, 0.55 * r, y + (-0.8 + 0.6 * k) * r, y + (-0.5 + 0.6 * k) * r, (RED, BLACK, BLACK)[k])
    return shape.done()


@cache
def fence(kind: str, high: float) -> Template:
    """Return a panel along z, 3 m long and centred; the gaps of bars and mesh let the view through."""
    shape = Shape(FENCE)

    def bar(z0: float, z1: float, y0: float, y1: float, slot: int, material: int, **more: object) -> None:
        shape.poly([(0.0, y0, z0), (0.0, y0, z1), (0.0, y1, z1), (0.0, y1, z0)], slot, material, **more)  # type: ignore[arg-type]

    if kind == "planks":
        for k in range(8):
            bar(-1.5 + 0.375 * k, -1.5 + 0.375 * (k + 0.93), 0.02, high - 0.06 * (k % 2), k % 2, WOOD)
    elif kind == "rail":
        bar(-1.5, 1.5, 0.15, high, 0, WOOD, hollow=True)
        for k in range(3):
            bar(-1.5, 1.5, (0.28 + 0.30 * k) * high, (0.42 + 0.30 * k) * high, 0, WOOD)
        bar(-1.56, -1.40, 0.0, high * 1.06, 1, WOOD)
    else:
        material = METAL
        bar(-1.5, 1.5, 0.05, high, 0, material, hollow=True)
        steps, wide = (9, 0.07) if kind == "bars" else (14, 0.035)
        for k in range(steps):
            z = -1.5 + 3.0 * (k + 0.5) / steps
            bar(z - wide / 2, z + wide / 2, 0.05, high, 0, material)
        heights = (0.12, 0.92) if kind == "bars" else (0.05, 0.28, 0.5, 0.72, 0.95)
        for y in heights:
            bar(-1.5, 1.5, y * high - wide / 2, y * high + wide / 2 + 0.02, 0, material)
        bar(-1.55, -1.43, 0.0, high * 1.05, 1, material)
    return shape.done()


@cache
def wall(kind: str) -> Template:
    """Return a piece of wall along z, 4 m long, 1 m high (scale it) and 30 cm thick, with its coping."""
    shape = Shape(WALL)
    block = {"brick": (0.5, 0.22, 0.06, 0.0), "concrete": (2.0, 0.9, 0.03, 0.0), "plaster": (4.0, 4.0, 0.0, 0.0)}[kind]
    shape.box(-0.15, 0.15, 0.0, 0.92, -2.0, 2.0, 0, WALLS[kind], texture=BLOCKS, params=block)
    shape.piece(bias=-0.3)
    shape.box(-0.2, 0.2, 0.92, 1.0, -2.0, 2.0, 1, CONCRETE)
    return shape.done()


@cache
def clutter(kind: str) -> Template:
    """Return a thing that no class names: bin, bench, switch box, bus shelter, bollard, skip."""
    shape = Shape(STATIC)
    if kind == "bin":
        shape.loft((-0.26, 0.26, -0.26, 0.26), 0.05, (-0.32, 0.32, -0.32, 0.32), 0.95, 0, PLASTIC)
        shape.box(-0.34, 0.34, 0.95, 1.05, -0.34, 0.34, 1, PLASTIC)
    elif kind == "bench":
        shape.box(-0.25, 0.25, 0.38, 0.46, -0.9, 0.9, 0, WOOD)
        for z in (-0.7, 0.6):
            shape.box(-0.22, 0.22, 0.0, 0.38, z, z + 0.1, DARK, METAL)
        shape.box(-0.28, -0.2, 0.46, 0.9, -0.9, 0.9, 0, WOOD)
    elif kind == "box":
        face = shape.box(-0.25, 0.25, 0.0, 1.3, -0.5, 0.5, 0, PLASTIC)
        shape.decal(face["l"], 0.1, 0.9, 0.1, 0.9, 1, PLASTIC)
    elif kind == "shelter":
        shape.box(-0.7, 0.7, 2.3, 2.45, -2.0, 2.0, DARK, METAL)
        shape.piece(bias=0.3)
        for x0, z0, x1, z1 in ((0.65, -2.0, 0.65, 2.0), (-0.6, 1.95, 0.65, 1.95)):
            shape.poly([(x0, 0.15, z0), (x1, 0.15, z1), (x1, 2.3, z1), (x0, 2.3, z0)], GREY, GLASS, hollow=True)
            shape.poly([(x0, 0.9, z0), (x1, 0.9, z1), (x1, 1.0, z1), (x0, 1.0, z0)], WHITE, PLASTIC)
        for z in (-2.0, 1.95):
            shape.box(0.6, 0.7, 0.0, 2.3, z, z + 0.08, DARK, METAL)
        shape.poly([(-0.6, 0.4, 1.9), (0.6, 0.4, 1.9), (0.6, 2.1, 1.9), (-0.6, 2.1, 1.9)], 1, LIGHT)
    elif kind == "bollard":
        shape.box(-0.09, 0.09, 0.0, 0.9, -0.09, 0.09, 0, CONCRETE)
        shape.box(-0.10, 0.10, 0.7, 0.8, -0.10, 0.10, WHITE, PAINT)
    else:
        shape.loft((-0.8, 0.8, -1.3, 1.3), 0.1, (-0.9, 0.9, -1.7, 1.7), 1.4, 0, METAL)
    return shape.done()
