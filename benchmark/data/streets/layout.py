"""Layout: draw the placed objects and the camera of a street."""

from __future__ import annotations

from . import barriers, buildings, signals, vegetation
from .camera import Camera
from .dice import Dice
from .ground import bonnet, ground
from .mesh import Placed
from .street import Layout, Street
from .traffic import add_crossing, add_cycle, add_person, add_traffic, add_vehicle, park

_THIN = 0.1, 0.1  # half width and half length of the shadow of a pole


def lay_out(dice: Dice, spec: Layout) -> tuple[list[Placed], Camera]:
    """Return the placed objects and the camera of a street drawn from the distribution."""
    street = Street(dice, spec)
    ground(street)
    _horizon(street)
    for side in (-1, 1):
        _frontage(street, side)
        _plant(street, side)
        _furnish(street, side)
        park(street, side)
    if street.median > 0:
        _plant_median(street)
    add_traffic(street)
    add_crossing(street)
    _near(street)
    if dice.chance(spec.bonnet):
        street.placed.append(bonnet(dice, street.camera))
    return street.placed, street.camera


def _horizon(street: Street) -> None:
    """Add hills and distant buildings at the horizon."""
    dice, placed = street.dice, street.placed
    if dice.chance(street.spec.hills):
        for x in (-170.0, 0.0, 170.0):
            ridge, high = vegetation.hill(dice.below(4)), dice.uniform(0.5, 1.6)
            placed.append(Placed(ridge, x, 0.0, 380.0, "tree", scale=(1.0, high, 1.0), farther=900.0))
    for _ in range(dice.below(7)):
        kind = "tower" if dice.chance(0.7) and street.spec.floors[1] > 3 else "shed"
        high = 6 * (2 + dice.below(6)) if kind == "tower" else 7
        block = buildings.skyline(kind, 12 + 6 * dice.below(3), int(high))
        x, z = dice.uniform(-110.0, 110.0), dice.uniform(200.0, 320.0)
        placed.append(Placed(block, x, 0.0, z, "building", farther=500.0))


def _frontage(street: Street, side: int) -> None:
    """Add houses, walls, fences, hedges and gardens along one side."""
    dice, spec = street.dice, street.spec
    facades = [dice.pick(spec.facades) for _ in range(3)]
    z = dice.uniform(-8.0, 2.0)
    while z < 110.0:
        if street.junction is not None and street.open_at(z + 4.0, 1.0, 11.0):
            z = street.junction + 11.5
            continue
        lot = dice.weighted(tuple(spec.frontage.items())) if z < 70 else "house"
        if lot == "house":
            z += _house(street, side, z, facades)
        else:
            z += _garden(street, side, z, lot, facades)


def _house(street: Street, side: int, z: float, facades: list[str]) -> float:
    """Add a house; return the length of its lot."""
    dice, spec = street.dice, street.spec
    wide = dice.pick(spec.widths)
    back = dice.uniform(*spec.setback)
    floors = spec.floors[0] + dice.below(spec.floors[1] - spec.floors[0] + 1)
    facade = dice.pick(facades)
    roof = dice.pick(spec.roofs) if spec.roofs else "gable" if dice.chance(spec.gable) else "flat"
    front = dice.pick(spec.fronts) if spec.fronts else "none"
    shop = back < 2.0 and dice.chance(spec.shop)
    street.put(
        buildings.building(facade, floors, wide, roof, shop, dice.pick((1.8, 2.2, 2.7)), front, spec.windows),
        side * (street.sections[side].front + back), z + 0.5 * wide, "building", heading=(float(-side), 0.0),
        farther=0.5 * wide, scale=(1.0, dice.uniform(0.94, 1.08), 1.0),
        shadow=(0.5 * buildings.DEPTH, 0.5 * wide, 3.0 * floors),
    )  # fmt: skip
    if back > 3.0:
        _border(street, side, z, wide, dice.pick(("fence", "hedge", "none", "none", "wall")))
    return wide + (0.0 if spec.setback[1] < 4 else dice.uniform(1.0, 5.0))


