"""The ground: road, markings, kerbs, pavements, grass, rails, zebra crossings; and the bonnet."""

from __future__ import annotations

from . import materials as m
from .camera import Camera
from .dice import Dice
from .mesh import Placed, Shape
from .street import Street

# The ground's own colours: 0 road, 1 pavement, 2 grass, 3 markings, 4 kerb, 5 patches of road, 6 rails, 7 second line.
_SLABS = (-4.0, 4.0, 9.0, 16.0, 26.0, 42.0, 70.0, 120.0, 260.0)


def ground(street: Street) -> None:
    """Lay the ground of a street."""
    dice, bend = street.dice, street.bend
    shape = Shape(m.TERRAIN)
    soil = dice.chance(0.15)
    shape.poly([(-400.0, -0.02, -6.0), (400.0, -0.02, -6.0), (400.0, -0.02, 700.0), (-400.0, -0.02, 700.0)], 2,
               m.SOIL if soil else m.GRASS)  # fmt: skip
    left, right = street.sections[-1], street.sections[1]
    for side, section in ((-1, left), (1, right)):
        _strip(shape, bend, side * section.walk, side * section.front if section.pavement > 0 else side * section.walk,
               1, section.material, m.SIDEWALK, texture=m.BLOCKS, params=(0.6, 0.6, 0.03, 0.0))  # fmt: skip
        inner = section.walk + section.pavement
        if section.front - inner > 0.1:
            _strip(shape, bend, side * inner, side * section.front, 2, m.SOIL if section.soil else m.GRASS, m.TERRAIN)
    _strip(shape, bend, -left.kerb, right.kerb, 0, m.ASPHALT, m.ROAD)
    if street.junction is not None:
        z0, z1 = street.junction, street.junction + 9.0
        for x0, x1 in ((-220.0, -left.kerb + 0.2), (right.kerb - 0.2, 220.0)):
            _quad(shape, bend, x0, x1, z0 - 1.6, z1 + 1.6, 1, m.PAVING, m.SIDEWALK)
            _quad(shape, bend, x0, x1, z0, z1, 0, m.ASPHALT, m.ROAD)
    for side, section in ((-1, left), (1, right)):
        _strip(shape, bend, side * (section.kerb - 0.04), side * (section.kerb + 0.16), 4, m.CONCRETE, m.SIDEWALK,
               gap=street.junction)  # fmt: skip
    _markings(street, shape)
    street.placed.append(Placed(shape.done(), 0.0, 0.0, 0.0, "ground", instance=False, farther=5000.0))


def _quad(shape: Shape, bend: float, x0: float, x1: float, z0: float, z1: float, slot: int, material: int, label: int,
          **more: object) -> None:  # fmt: skip
    a, b = bend * z0 * z0, bend * z1 * z1
    shape.poly([(x0 + a, 0.0, z0), (x1 + a, 0.0, z0), (x1 + b, 0.0, z1), (x0 + b, 0.0, z1)], slot, material, label=label,
               **more)  # type: ignore[arg-type]  # fmt: skip


def _strip(shape: Shape, bend: float, x0: float, x1: float, slot: int, material: int, label: int, *,
           gap: float | None = None, **more: object) -> None:  # fmt: skip
    """Lay a strip along the road, in slabs that follow its bend."""
    x0, x1 = min(x0, x1), max(x0, x1)
    slabs = _SLABS if gap is None else tuple(sorted({*_SLABS, gap, gap + 9.0}))
    for z0, z1 in zip(slabs, slabs[1:], strict=False):
        if gap is None or not gap <= z0 < gap + 9.0:
            _quad(shape, bend, x0, x1, z0, z1, slot, material, label, **more)


