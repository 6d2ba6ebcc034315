"""Buildings: a ground storey, upper storeys with a grid of windows, a cornice and a roof."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

from .materials import (
    BUILDING,
    CLOTH,
    CONCRETE,
    GLASS,
    MASONRY,
    METAL,
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
ROOFS = ("flat", "gable", "front", "steps", "mansard", "dome", "lean")
FRONTS = ("none", "balconies", "arcade", "porch", "bay", "tower", "terraces")
DEPTH = 11.0


@lru_cache(maxsize=4096)
def building(
    facade: str, floors: int, wide: int, roof: str, shop: bool, period: float, front: str = "none", windows: float = 0.0
) -> Template:
    """Return a building whose street front is the plane x = 0, facing +x, from z = -wide/2 to wide/2.

    facade: one of FACADES; roof: one of ROOFS; period: metres between windows; front: one of FRONTS; windows: width of
    a window as a fraction of the period, 0 for that of the facade.
    """
    shape = Shape(BUILDING)
    half, material = 0.5 * wide, FACADES[facade]
    ground = 3.6 if shop else 3.0
    storey = 3.3 if facade in ("glass", "concrete") else 2.95
    top = ground + storey * (floors - 1)
    fill = windows or (0.80 if facade == "glass" else 0.50)
    panes: dict[str, Any] = {"texture": WINDOWS, "slot2": WINDOW}
    grid = (period, ground, fill, 0.0)
    base = shape.box(
        -DEPTH, 0.0, 0.0, ground, -half, half, 1 if shop else 0, material, faces="bf", params=grid, **panes
    )
    if shop:
        pane = (wide / max(1, round(wide / 4.5)), ground, 0.84, 0.0)
        shape.poly(base["r"], 1, material, texture=SHOPS, slot2=WINDOW, params=pane, one_sided=True)
        shape.decal(base["r"], 0.02, 0.98, 0.76, 0.94, 4, PAINT)
    else:
        shape.poly(base["r"], 0, material, params=grid, one_sided=True, **panes)
        shape.decal(base["r"], 0.0, 1.0, 0.0, 0.14, 1, CONCRETE)
        for u in (0.18, 0.68):
            shape.decal(base["r"], u - 0.35 / wide, u + 1.35 / wide, 0.0, 0.84, 3, CONCRETE)
            shape.decal(base["r"], u, u + 1.0 / wide, 0.0, 0.76, 5, WOOD)
    if floors > 1:
        shape.piece(bias=-0.1)
        grid = (period, storey, fill, 0.0)
        upper = shape.box(-DEPTH, 0.0, ground, top, -half, half, 0, material, faces="bfr", params=grid, **panes)
        shape.decal(upper["r"], 0.0, 1.0, 0.0, 0.25 / max(top - ground, 1.0), 3, CONCRETE)
    _roof(shape, roof, wide, top)
    if front != "none":
        _front(shape, front, wide, ground, storey, floors)
    if shop:
        _awnings(shape, wide)
    return shape.done()


def _roof(shape: Shape, kind: str, wide: int, top: float) -> None:
    half = 0.5 * wide
    shape.piece(bias=-0.2)
    if kind == "flat":
        shape.box(-DEPTH - 0.1, 0.2, top, top + 0.5, -half, half, 3, CONCRETE, faces="bfrl")
        return
    if kind != "gable":
        _other_roof(shape, kind, half, top)
        return
    shape.box(-DEPTH, 0.25, top, top + 0.25, -half, half, 3, WOOD, faces="bfr")
    shape.piece(bias=-0.3)
    ridge = top + 0.25 + (2.2 if wide < 13 else 2.8)
    eaves, crest = (-DEPTH, 0.3, -half, half), (-0.62 * DEPTH, -0.38 * DEPTH, -half, half)
    shape.loft(eaves, top + 0.25, crest, ridge, 2, TILE, faces="rlbf")
    for z in (-0.3 * wide, 0.3 * wide):
        shape.piece(bias=-0.6)
        shape.box(-0.40 * DEPTH, -0.34 * DEPTH, ridge - 1.2, ridge + 0.7, z, z + 0.8, 1, MASONRY, faces="bfr")


def _other_roof(shape: Shape, kind: str, half: float, top: float) -> None:
    """Add a roof with its gable to the street (plain or stepped), a mansard, domed or lean-to roof."""
    shape.piece(bias=-0.3)
    if kind == "front":
        crest = top + 0.9 * half
        for side in (-half, half):
            eaves = [(-DEPTH, top, side), (0.3, top, side), (0.3, crest, 0.0), (-DEPTH, crest, 0.0)]
            shape.poly(eaves, 2, TILE)
        shape.piece(bias=-0.5)
        shape.poly([(0.3, top, -half), (0.3, top, half), (0.3, crest, 0.0)], 0, PLASTER)
        shape.poly([(0.32, top + 0.2 * half, -0.8), (0.32, top + 0.2 * half, 0.8), (0.32, top + 0.5 * half, 0.8),
                    (0.32, top + 0.5 * half, -0.8)], WINDOW, GLASS)  # fmt: skip
    elif kind == "steps":
        for k in range(4):
            reach = half * (1.0 - 0.25 * k)
            shape.box(-1.0, 0.1, top + 0.9 * k, top + 0.9 * (k + 1), -reach, reach, 0, MASONRY, faces="bfr")
    elif kind == "mansard":
        lower, upper = (-DEPTH, 0.3, -half, half), (-DEPTH + 1.0, -1.0, -half + 0.9, half - 0.9)
        face = shape.loft(lower, top, upper, top + 2.8, 2, TILE, faces="bfrt")
        count = max(2, int(half / 1.4))
        for k in range(count):
            u = (k + 0.3) / count
            shape.decal(face["r"], u, u + 0.45 / count, 0.12, 0.82, 3, PLASTER)
            shape.decal(face["r"], u + 0.08 / count, u + 0.37 / count, 0.18, 0.72, WINDOW, GLASS)
    elif kind == "dome":
        shape.box(-DEPTH, 0.15, top, top + 0.9, -half, half, 3, PLASTER, faces="bfr")
        reach = 0.55 * half
        for (y0, r0), (y1, r1) in pairwise(((0.0, 1.0), (0.5, 0.92), (0.85, 0.62), (1.0, 0.08))):
            shape.piece(bias=-0.6)
            a, b, low, high = reach * r0, reach * r1, top + 0.9 + 1.3 * reach * y0, top + 0.9 + 1.3 * reach * y1
            shape.loft((-4.0 - a, -4.0 + a, -a, a), low, (-4.0 - b, -4.0 + b, -b, b), high, 2, TILE, faces="bflr")
    else:
        lower, upper = (-DEPTH, 0.8, -half - 0.3, half + 0.3), (-DEPTH, -DEPTH + 0.5, -half - 0.3, half + 0.3)
        shape.loft(lower, top, upper, top + 2.4, 2, METAL, faces="rbf")


def _front(shape: Shape, kind: str, wide: int, ground: float, storey: float, floors: int) -> None:
    """Add balconies, an arcade, a porch, bay windows, a stair tower or terraces to the front of a house."""
    half, top = 0.5 * wide, ground + storey * (floors - 1)
    shape.piece(bias=-0.5)
    if kind == "balconies":
        for k in range(1, floors):
            y = ground + storey * (k - 1)
            for z in (-0.4 * wide, 0.1 * wide):
                shape.piece(bias=-0.5)
                shape.box(0.0, 1.1, y, y + 1.0, z, z + 0.3 * wide, 4 if k % 2 else 3, CONCRETE, faces="bfrut")
    elif kind in ("arcade", "porch"):
        high, reach = (ground, 1.8) if kind == "arcade" else (2.7, 1.5)
        shape.box(0.0, reach, high - 0.5, high, -half, half, 3 if kind == "arcade" else 2, WOOD, faces="bfrut")
        count = max(3, wide // 3)
        for k in range(count + 1):
            z = -half + (wide - 0.4) * k / count
            shape.piece(bias=-0.5)
            shape.box(reach - 0.4, reach, 0.0, high - 0.5, z, z + 0.4, 3, WOOD, faces="bfr")
    elif kind == "bay":
        for z in (-0.32 * wide, 0.12 * wide):
            shape.piece(bias=-0.5)
            face = shape.box(0.0, 0.9, 0.9, max(top, ground) - 0.3, z, z + 0.2 * wide, 3, PLASTER, faces="bfrut")
            for k in range(floors):
                low, high = (k + 0.25) / floors, (k + 0.8) / floors
                shape.decal(face["r"], 0.12, 0.88, low, high, WINDOW, GLASS)
                shape.decal(face["b"], 0.2, 0.8, low, high, WINDOW, GLASS)
    elif kind == "tower":
        face = shape.box(-3.0, 0.6, 0.0, top + 3.0, -half, -half + 3.0, 1, MASONRY, faces="bfr")
        shape.decal(face["r"], 0.4, 0.6, 0.1, 0.9, WINDOW, GLASS)
        peak = (-1.3, -1.1, -half + 1.4, -half + 1.6)
        shape.loft((-3.1, 0.7, -half - 0.1, -half + 3.1), top + 3.0, peak, top + 5.5, 2, TILE, faces="bfr")
    else:
        for k in range(min(3, floors)):
            reach, low = 1.8 - 0.6 * k, 0.0 if k == 0 else ground + storey * (k - 1)
            shape.box(0.0, reach, low, low + 1.0, -half, half, k % 2, PLASTER, faces="bfrt")


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
