"""Traffic: vehicles in the lanes and at the kerb, cyclists and pedestrians."""

from __future__ import annotations

from . import people, vehicles
from .street import Street

_MOVING = ("car", "truck", "bus", "tram", "cycle")


def add_person(street: Street, x: float, z: float) -> None:
    """Add a standing or walking person; one in eight is a child."""
    dice = street.dice
    size = dice.uniform(0.92, 1.08) if not dice.chance(0.12) else dice.uniform(0.6, 0.75)
    wide = dice.pick((-1.0, 1.0)) * size * 1.1
    body = people.person(dice.pick(street.spec.poses))
    street.put(body, x, z, "person", scale=(wide, size, size), shadow=(0.25, 0.2, 1.7))


def add_cycle(street: Street, vehicle: str, x: float, z: float, *, ridden: bool, view: str | None = None) -> None:
    """Add a bicycle or a motorcycle, seen from the given or a random side."""
    dice = street.dice
    view = view or dice.weighted((("side", 2.0), ("front", 0.5), ("back", 1.0)))
    wide = dice.pick((-1.0, 1.0)) * (dice.uniform(0.75, 1.0) if view == "side" else 1.0)
    size = dice.uniform(1.0, 1.12)
    body = people.cycle(vehicle, view, ridden, dice.chance(0.6))
    shadow = (0.8 if view == "side" else 0.3, 0.3, 1.5 if ridden else 0.9)
    street.put(body, x, z, "cycle", scale=(wide * size, size, size), shadow=shadow)


def add_vehicle(
    street: Street, kind: str, x: float, z: float, *, ahead: bool, heading: tuple[float, float] | None = None
) -> None:
    """Add a vehicle that drives with the ego vehicle or towards it, or with another heading."""
    dice = street.dice
    if heading is None:
        heading = (1.0, 0.0) if ahead else (-1.0, 0.0)
    if kind == "car":
        template, size = vehicles.car(dice.pick(street.spec.bodies)), (0.93, 2.3, 1.5)
    elif kind == "truck":
        template, size = vehicles.truck(dice.pick(street.spec.trucks)), (1.25, 4.2, 3.3)
    elif kind == "bus":
        template, size = vehicles.bus(2 if dice.chance(0.2) else 1), (1.27, 5.8, 3.1)
    elif kind == "tram":
        template, size = vehicles.tram(1 + dice.below(2)), (1.2, 8.0, 3.4)
    else:
        add_cycle(street, kind, x, z, ridden=True, view=("back" if ahead else "front") if dice.chance(0.4) else "side")
        return
    street.put(template, x, z, kind, heading=heading, shadow=size)


def add_traffic(street: Street) -> None:
    """Add vehicles to the lanes."""
    dice, spec = street.dice, street.spec
    fleet = tuple(spec.fleet.items())
    for ahead, lanes in ((True, street.same), (False, street.oncoming)):
        for x in lanes:
            if x == street.rails:
                add_vehicle(street, "tram", x, dice.uniform(15.0, 34.0), ahead=ahead)
                continue
            z = dice.uniform(9.0, 22.0) if x == 0.0 else dice.uniform(5.0, 20.0)
            while z < 85.0:
                kind = dice.weighted(fleet)
                length = {"car": 4.6, "truck": 9.0, "bus": 12.0}.get(kind, 2.0)
                z += 0.5 * length
                add_vehicle(street, kind, x + dice.uniform(-0.25, 0.25), z, ahead=ahead)
                z += 0.5 * length + dice.uniform(*spec.traffic) * dice.uniform(0.5, 1.5)


def add_crossing(street: Street) -> None:
    """Add vehicles that wait in or cross from the side street, and people on the zebra crossing."""
    dice = street.dice
    if street.junction is not None:
        for way in (-1, 1):
            if not dice.chance(0.45):
                continue
            kind = dice.weighted((("car", 5.0), ("truck", 1.0), ("bus", 1.2), ("motorcycle", 0.8), ("bicycle", 0.8)))
            x, z = dice.uniform(-14.0, 14.0), street.junction + 4.5 - 2.2 * way * street.side
            if _occupied(street, x, z):
                continue
            if kind in ("motorcycle", "bicycle"):
                add_cycle(street, kind, x, z, ridden=True, view="side")
            else:
                add_vehicle(street, kind, x, z, ahead=True, heading=(0.0, float(way)))
    if street.zebra is not None and dice.chance(0.6):
        for _ in range(1 + dice.below(3)):
            x = dice.uniform(-street.sections[-1].kerb, street.sections[1].kerb)
            add_person(street, x, street.zebra + dice.uniform(0.6, 2.4))


def _occupied(street: Street, x: float, z: float) -> bool:
    """Return whether a vehicle across the road would overlap another one."""
    x += street.bend * z * z
    return any(abs(p.z - z) < 7.0 and abs(p.x - x) < 7.5 for p in street.placed if p.kind in _MOVING)


def park(street: Street, side: int) -> None:
    """Add parked cars and cycles at the kerb."""
    dice, section = street.dice, street.sections[side]
    if not street.parking[side]:
        return
    x = side * (section.kerb - 1.15)
    z = dice.uniform(3.0, 12.0)
    while z < 72.0:
        if street.open_at(z + 2.5, 5.0, 15.0):
            z += 4.0
            continue
        if dice.chance(0.10):
            for k in range(3):
                add_cycle(street, dice.pick(("bicycle", "bicycle", "motorcycle")), x, z + 1.2 * k, ridden=False)
            z += 5.0
        elif dice.chance(0.85):
            add_vehicle(street, "car", x + dice.uniform(-0.1, 0.1), z + 2.5, ahead=side == street.side)
        z += dice.uniform(5.4, 7.5)