def _markings(street: Street, shape: Shape) -> None:
    """Paint lane lines, edge lines, stop line and zebra crossing; lay rails; patch the asphalt."""
    dice, bend, lane = street.dice, street.bend, street.lane
    left, right = street.sections[-1].kerb, street.sections[1].kerb
    paint = (3, m.PAINT, m.ROAD)
    for _ in range(dice.below(4)):
        x, z = dice.uniform(-left + 1.0, right - 2.0), dice.uniform(2.0, 25.0)
        _quad(shape, bend, x, x + dice.uniform(0.6, 2.0), z, z + dice.uniform(1.0, 6.0), 5, m.ASPHALT, m.ROAD)
    edges = sorted({round(c + 0.5 * lane, 3) for c in street.same + street.oncoming} |
                   {round(c - 0.5 * lane, 3) for c in street.same + street.oncoming})  # fmt: skip
    middle = min(street.same, key=lambda c: c * street.side) - 0.5 * lane * street.side
    dash, pause = dice.pick(((3.0, 6.0), (3.0, 3.0), (2.0, 4.0), (6.0, 6.0)))
    solid = dice.chance(0.35)
    wide = dice.uniform(0.12, 0.2)
    if not dice.chance(0.12):
        for x in edges[1:-1]:
            centre = abs(x - middle) < 0.01
            slot = 7 if centre else 3
            if centre and solid:
                _strip(shape, bend, x - wide / 2, x + wide / 2, slot, m.PAINT, m.ROAD, gap=street.junction)
                continue
            z = dice.uniform(0.0, dash)
            while z < 75.0:
                if street.junction is None or not street.junction - 6 < z + dash < street.junction + 14.0:
                    _quad(shape, bend, x - wide / 2, x + wide / 2, z, z + dash, slot, m.PAINT, m.ROAD)
                z += dash + pause
    if dice.chance(0.5):
        for x in (edges[0], edges[-1]):
            _strip(shape, bend, x - wide / 2, x + wide / 2, 3, m.PAINT, m.ROAD, gap=street.junction)
    if street.junction is not None:
        low, high = (-0.5 * lane, max(edges)) if street.side > 0 else (min(edges), 0.5 * lane)
        _quad(shape, bend, low, high, street.junction - 5.4, street.junction - 5.0, *paint)
    zebra = street.zebra
    if zebra is not None:
        x = -left + 0.4
        while x < right - 0.5:
            _quad(shape, bend, x, x + 0.5, zebra, zebra + 3.0, *paint)
            x += 1.0
    if street.rails is not None:
        for x in (street.rails - 0.72, street.rails + 0.72):
            _strip(shape, bend, x - 0.14, x + 0.14, 5, m.CONCRETE, m.ROAD)
            _strip(shape, bend, x - 0.05, x + 0.05, 6, m.METAL, m.ROAD)


def bonnet(dice: Dice, camera: Camera) -> Placed:
    """Return the ego vehicle's bonnet, a flat arch at the picture's lower edge."""
    shape = Shape(m.EGO)
    z, drop = 1.0, 0.5 / (2.0 * camera.focal)
    high, flat = dice.uniform(0.05, 0.11), dice.uniform(0.5, 0.8)
    half = 0.62 / camera.focal
    outline = [
        (half * u, -drop + high * (1.0 - u * u * flat) - 0.01, 0.0)
        for u in (1.0, 0.75, 0.5, 0.25, 0.0, -0.25, -0.5, -0.75, -1.0)
    ]
    shape.poly([(-half, -drop - 0.3, 0.0), (half, -drop - 0.3, 0.0), *outline], 0, m.PANEL)
    edge = outline[::1]
    shape.poly(
        [(-half, -drop - 0.3, 0.0), (half, -drop - 0.3, 0.0), *[(x, y - 0.025, 0.0) for x, y, _ in edge]], 1, m.PANEL
    )
    right, down, forward = camera.axes()
    del right, down
    return Placed(shape.done(), camera.x + z * forward[0], camera.height + z * forward[1], z * forward[2], "bonnet", instance=False,
                  heading=(forward[2], forward[0]), farther=-5000.0)  # fmt: skip
