"""Buildings: a ground storey, upper storeys with a grid of windows, a cornice and a roof."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .materials import (
    BUILDING,
    CLOTH,
    CONCRETE,
    GLASS,
    MASONRY,
    PAINT,
    PANEL,
    PLASTER,
    SHOPS,
    TILE,
    WINDOW,
    WINDOWS,
    WOOD,
)  # fmt: skip
from .mesh import Shape, Template

# Palette slots of a building: 0 walls, 1 ground storey, 2 roof, 3 trim, 4 awning or shop sign, 5 door.
FACADES = {"brick": MASONRY, "plaster": PLASTER, "concrete": CONCRETE, "boards": WOOD, "glass": PANEL}
DEPTH = 11.0


@lru_cache(maxsize=4096)
def building(facade: str, floors: int, wide: int, roof: str, shop: bool, period: float) -> Template:
    """Return a building whose street front is the plane x = 0, facing +x, from z = -wide/2 to wide/2.

    facade: one of FACADES; roof: "flat" or "gable"; period: metres between windows.
    """
    shape = Shape(BUILDING)
    half, material = 0.5 * wide, FACADES[facade]
    ground = 3.6 if shop else 3.0
    storey = 3.3 if facade in ("glass", "concrete") else 2.95
    top = ground + storey * (floors - 1)
    fill = 0.80 if facade == "glass" else 0.50
    windows: dict[str, Any] = {"texture": WINDOWS, "slot2": WINDOW}
    grid = (period, ground, fill, 0.0)
    base = shape.box(
        -DEPTH, 0.0, 0.0, ground, -half, half, 1 if shop else 0, material, faces="bf", params=grid, **windows
    )
    if shop:
        pane = (wide / max(1, round(wide / 4.5)), ground, 0.84, 0.0)
        shape.poly(base["r"], 1, material, texture=SHOPS, slot2=WINDOW, params=pane, one_sided=True)
        shape.decal(base["r"], 0.02, 0.98, 0.76, 0.94, 4, PAINT)
    else:
        shape.poly(base["r"], 0, material, params=grid, one_sided=True, **windows)
        shape.decal(base["r"], 0.0, 1.0, 0.0, 0.14, 1, CONCRETE)
        for u in (0.18, 0.68):
            shape.decal(base["r"], u - 0.35 / wide, u + 1.35 / wide, 0.0, 0.84, 3, CONCRETE)
            shape.decal(base["r"], u, u + 1.0 / wide, 0.0, 0.76, 5, WOOD)
    if floors > 1:
        shape.piece(bias=-0.1)
        grid = (period, storey, fill, 0.0)
        upper = shape.box(-DEPTH, 0.0, ground, top, -half, half, 0, material, faces="bfr", params=grid, **windows)
        shape.decal(upper["r"], 0.0, 1.0, 0.0, 0.25 / max(top - ground, 1.0), 3, CONCRETE)
    _roof(shape, roof, wide, top)
    if shop:
        _awnings(shape, wide)
    return shape.done()


def _roof(shape: Shape, kind: str, wide: int, top: float) -> None:
    half = 0.5 * wide
    shape.piece(bias=-0.2)
    if kind == "flat":
        shape.box(-DEPTH - 0.1, 0.2, top, top + 0.5, -half, half, 3, CONCRETE, faces="bfrl")
        return
    shape.box(-DEPTH, 0.25, top, top + 0.25, -half, half, 3, WOOD, faces="bfr")
    shape.piece(bias=-0.3)
    ridge = top + 0.25 + (2.2 if wide < 13 else 2.8)
    eaves, crest = (-DEPTH, 0.3, -half, half), (-0.62 * DEPTH, -0.38 * DEPTH, -half, half)
    shape.loft(eaves, top + 0.25, crest, ridge, 2, TILE, faces="rlbf")
    for z in (-0.3 * wide, 0.3 * wide):
        shape.piece(bias=-0.6)
        shape.box(-0.40 * DEPTH, -0.34 * DEPTH, ridge - 1.2, ridge + 0.7, z, z + 0.8, 1, MASONRY, faces="bfr")


def _awnings(shape: Shape, wide: int) -> None:
    shape.piece(bias=-0.6)
    for z in (-0.36 * wide, 0.10 * wide):
        end = z + 0.28 * wide
        shape.poly([(1.2, 2.35, z), (1.2, 2.35, end), (0.0, 2.9, end), (0.0, 2.9, z)], 4, CLOTH)
        shape.poly([(0.0, 2.5, z), (1.2, 2.35, z), (0.0, 2.9, z)], 4, CLOTH)


@lru_cache(maxsize=64)
def skyline(kind: str, wide: int, high: int) -> Template:
    """Return a distant building facing the viewer: a "tower" with windows or a "shed" with a pitched roof."""
    shape = Shape(BUILDING)
    half, top = 0.5 * wide, float(high)
    if kind == "tower":
        grid = (3.2, 3.3, 0.6, 0.0)
        shape.rect(-half, half, 0.0, top, 0, CONCRETE, texture=WINDOWS, slot2=WINDOW, params=grid)
        shape.rect(-0.4 * half, 0.3 * half, top, top + 2.5, 0, GLASS)
    else:
        shape.rect(-half, half, 0.0, top, 0, PLASTER)
        shape.flat([(-half, top), (half, top), (0.3 * half, top + 3.0), (-0.3 * half, top + 3.0)], 2, TILE)
    return shape.done()
