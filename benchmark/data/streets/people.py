"""Pedestrians, and riders on bicycles and motorcycles: flat figures with limbs, in a few poses."""

from __future__ import annotations

from functools import cache
from math import sqrt

from .dice import RING10, RING12
from .materials import (
    BICYCLE,
    BLACK,
    CHROME,
    CLOTH,
    DARK,
    GLASS,
    HEADLAMP,
    LIGHT,
    METAL,
    MOTORCYCLE,
    PANEL,
    PERSON,
    PLASTIC,
    RIDER,
    RUBBER,
    SKIN,
    TAILLAMP,
)
from .mesh import Shape, Template

Spot = tuple[float, float]

# Palette slots of a person: 0 top, 1 trousers, 2 skin, 3 hair, 4 shoes, 5 bag; of a rider's vehicle: 6 frame, 7 seat.
TOP, TROUSERS, FLESH, HAIR, SHOES, BAG, FRAME, SEAT = range(8)
POSES = ("stand", "walk", "stride", "back", "dress", "robe", "umbrella")


def _limb(shape: Shape, a: Spot, b: Spot, wide: float, slot: int, material: int) -> None:
    """Add a bar of the given width from a to b, in the image plane."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = sqrt(dx * dx + dy * dy) or 1.0
    nx, ny = -dy / length * wide / 2, dx / length * wide / 2
    outline = [(a[0] + nx, a[1] + ny), (a[0] - nx, a[1] - ny), (b[0] - nx, b[1] - ny), (b[0] + nx, b[1] + ny)]
    shape.flat(outline, slot, material)


def _head(shape: Shape, x: float, y: float, *, behind: bool, helmet: bool) -> None:
    """Add a head of 24 cm with hair or helmet."""
    ring = [(x + 0.105 * c, y + 0.135 * s) for c, s in RING10]
    shape.flat(ring, FLESH, SKIN)
    if helmet:
        cap = [(x + 0.14 * c, y + 0.03 + 0.15 * s) for c, s in RING12[:7]]
        shape.flat(cap, HAIR, PLASTIC)
    elif behind:
        shape.flat([(x + 0.11 * c, y + 0.02 + 0.13 * s) for c, s in RING10], HAIR, CLOTH)
    else:
        shape.flat([(x + 0.115 * c, y + 0.04 + 0.115 * s) for c, s in RING12[:7]], HAIR, CLOTH)


@cache
def person(pose: str) -> Template:
    """Return a person 1.75 m tall in one of POSES, facing the viewer or turned away."""
    shape = Shape(PERSON)
    spread = {"walk": 0.18, "stride": 0.30, "back": 0.14, "umbrella": 0.14}.get(pose, 0.10)
    for side in (-1, 1):
        foot = side * spread
        _limb(shape, (foot, 0.05), (side * 0.09, 0.85), 0.17, TROUSERS, CLOTH)
        _limb(shape, (foot - 0.1, 0.05), (foot + 0.12, 0.05), 0.10, SHOES, RUBBER)
    swing = {"stand": 0.27, "walk": 0.33, "stride": 0.40, "back": 0.30}.get(pose, 0.28)
    for side in (-1, 1):
        _limb(shape, (side * swing, 0.86), (side * 0.20, 1.40), 0.12, TOP, CLOTH)
        shape.flat([(side * swing + 0.055 * c, 0.80 + 0.06 * s) for c, s in RING10], FLESH, SKIN)
    hem = {"dress": 0.55, "robe": 0.12}.get(pose, 0.80)
    flare = {"dress": 0.30, "robe": 0.34}.get(pose, 0.18)
    shape.flat(
        [
            (-flare, hem),
            (flare, hem),
            (0.19, 1.05),
            (0.24, 1.40),
            (0.12, 1.48),
            (-0.12, 1.48),
            (-0.24, 1.40),
            (-0.19, 1.05),
        ],
        TOP,
        CLOTH,
    )
    if pose == "back":
        shape.flat([(-0.15, 0.98), (0.15, 0.98), (0.16, 1.40), (-0.16, 1.40)], BAG, CLOTH)
    elif pose == "walk":
        shape.flat([(0.26, 0.62), (0.48, 0.62), (0.46, 0.86), (0.28, 0.86)], BAG, PLASTIC)
    _limb(shape, (0.0, 1.42), (0.0, 1.56), 0.10, FLESH, SKIN)
    _head(shape, 0.0, 1.61, behind=pose == "back", helmet=False)
    if pose == "umbrella":
        _limb(shape, (0.26, 1.1), (0.16, 2.1), 0.04, DARK, METAL)
        shape.flat([(0.16 + 0.72 * c, 1.86 + 0.38 * s) for c, s in RING12[:7]], BAG, CLOTH)
    return shape.done()


def _wheel(shape: Shape, x: float, radius: float) -> None:
    """Add a spoked wheel: the whole disc is labelled as the vehicle, and the background shows between the spokes."""
    shape.flat([(x + radius * c, radius + radius * s) for c, s in RING12], BLACK, RUBBER, hollow=True)
    inner, outer = radius * 0.80, radius
    for (c0, s0), (c1, s1) in zip(RING12, RING12[1:] + RING12[:1], strict=True):
        shape.flat(
            [
                (x + outer * c0, radius + outer * s0),
                (x + outer * c1, radius + outer * s1),
                (x + inner * c1, radius + inner * s1),
                (x + inner * c0, radius + inner * s0),
            ],
            BLACK,
            RUBBER,
        )


def _bicycle(shape: Shape) -> None:
    """Add a bicycle in side view, driving to the right, 1.75 m long."""
    shape.label = BICYCLE
    rear, front, crank, seat, bar = (-0.52, 0.34), (0.56, 0.34), (-0.06, 0.32), (-0.20, 0.86), (0.40, 0.92)
    shape.flat([crank, seat, (0.36, 0.76)], FRAME, METAL, hollow=True)
    _wheel(shape, rear[0], 0.35)
    _wheel(shape, front[0], 0.35)
    for a, b in ((rear, crank), (rear, seat), (crank, seat), (crank, (0.38, 0.72)), (seat, (0.38, 0.78)), (front, bar)):
        _limb(shape, a, b, 0.065, FRAME, METAL)
    _limb(shape, (-0.34, 0.92), (-0.08, 0.92), 0.09, SEAT, RUBBER)
    _limb(shape, (0.24, 0.99), bar, 0.06, DARK, METAL)
    shape.flat([(crank[0] + 0.1 * c, crank[1] + 0.1 * s) for c, s in RING10], DARK, METAL)


def _bicycle_end(shape: Shape) -> None:
    """Add a bicycle seen from behind or from the front: a thin vertical bar with a handlebar."""
    shape.label = BICYCLE
    _limb(shape, (0.0, 0.0), (0.0, 0.70), 0.09, BLACK, RUBBER)
    _limb(shape, (0.0, 0.62), (0.0, 1.00), 0.06, FRAME, METAL)
    _limb(shape, (-0.14, 0.30), (0.14, 0.30), 0.06, DARK, METAL)
    _limb(shape, (-0.30, 1.02), (0.30, 1.02), 0.06, DARK, METAL)
    _limb(shape, (-0.11, 0.90), (0.11, 0.90), 0.09, SEAT, RUBBER)
    _limb(shape, (-0.05, 0.62), (0.05, 0.62), 0.07, TAILLAMP, LIGHT)


def _motorcycle(shape: Shape) -> None:
    """Add a motorcycle in side view, 2.1 m long."""
    shape.label = MOTORCYCLE
    for x in (-0.66, 0.70):
        shape.flat([(x + 0.34 * c, 0.34 + 0.34 * s) for c, s in RING12], BLACK, RUBBER)
        shape.flat([(x + 0.20 * c, 0.34 + 0.20 * s) for c, s in RING12], CHROME, METAL)
    _limb(shape, (0.70, 0.34), (0.42, 0.98), 0.09, CHROME, METAL)
    _limb(shape, (-0.70, 0.34), (0.10, 0.40), 0.12, DARK, METAL)
    shape.flat([(-0.28, 0.22), (0.34, 0.22), (0.40, 0.60), (-0.30, 0.60)], DARK, METAL)
    shape.flat(
        [(-0.98, 0.66), (-0.40, 0.52), (0.36, 0.56), (0.52, 0.86), (0.12, 0.98), (-0.30, 0.78), (-0.98, 0.84)],
        FRAME,
        PANEL,
    )
    _limb(shape, (-0.76, 0.84), (-0.06, 0.84), 0.11, SEAT, CLOTH)
    _limb(shape, (0.26, 1.06), (0.50, 0.98), 0.07, DARK, METAL)
    shape.flat([(0.52 + 0.10 * c, 0.88 + 0.10 * s) for c, s in RING10], HEADLAMP, LIGHT)
    shape.flat([(-1.02, 0.72), (-0.92, 0.72), (-0.92, 0.82), (-1.02, 0.82)], TAILLAMP, LIGHT)


def _motorcycle_end(shape: Shape, front: bool) -> None:
    """Add a motorcycle seen from behind or from the front."""
    shape.label = MOTORCYCLE
    _limb(shape, (0.0, 0.0), (0.0, 0.66), 0.18, BLACK, RUBBER)
    shape.flat([(-0.22, 0.36), (0.22, 0.36), (0.26, 0.80), (0.15, 0.98), (-0.15, 0.98), (-0.26, 0.80)], FRAME, PANEL)
    _limb(shape, (0.0, 0.0), (0.0, 0.46), 0.15, BLACK, RUBBER)
    _limb(shape, (-0.42, 1.02), (0.42, 1.02), 0.07, DARK, METAL)
    for x in (-0.36, 0.36):
        shape.flat([(x - 0.07, 1.05), (x + 0.07, 1.05), (x + 0.07, 1.17), (x - 0.07, 1.17)], DARK, GLASS)
    lamp = HEADLAMP if front else TAILLAMP
    shape.flat([(0.12 * c, 0.80 + 0.10 * s) for c, s in RING10], lamp, LIGHT)
    if not front:
        _limb(shape, (-0.10, 0.56), (0.10, 0.56), 0.13, CHROME, PLASTIC)


def _rider_side(shape: Shape, hip: Spot, hands: Spot, feet: tuple[tuple[Spot, float], ...], helmet: bool) -> None:
    """Add a rider in side view, leaning forward."""
    shape.label = RIDER
    shoulder = (hip[0] + 0.28, hip[1] + 0.52)
    for foot, bend in feet:
        knee = (hip[0] + 0.34 + bend, 0.5 * (hip[1] + foot[1]) + 0.16)
        _limb(shape, hip, knee, 0.19, TROUSERS, CLOTH)
        _limb(shape, knee, foot, 0.15, TROUSERS, CLOTH)
        _limb(shape, (foot[0] - 0.08, foot[1]), (foot[0] + 0.16, foot[1]), 0.10, SHOES, RUBBER)
    shape.flat(
        [
            (hip[0] - 0.14, hip[1] - 0.04),
            (hip[0] + 0.18, hip[1] - 0.04),
            (shoulder[0] + 0.14, shoulder[1] - 0.06),
            (shoulder[0] + 0.06, shoulder[1] + 0.10),
            (shoulder[0] - 0.12, shoulder[1] + 0.06),
        ],
        TOP,
        CLOTH,
    )
    _limb(shape, shoulder, hands, 0.12, TOP, CLOTH)
    shape.flat([(hands[0] + 0.05 * c, hands[1] + 0.05 * s) for c, s in RING10], FLESH, SKIN)
    _head(shape, shoulder[0] + 0.10, shoulder[1] + 0.24, behind=False, helmet=helmet)


def _rider_end(shape: Shape, seat: float, front: bool, helmet: bool) -> None:
    """Add a rider seen from the front or from behind."""
    shape.label = RIDER
    for side in (-1, 1):
        _limb(shape, (side * 0.16, seat - 0.55), (side * 0.14, seat + 0.02), 0.17, TROUSERS, CLOTH)
        _limb(shape, (side * 0.16 - 0.06, seat - 0.58), (side * 0.16 + 0.06, seat - 0.58), 0.12, SHOES, RUBBER)
        _limb(shape, (side * 0.30, seat + 0.14), (side * 0.23, seat + 0.55), 0.12, TOP, CLOTH)
    shape.flat(
        [
            (-0.19, seat - 0.06),
            (0.19, seat - 0.06),
            (0.25, seat + 0.52),
            (0.12, seat + 0.62),
            (-0.12, seat + 0.62),
            (-0.25, seat + 0.52),
        ],
        TOP,
        CLOTH,
    )
    if not front:
        _limb(shape, (0.0, seat + 0.12), (0.0, seat + 0.50), 0.28, BAG, CLOTH)
    _head(shape, 0.0, seat + 0.76, behind=not front, helmet=helmet)


@cache
def cycle(vehicle: str, view: str, ridden: bool, helmet: bool = True) -> Template:
    """Return a "bicycle" or "motorcycle" seen from the "side", "front" or "back", with or without a rider."""
    shape = Shape(BICYCLE)
    front = view == "front"
    if vehicle == "bicycle":
        if view == "side":
            _bicycle(shape)
            if ridden:
                _rider_side(shape, (-0.20, 0.98), (0.28, 1.03), (((0.0, 0.14), 0.0), ((-0.06, 0.44), 0.10)), helmet)
        else:
            _bicycle_end(shape)
            if ridden:
                _rider_end(shape, 0.98, front, helmet)
    elif view == "side":
        _motorcycle(shape)
        if ridden:
            _rider_side(shape, (-0.32, 0.94), (0.34, 1.08), (((0.06, 0.34), 0.06),), helmet)
    else:
        if ridden and front:
            _rider_end(shape, 0.92, front, helmet)
        _motorcycle_end(shape, front)
        if ridden and not front:
            _rider_end(shape, 0.92, front, helmet)
    return shape.done()
