"""Trees, bushes, hedges and hills: trunks and clumps of leaves that face the viewer."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

from .dice import RING12, Dice
from .materials import FOLIAGE, LEAVES, VEGETATION, WOOD
from .mesh import Shape, Template

# Palette slots of a plant: 0 leaves, 1 leaves in shade, 2 leaves in light, 3 bark.
TREES = ("round", "tall", "broad", "conifer", "palm", "bare", "poplar", "umbrella", "weeping", "layered", "scrub")
VARIANTS = 4
# Half width and half height of each crown.
_CROWNS = {"round": (1.9, 2.1), "tall": (1.0, 2.9), "broad": (2.8, 1.7), "poplar": (0.8, 4.2), "umbrella": (3.0, 0.8)}
_TRUNKS = {"round": 2.4, "tall": 1.4, "broad": 2.6, "bare": 2.6, "poplar": 0.8, "umbrella": 4.6}


def _leaves(shape: Shape, outline: list[tuple[float, float]], slot: int, clump: float = 0.5) -> None:
    shape.flat(outline, slot, FOLIAGE, texture=LEAVES, slot2=1, params=(clump, clump, 0.5, 0.0))


def _lump(shape: Shape, dice: Dice, x: float, y: float, radius: float, slot: int) -> None:
    """Add one irregular clump of leaves."""
    size = [radius * dice.uniform(0.86, 1.12) for _ in RING12]
    _leaves(shape, [(x + r * c, y + r * s) for r, (c, s) in zip(size, RING12, strict=True)], slot)


def _branch(shape: Shape, a: tuple[float, float], b: tuple[float, float], wide: float, thin: float) -> None:
    outline = [(a[0] - wide / 2, a[1]), (a[0] + wide / 2, a[1]), (b[0] + thin / 2, b[1]), (b[0] - thin / 2, b[1])]
    shape.flat(outline, 3, WOOD)


@cache
def tree(kind: str, variant: int) -> Template:
    """Return a tree about 7 m high; ``kind`` is one of TREES."""
    shape = Shape(VEGETATION)
    dice = Dice("tree", kind, variant)
    if kind == "conifer":
        _conifer(shape, dice)
    elif kind == "palm":
        _palm(shape, dice)
    elif kind in ("weeping", "layered", "scrub"):
        {"weeping": _weeping, "layered": _layered, "scrub": _scrub}[kind](shape, dice)
    else:
        trunk = _TRUNKS[kind]
        _branch(shape, (0.0, 0.0), (0.0, trunk + 1.0), 0.40, 0.26)
        if kind == "bare":
            _twigs(shape, dice, trunk)
        else:
            _crown(shape, dice, kind, trunk, variant)
    return shape.done()


def _conifer(shape: Shape, dice: Dice) -> None:
    _branch(shape, (0.0, 0.0), (0.0, 1.6), 0.35, 0.3)
    for k in range(5):
        half, y = 2.0 - 0.36 * k, 1.0 + 1.15 * k
        lean = dice.uniform(-0.15, 0.15)
        skirt = [(-half, y), (-0.4 * half, y - 0.25), (0.4 * half, y - 0.25), (half, y), (lean, y + 2.0)]
        _leaves(shape, skirt, k % 2, clump=0.4)


def _palm(shape: Shape, dice: Dice) -> None:
    _branch(shape, (0.0, 0.0), (0.25, 6.2), 0.42, 0.26)
    for k, (c, s) in enumerate(RING12):
        reach = 2.3 + dice.uniform(-0.3, 0.3)
        tip = (0.25 + reach * c, 6.2 + 0.75 * reach * s - 0.5)
        middle = (0.25 + 0.55 * reach * c, 6.2 + 0.7 * reach * s + 0.35)
        _leaves(shape, [(0.25, 6.0), tip, (middle[0], middle[1] + 0.12), (0.25, 6.3)], k % 3, clump=0.3)


def _weeping(shape: Shape, dice: Dice) -> None:
    """Add a dome of leaves with curtains that hang from it."""
    _branch(shape, (0.0, 0.0), (0.0, 3.4), 0.5, 0.3)
    _leaves(shape, [(2.3 * c, 4.0 + 1.6 * s) for c, s in RING12], 0)
    for k in range(9):
        x, foot = -2.4 + 0.6 * k, dice.uniform(0.7, 2.2)
        top = 4.9 - 0.2 * (k - 4) * (k - 4)
        _leaves(shape, [(x - 0.2, foot), (x + 0.2, foot), (x + 0.36, top), (x - 0.36, top)], k % 3, clump=0.25)


def _layered(shape: Shape, dice: Dice) -> None:
    """Add flat layers of leaves with gaps between them."""
    _branch(shape, (0.0, 0.0), (0.2, 5.8), 0.34, 0.14)
    for k in range(4):
        half, y, x = 2.6 - 0.45 * k, 2.2 + 1.2 * k, dice.uniform(-0.5, 0.5)
        _branch(shape, (0.0, y - 0.5), (x + 0.5 * half, y), 0.16, 0.08)
        _leaves(shape, [(x + half * c, y + 0.42 * s) for c, s in RING12], k % 3, clump=0.35)


def _scrub(shape: Shape, dice: Dice) -> None:
    """Add a low tree with several thin stems and small separate clumps."""
    for k in range(4):
        x = 1.1 * (k - 1.5) + dice.uniform(-0.2, 0.2)
        top = 2.6 + dice.uniform(0.0, 1.2)
        _branch(shape, (0.15 * (k - 1.5), 0.0), (x, top), 0.16, 0.08)
        for _ in range(3):
            side, up = dice.uniform(-0.7, 0.7), dice.uniform(-0.6, 0.7)
            _lump(shape, dice, x + side, top + up, dice.uniform(0.4, 0.75), 2 if up > 0.2 else k % 2)


def _twigs(shape: Shape, dice: Dice, trunk: float) -> None:
    for k in range(9):
        x = dice.uniform(-0.2, 0.2)
        tip = ((k - 4) * 0.55 + dice.uniform(-0.3, 0.3), trunk + 3.9 - 0.13 * (k - 4) * (k - 4))
        _branch(shape, (x, trunk), tip, 0.20, 0.07)
        for side in (-1, 1):
            middle = (0.5 * (x + tip[0]), 0.5 * (trunk + tip[1]))
            _branch(shape, middle, (middle[0] + side * 0.9, middle[1] + 1.1), 0.10, 0.05)


def _crown(shape: Shape, dice: Dice, kind: str, trunk: float, variant: int) -> None:
    """Add a crown: a body with clumps around it, lighter ones at the top and a dark one below."""
    wide, high = _CROWNS[kind]
    y = trunk + high
    _leaves(shape, [(0.82 * wide * c, y + 0.92 * high * s) for c, s in RING12], 0)
    radius = {"tall": 0.7, "poplar": 0.6, "umbrella": 0.8}.get(kind, 0.52 * wide)
    for k, (c, s) in enumerate(RING12):
        if k % 2 == variant % 2:
            _lump(shape, dice, 0.72 * wide * c, y + 0.72 * high * s, radius, 1 if s < 0.3 else 0)
    _lump(shape, dice, 0.0, y, 0.8 * min(wide, high), 0)
    for _ in range(4):
        x, up = dice.uniform(-0.6, 0.5) * wide, y + dice.uniform(-0.3, 0.7) * high
        _lump(shape, dice, x, up, 0.36 * wide + 0.1, 2 if up > y else 0)
    _lump(shape, dice, dice.uniform(-0.4, 0.4) * wide, y - 0.5 * high, 0.34 * wide, 1)


@cache
def bush(variant: int) -> Template:
    """Return a bush 1.4 m high."""
    shape = Shape(VEGETATION)
    dice = Dice("bush", variant)
    for x, y, radius, slot in ((-0.6, 0.5, 0.6, 1), (0.6, 0.5, 0.62, 0), (0.0, 0.75, 0.66, 0), (-0.3, 0.95, 0.42, 2)):
        _lump(shape, dice, x, y, radius, slot)
    return shape.done()


@cache
def hedge() -> Template:
    """Return a clipped hedge along z, 4 m long and 1 m high (to be scaled)."""
    shape = Shape(VEGETATION)
    shape.box(-0.4, 0.4, 0.0, 1.0, -2.0, 2.0, 0, FOLIAGE, texture=LEAVES, slot2=1, params=(0.35, 0.35, 0.5, 0.0))
    return shape.done()


@cache
def hill(variant: int) -> Template:
    """Return a wooded ridge on the horizon, 240 m wide."""
    shape = Shape(VEGETATION)
    dice = Dice("hill", variant)
    outline = [(-120.0 + 26.7 * k, dice.uniform(5.0, 17.0) if 0 < k < 9 else 0.0) for k in range(10)]
    for left, right in pairwise(outline):
        foot = [(left[0], -1.0), (right[0], -1.0)]
        shape.flat([*foot, right, left], 1, FOLIAGE, texture=LEAVES, slot2=0, params=(5.0, 4.0, 0.5, 0.0))
    return shape.done()
