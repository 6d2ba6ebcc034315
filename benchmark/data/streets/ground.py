"""The ground (road, markings, kerbs, pavements, grass, rails, zebra crossings) and the ego vehicle's bonnet."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from . import materials as m
from .camera import Camera
from .dice import Dice
from .mesh import Placed, Shape
from .street import Street

# Palette slots: 0 road, 1 pavement, 2 grass, 3 markings, 4 kerb, 5 patches of road, 6 rails, 7 second line.
_SLABS = (-4.0, 4.0, 9.0, 16.0, 26.0, 42.0, 70.0, 120.0, 260.0)


def ground(street: Street) -> None:
    """Add the ground of a street."""
    dice, bend = street.dice, street.bend
    shape = Shape(m.TERRAIN)
    field = [(-400.0, -0.02, -6.0), (400.0, -0.02, -6.0), (400.0, -0.02, 700.0), (-400.0, -0.02, 700.0)]
    shape.poly(field, 2, m.SOIL if dice.chance(0.15) else m.GRASS)
    for side, section in street.sections.items():
        inner, front = side * (section.walk + section.pavement), side * section.front
        slabs: dict[str, Any] = {"texture": m.BLOCKS, "params": (0.6, 0.6, 0.03, 0.0)}
        _strip(shape, bend, side * section.walk, front, 1, section.material, m.SIDEWALK, **slabs)
        if abs(front - inner) > 0.1:
            _strip(shape, bend, inner, front, 2, m.SOIL if section.soil else m.GRASS, m.TERRAIN)
    left, right = street.sections[-1].kerb, street.sections[1].kerb
    _strip(shape, bend, -left, right, 0, m.ASPHALT, m.ROAD)
    if street.junction is not None:
        z0, z1 = street.junction, street.junction + 9.0
        for x0, x1 in ((-220.0, -left + 0.2), (right - 0.2, 220.0)):
            _quad(shape, bend, x0, x1, z0 - 1.6, z1 + 1.6, 1, m.PAVING, m.SIDEWALK)
            _quad(shape, bend, x0, x1, z0, z1, 0, m.ASPHALT, m.ROAD)
    for x0, x1 in ((-left + 0.04, -left - 0.16), (right - 0.04, right + 0.16)):
        _strip(shape, bend, x0, x1, 4, m.CONCRETE, m.SIDEWALK, gap=street.junction)
    for _ in range(dice.below(4)):
        x, z = dice.uniform(-left + 1.0, right - 2.0), dice.uniform(2.0, 25.0)
        _quad(shape, bend, x, x + dice.uniform(0.6, 2.0), z, z + dice.uniform(1.0, 6.0), 5, m.ASPHALT, m.ROAD)
    if street.median > 0:
        x0, x1 = sorted((street.middle - 0.1 * street.side, street.middle - (street.median - 0.1) * street.side))
        _strip(shape, bend, x0, x1, 4, m.CONCRETE, m.SIDEWALK, gap=street.junction)
        _strip(shape, bend, x0 + 0.2, x1 - 0.2, 2, m.GRASS, m.TERRAIN, gap=street.junction)
    _lines(street, shape)
    _crossings(street, shape)
    for x in (street.rails - 0.72, street.rails + 0.72) if street.rails is not None else ():
        _strip(shape, bend, x - 0.14, x + 0.14, 5, m.CONCRETE, m.ROAD)
        _strip(shape, bend, x - 0.05, x + 0.05, 6, m.METAL, m.ROAD)
    street.placed.append(Placed(shape.done(), 0.0, 0.0, 0.0, "ground", instance=False, farther=5000.0))


def _quad(
    shape: Shape, bend: float, x0: float, x1: float, z0: float, z1: float, slot: int, material: int, label: int,
    **more: Any,
) -> None:  # fmt: skip
    """Add a piece of ground between two distances along the road."""
    a, b = bend * z0 * z0, bend * z1 * z1
    corners = [(x0 + a, 0.0, z0), (x1 + a, 0.0, z0), (x1 + b, 0.0, z1), (x0 + b, 0.0, z1)]
    shape.poly(corners, slot, material, label=label, **more)


def _strip(
    shape: Shape, bend: float, x0: float, x1: float, slot: int, material: int, label: int, *,
    gap: float | None = None, **more: Any,
) -> None:  # fmt: skip
    """Add a strip along the road, in slabs that follow its bend; ``gap`` leaves room for a side street."""
    x0, x1 = min(x0, x1), max(x0, x1)
    slabs = _SLABS if gap is None else tuple(sorted({*_SLABS, gap, gap + 9.0}))
    for z0, z1 in pairwise(slabs):
        if gap is None or not gap <= z0 < gap + 9.0:
            _quad(shape, bend, x0, x1, z0, z1, slot, material, label, **more)


def _lines(street: Street, shape: Shape) -> None:
    """Add the lane markings."""
    dice, bend = street.dice, street.bend
    middle = street.middle
    dash, pause = dice.pick(((3.0, 6.0), (3.0, 3.0), (2.0, 4.0), (6.0, 6.0)))
    solid = dice.chance(0.35)
    half = 0.5 * dice.uniform(0.12, 0.2)
    edges = street.edges()
    for x in edges[1:-1] if not dice.chance(0.12) else ():
        centre = abs(x - middle) < 0.01
        slot = 7 if centre else 3
        if centre and solid:
            _strip(shape, bend, x - half, x + half, slot, m.PAINT, m.ROAD, gap=street.junction)
            continue
        z = dice.uniform(0.0, dash)
        while z < 75.0:
            if not street.open_at(z + dash, 6.0, 14.0):
                _quad(shape, bend, x - half, x + half, z, z + dash, slot, m.PAINT, m.ROAD)
            z += dash + pause
    if dice.chance(0.5):
        for x in (edges[0], edges[-1]):
            _strip(shape, bend, x - half, x + half, 3, m.PAINT, m.ROAD, gap=street.junction)


def _crossings(street: Street, shape: Shape) -> None:
    """Add the stop line and the zebra crossing."""
    bend, half, edges = street.bend, 0.5 * street.lane, street.edges()
    if street.junction is not None:
        low, high = (-half, edges[-1]) if street.side > 0 else (edges[0], half)
        _quad(shape, bend, low, high, street.junction - 5.4, street.junction - 5.0, 3, m.PAINT, m.ROAD)
    if street.zebra is not None:
        x = -street.sections[-1].kerb + 0.4
        while x < street.sections[1].kerb - 0.5:
            _quad(shape, bend, x, x + 0.5, street.zebra, street.zebra + 3.0, 3, m.PAINT, m.ROAD)
            x += 1.0


def bonnet(dice: Dice, camera: Camera) -> Placed:
    """Return the ego vehicle's bonnet: a flat arch at the lower edge of the image, one metre in front of the camera."""
    shape = Shape(m.EGO)
    drop = 0.5 / (2.0 * camera.focal)
    high, flat = dice.uniform(0.05, 0.11), dice.uniform(0.5, 0.8)
    half = 0.62 / camera.focal
    arch = [(half * 0.25 * k, -drop + high * (1.0 - 0.0625 * k * k * flat) - 0.01) for k in range(4, -5, -1)]
    foot = [(-half, -drop - 0.3), (half, -drop - 0.3)]
    shape.flat([*foot, *arch], 0, m.PANEL)
    shape.flat([*foot, *((x, y - 0.025) for x, y in arch)], 1, m.PANEL)
    x, y, z = camera.axes()[2]
    place = (camera.x + x, camera.height + y, z)
    return Placed(shape.done(), *place, "bonnet", instance=False, heading=(z, x), farther=-5000.0)
