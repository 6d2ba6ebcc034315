"""Fences, walls and street furniture."""

from __future__ import annotations

from functools import cache
from typing import Any

from .materials import (
    BLOCKS,
    CONCRETE,
    DARK,
    FENCE,
    GLASS,
    GREY,
    LIGHT,
    MASONRY,
    METAL,
    PAINT,
    PLASTER,
    PLASTIC,
    STATIC,
    WALL,
    WHITE,
    WOOD,
)
from .mesh import Shape, Template

# Palette slots of the objects in this file: 0 main colour, 1 second colour.
FENCES = ("bars", "planks", "mesh", "rail", "guard", "pales", "screen")
WALLS = {"brick": MASONRY, "concrete": CONCRETE, "plaster": PLASTER, "rubble": MASONRY, "panels": CONCRETE}
# Parameters of the block texture: width and height of a block, width of a joint, 0.
_STONES = {"brick": (0.5, 0.22, 0.06, 0.0), "concrete": (2.0, 0.9, 0.03, 0.0), "plaster": (4.0, 4.0, 0.0, 0.0),
           "rubble": (0.9, 0.45, 0.12, 0.0), "panels": (0.5, 4.0, 0.08, 0.0)}  # fmt: skip
CLUTTER = ("bin", "bench", "box", "shelter", "bollard", "skip")


@cache
def fence(kind: str, high: float) -> Template:
    """Return a panel along z, 3 m long and centred; what is behind it shows through the gaps between bars or mesh."""
    shape = Shape(FENCE)

    def bar(z0: float, z1: float, y0: float, y1: float, slot: int, material: int, **more: Any) -> None:
        shape.poly([(0.0, y0, z0), (0.0, y0, z1), (0.0, y1, z1), (0.0, y1, z0)], slot, material, **more)

    if kind == "planks":
        for k in range(8):
            bar(-1.5 + 0.375 * k, -1.5 + 0.375 * (k + 0.93), 0.02, high - 0.06 * (k % 2), k % 2, WOOD)
    elif kind == "guard":
        for k in (0, 1):
            bar(-1.5, 1.5, (0.30 + 0.30 * k) * high, (0.54 + 0.30 * k) * high, k, METAL)
        for z in (-1.4, 0.1):
            bar(z, z + 0.14, 0.0, 0.9 * high, 1, METAL)
        bar(-1.5, 1.5, 0.0, 0.3 * high, 1, METAL, hollow=True)
    elif kind == "pales":
        bar(-1.5, 1.5, 0.1, high, 0, WOOD, hollow=True)
        for k in range(10):
            z = -1.5 + 0.3 * k
            bar(z, z + 0.16, 0.03, high * (0.86 + 0.14 * (k % 3) / 2), 0, WOOD)
        bar(-1.5, 1.5, 0.62 * high, 0.72 * high, 1, WOOD)
    elif kind == "screen":
        bar(-1.5, 1.5, 0.05, high * 1.1, 0, METAL)
        for k in range(5):
            bar(-1.5 + 0.62 * k, -1.4 + 0.62 * k, 0.05, high * 1.1, 1, METAL)
        bar(-1.5, 1.5, high, high * 1.12, 1, METAL)
    elif kind == "rail":
        bar(-1.5, 1.5, 0.15, high, 0, WOOD, hollow=True)
        for k in range(3):
            bar(-1.5, 1.5, (0.28 + 0.30 * k) * high, (0.42 + 0.30 * k) * high, 0, WOOD)
        bar(-1.56, -1.40, 0.0, high * 1.06, 1, WOOD)
    else:
        bar(-1.5, 1.5, 0.05, high, 0, METAL, hollow=True)
        steps, wide = (9, 0.07) if kind == "bars" else (14, 0.035)
        for k in range(steps):
            z = -1.5 + 3.0 * (k + 0.5) / steps
            bar(z - wide / 2, z + wide / 2, 0.05, high, 0, METAL)
        heights = (0.12, 0.92) if kind == "bars" else (0.05, 0.28, 0.5, 0.72, 0.95)
        for y in heights:
            bar(-1.5, 1.5, y * high - wide / 2, y * high + wide / 2 + 0.02, 0, METAL)
        bar(-1.55, -1.43, 0.0, high * 1.05, 1, METAL)
    return shape.done()


@cache
def wall(kind: str) -> Template:
    """Return a piece of wall with coping along z, 4 m long, 1 m high (to be scaled) and 30 cm thick."""
    shape = Shape(WALL)
    shape.box(-0.15, 0.15, 0.0, 0.92, -2.0, 2.0, 0, WALLS[kind], texture=BLOCKS, params=_STONES[kind])
    shape.piece(bias=-0.3)
    shape.box(-0.2, 0.2, 0.92, 1.0, -2.0, 2.0, 1, CONCRETE)
    return shape.done()


@cache
def clutter(kind: str) -> Template:
    """Return an object outside the 19 classes: bin, bench, switch box, bus shelter, bollard or skip."""
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
        shape.rect(-0.6, 0.6, 0.4, 2.1, 1, LIGHT, z=1.9)
    elif kind == "bollard":
        shape.box(-0.09, 0.09, 0.0, 0.9, -0.09, 0.09, 0, CONCRETE)
        shape.box(-0.10, 0.10, 0.7, 0.8, -0.10, 0.10, WHITE, PAINT)
    else:
        shape.loft((-0.8, 0.8, -1.3, 1.3), 0.1, (-0.9, 0.9, -1.7, 1.7), 1.4, 0, METAL)
    return shape.done()