def _garden(street: Street, side: int, z: float, border: str, facades: list[str]) -> float:
    """Add a lot with a border, trees and possibly a house at the back; return its length."""
    dice, spec, front = street.dice, street.spec, street.sections[side].front
    wide = dice.pick((8, 12, 16))
    _border(street, side, z, wide, border)
    for _ in range(1 + wide // 6):
        kind, size = dice.pick(spec.tree_kinds), dice.uniform(0.8, 1.3) * spec.tree_size
        tree = vegetation.tree(kind, dice.below(vegetation.VARIANTS))
        x, at = side * (front + dice.uniform(3.0, 9.0)), z + dice.uniform(0.0, wide)
        street.put(tree, x, at, "tree", scale=(size, size, size), farther=2.0)
    if dice.chance(0.6):
        house = buildings.building(dice.pick(facades), 2, 10, "gable", False, 2.2)
        x = side * (front + 12.0)
        street.put(house, x, z + 0.5 * wide, "building", heading=(float(-side), 0.0), farther=8.0)
    return wide


def _border(street: Street, side: int, z: float, wide: float, kind: str) -> None:
    """Add the border between a lot and the pavement."""
    dice = street.dice
    x = side * (street.sections[side].front + 0.1)
    if kind == "fence":
        panel = barriers.fence(dice.pick(street.spec.fences), dice.pick((1.1, 1.5, 1.9)))
        for k in range(int(wide / 3.0)):
            street.put(panel, x, z + 1.5 + 3.0 * k, "fence", farther=1.0)
    elif kind in ("wall", "hedge"):
        scale = (1.0, dice.uniform(1.1, 2.5), 1.0)
        hedge = kind == "hedge"
        piece = vegetation.hedge() if hedge else barriers.wall(dice.pick(street.spec.walls))
        for k in range(int(wide / 4.0)):
            street.put(piece, x, z + 2.0 + 4.0 * k, "tree" if hedge else "wall", scale=scale, farther=1.5)
    elif kind == "park":
        for _ in range(2):
            size, bush = dice.uniform(0.7, 1.5), vegetation.bush(dice.below(4))
            beside, along = side * dice.uniform(0.5, 2.0), dice.uniform(0.0, wide)
            street.put(bush, x + beside, z + along, "tree", scale=(size, size, size))


def _plant(street: Street, side: int) -> None:
    """Add a row of trees and a row of lamps along one kerb."""
    dice, spec = street.dice, street.spec
    strip = side * (street.sections[side].kerb + 0.55)
    if dice.chance(spec.trees):
        kind, gap = dice.pick(spec.tree_kinds), dice.uniform(7.0, 14.0)
        z = dice.uniform(3.0, 3.0 + gap)
        while z < 75.0:
            size = dice.uniform(0.75, 1.15) * spec.tree_size
            street.taken[side].append((z, 0.8))
            tree, beside = vegetation.tree(kind, dice.below(vegetation.VARIANTS)), side * dice.uniform(0.0, 0.6)
            shadow = (1.6 * size, 1.6 * size, 5.0 * size)
            street.put(tree, strip + beside, z, "tree", scale=(size, size, size), shadow=shadow)
            z += gap * dice.uniform(0.8, 1.3)
    wooden = dice.chance(spec.wooden_poles)
    z, gap = dice.uniform(5.0, 20.0), dice.uniform(16.0, 30.0)
    reach = -side * dice.pick((0.0, 1.6, 2.4))
    while z < 90.0:
        if wooden:
            pole = signals.utility_pole(2)
        else:
            pole = signals.lamp(reach, 3.4 if reach == 0.0 else dice.pick((6.5, 8.0)))
        street.put(pole, strip, z, "pole", shadow=(*_THIN, 6.0))
        z += gap


def _plant_median(street: Street) -> None:
    """Add trees and bushes on the strip between the directions."""
    dice, spec = street.dice, street.spec
    x = street.middle - 0.5 * street.median * street.side
    z, kind = dice.uniform(5.0, 12.0), dice.pick(spec.tree_kinds)
    while z < 90.0:
        if not street.open_at(z, 3.0, 12.0):
            size = dice.uniform(0.6, 0.9) * spec.tree_size
            plant = vegetation.tree(kind, dice.below(vegetation.VARIANTS)) if dice.chance(0.6) else vegetation.bush(0)
            street.put(plant, x, z, "tree", scale=(size, size, size), shadow=(size, size, 4.0 * size))
        z += dice.uniform(5.0, 11.0)


def _furnish(street: Street, side: int) -> None:
    """Add signs, street furniture, people and traffic lights along one pavement."""
    dice, spec, section = street.dice, street.spec, street.sections[side]
    strip = side * (section.kerb + 0.55)
    for _ in range(1 + dice.below(3)):
        where = street.room(side, 7.0, 40.0, 1.2)
        if where is not None:
            sign = signals.sign(dice.pick(spec.signs), dice.pick((2.2, 2.6)), dice.pick((1.0, 1.25)))
            street.put(sign, strip, where, "sign", shadow=(*_THIN, 2.5))
    if dice.chance(0.5):
        where = street.room(side, 5.0, 25.0, 2.5)
        if where is not None:
            thing, x = barriers.clutter(dice.pick(barriers.CLUTTER)), side * (section.kerb + 1.0)
            street.put(thing, x, where, "clutter", heading=(float(-side), 0.0), shadow=(0.4, 0.4, 1.0))
    for _ in range(dice.below(spec.stalls + 1) if spec.stalls else 0):
        where = street.room(side, 6.0, 40.0, 2.0)
        if where is not None:
            thing, x = barriers.clutter(dice.pick(barriers.CLUTTER)), side * (section.walk + 0.8 * section.pavement)
            street.put(thing, x, where, "clutter", heading=(float(-side), 0.0), shadow=(0.4, 0.4, 1.0))
    if section.pavement > 1.5:
        for _ in range(dice.below(5)):
            where = street.room(side, 5.0, 45.0, 0.7)
            if where is not None:
                add_person(street, side * (section.walk + dice.uniform(0.2, 0.9) * section.pavement), where)
    if street.junction is not None:
        lit, big = dice.below(3), dice.pick((1.0, 1.2))
        reach = -side * (0.0 if not dice.chance(spec.arm_lights) else dice.pick((3.0, 4.5)))
        near, far = signals.traffic_light(reach, lit, big), signals.traffic_light(0.0, lit, big)
        street.put(near, strip, street.junction - 2.0, "light", shadow=(*_THIN, 3.0))
        street.put(far, strip, street.junction + 11.0, "light")


def _near(street: Street) -> None:
    """Add things near the camera."""
    dice = street.dice
    for name, chance in street.spec.near.items():
        if not dice.chance(chance):
            continue
        side = dice.pick((-1, 1))
        if name in ("truck", "bus"):
            lane = dice.pick(street.same[1:] + street.oncoming)
            if lane != street.rails:
                add_vehicle(street, name, lane, dice.uniform(13.0, 26.0), ahead=lane in street.same)
        else:
            z = street.room(side, 5.5, 13.0, 1.0, tries=12)
            if z is not None:
                _near_kerb(street, name, side, z)


def _near_kerb(street: Street, name: str, side: int, z: float) -> None:
    """Add a person, a cycle with or without rider, a traffic light or a sign at one kerb."""
    dice, section = street.dice, street.sections[side]
    strip, walk = side * (section.kerb + 0.5), side * (section.walk + 0.5 * section.pavement)
    if name == "person":
        add_person(street, walk, z)
        if dice.chance(0.5):
            add_person(street, walk + dice.uniform(0.6, 0.9), z + dice.uniform(-0.3, 0.6))
    elif name in ("bicycle", "motorcycle"):
        x, view = walk if dice.chance(0.5) else strip, "side" if dice.chance(0.8) else None
        add_cycle(street, name, x, z, ridden=False, view=view)
    elif name in ("cyclist", "motorcyclist"):
        off = 2.8 if street.parking[side] else dice.uniform(0.5, 1.2)
        vehicle, view = "bicycle" if name == "cyclist" else "motorcycle", "side" if dice.chance(0.6) else None
        add_cycle(street, vehicle, side * (section.kerb - off), z + 1.0, ridden=True, view=view)
    elif name == "light":
        light = signals.traffic_light(0.0, dice.below(4), 1.3)
        street.put(light, strip, z + 2.0, "light", shadow=(*_THIN, 3.0))
    else:
        sign = signals.sign(dice.pick(street.spec.signs), 2.3, 1.35)
        street.put(sign, strip, z + 1.0, "sign", shadow=(*_THIN, 2.5))
