"""Where things stand: from a domain's distribution over streets to placed objects and a camera."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt

from . import buildings, people, street_furniture, vegetation, vehicles
from .camera import Camera
from .dice import Dice
from .ground import Section, bonnet, ground
from .mesh import Placed

Range = tuple[float, float]
_MOVING = ("car", "truck", "bus", "tram", "cycle")


@dataclass(frozen=True)
class Layout:
    """A distribution over streets and views. Ranges are uniform; mappings are relative weights."""

    height: Range = (1.25, 1.55)
    yaw: float = 0.03
    pitch: Range = (0.0, 0.03)
    roll: float = 0.004
    focal: Range = (0.60, 0.72)
    bonnet: float = 0.0
    pavement_view: float = 0.0  # chance that the camera stands on the pavement
    left_hand: float = 0.0  # chance of driving on the left
    lanes: Mapping[int, float] = field(default_factory=lambda: {1: 0.5, 2: 0.4, 3: 0.1})  # on each side
    lane_width: Range = (3.0, 3.4)
    curve: float = 0.0012
    junction: float = 0.5
    parking: float = 0.6
    pavement: Range = (2.0, 4.0)
    verge: float = 0.3
    setback: Range = (0.0, 3.0)
    frontage: Mapping[str, float] = field(
        default_factory=lambda: {"house": 6.0, "wall": 1.7, "fence": 2.0, "park": 0.8, "hedge": 0.4}
    )
    floors: tuple[int, int] = (2, 5)
    facades: tuple[str, ...] = ("plaster", "brick", "concrete")
    gable: float = 0.5
    shop: float = 0.4
    trees: float = 0.6
    tree_kinds: tuple[str, ...] = ("round", "broad", "tall")
    traffic: Range = (10.0, 26.0)  # metres between vehicles of a lane
    fleet: Mapping[str, float] = field(
        default_factory=lambda: {"car": 10.0, "truck": 1.4, "bus": 1.2, "motorcycle": 1.0, "bicycle": 1.0}
    )
    bodies: tuple[str, ...] = ("hatch", "saloon", "estate", "suv", "van")
    signs: tuple[str, ...] = ("limit", "warning", "priority", "parking", "yield", "noentry", "stop", "direction", "plate")
    wooden_poles: float = 0.0
    arm_lights: float = 0.3
    tram: float = 0.28
    hills: float = 0.3
    # Chances that one more of these stands near the camera, so that small classes can be learnt.
    near: Mapping[str, float] = field(
        default_factory=lambda: {
            "person": 0.85, "cyclist": 0.5, "motorcyclist": 0.35, "bicycle": 0.5, "motorcycle": 0.35,
            "light": 0.55, "sign": 0.7, "truck": 0.3, "bus": 0.28,
        }
    )  # fmt: skip


class Street:
    """One street being furnished."""

    def __init__(self, dice: Dice, spec: Layout) -> None:
        self.dice, self.spec = dice, spec
        self.placed: list[Placed] = []
        self.bend = dice.uniform(-spec.curve, spec.curve) if dice.chance(0.7) else 0.0
        self.side = -1 if dice.chance(spec.left_hand) else 1  # on which side one drives
        lanes = dice.weighted(tuple(spec.lanes.items()))
        self.lane = dice.uniform(*spec.lane_width)
        ahead = lanes if dice.chance(0.8) else lanes + 1
        own = dice.below(lanes)
        # Lane centres: the ego vehicle's is x = 0; oncoming lanes lie on the other side of the middle line.
        self.same = [(k - own) * self.lane * self.side for k in range(ahead)]
        self.oncoming = [-(own + 1 + k) * self.lane * self.side for k in range(lanes)]
        centres = self.same + self.oncoming
        self.parking = {-1: dice.chance(spec.parking), 1: dice.chance(spec.parking)}
        self.rails = dice.pick(self.oncoming[:1] + self.same[-1:]) if dice.chance(spec.tram) else None
        self.junction = dice.uniform(16.0, 34.0) if dice.chance(spec.junction) else None
        self.sections = {
            s: Section.draw(dice, spec, s, max(c * s for c in centres) + 0.5 * self.lane, self.parking[s]) for s in (-1, 1)
        }
        self.zebra: float | None = None
        if self.junction is not None:
            self.zebra = self.junction - 4.2 if dice.chance(0.8) else None
        elif dice.chance(0.2):
            self.zebra = dice.uniform(9.0, 20.0)
        self.taken: dict[int, list[tuple[float, float]]] = {-1: [], 1: []}
        self.camera = self._camera()

    def _camera(self) -> Camera:
        spec, dice = self.spec, self.dice
        x = dice.uniform(-0.4, 0.4)
        yaw = dice.uniform(-spec.yaw, spec.yaw)
        if dice.chance(spec.pavement_view):
            side = dice.pick((-1, 1))
            section = self.sections[side]
            x = side * (section.kerb + dice.uniform(0.4, 0.8) * (section.front - section.kerb))
            yaw -= side * dice.uniform(0.04, 0.14)
        return Camera(
            x=x, height=dice.uniform(*spec.height), yaw=yaw, pitch=dice.uniform(*spec.pitch),
            roll=dice.uniform(-spec.roll, spec.roll), focal=dice.uniform(*spec.focal),
        )  # fmt: skip

    def put(self, template: object, x: float, z: float, kind: str, **more: object) -> None:
        """Place a template at x metres beside the ego lane's centre and z metres along the bent road."""
        heading = more.pop("heading", None)
        slope = 2.0 * self.bend * z
        length = sqrt(1.0 + slope * slope)
        c, s = 1.0 / length, slope / length
        if heading is None:
            turned = (c, s)
        else:
            h0, h1 = heading  # type: ignore[misc]
            turned = (c * h0 - s * h1, s * h0 + c * h1)
        self.placed.append(
            Placed(template, x + self.bend * z * z, more.pop("y", 0.0), z, kind, heading=turned, **more)  # type: ignore[arg-type]
        )

    def room(self, side: int, low: float, high: float, length: float, tries: int = 6) -> float | None:
        """Find a free stretch of the pavement's furniture strip; return its middle, or None."""
        for _ in range(tries):
            z = self.dice.uniform(low, high)
            if all(abs(z - other) > 0.5 * (length + size) for other, size in self.taken[side]):
                self.taken[side].append((z, length))
                return z
        return None


def lay_out(dice: Dice, spec: Layout) -> tuple[list[Placed], Camera]:
    """Draw a street from the distribution."""
    street = Street(dice, spec)
    ground(street)
    _horizon(street)
    for side in (-1, 1):
        _frontage(street, side)
        _furnish(street, side)
        _park(street, side)
    _traffic(street)
    _crossing(street)
    _near(street)
    if dice.chance(spec.bonnet):
        street.placed.append(bonnet(dice, street.camera))
    return street.placed, street.camera


def _horizon(street: Street) -> None:
    dice = street.dice
    if dice.chance(street.spec.hills):
        for x in (-170.0, 0.0, 170.0):
            street.placed.append(Placed(vegetation.hill(dice.below(4)), x, 0.0, 380.0, "tree", scale=(1.0, dice.uniform(0.5, 1.6), 1.0),
                                        farther=900.0))  # fmt: skip
    for _ in range(dice.below(7)):
        kind = "tower" if dice.chance(0.7) and street.spec.floors[1] > 3 else "shed"
        high = 6 * (2 + dice.below(6)) if kind == "tower" else 7
        street.placed.append(Placed(buildings.skyline(kind, 12 + 6 * dice.below(3), high), dice.uniform(-110.0, 110.0), 0.0,
                                    dice.uniform(200.0, 320.0), "building", farther=500.0))  # fmt: skip


def _frontage(street: Street, side: int) -> None:
    """Line one side with houses, walls, fences, hedges and gardens."""
    dice, spec = street.dice, street.spec
    front = street.sections[side].front
    turned = (1.0, 0.0) if side < 0 else (-1.0, 0.0)
    facades = [dice.pick(spec.facades) for _ in range(3)]
    z = dice.uniform(-8.0, 2.0)
    while z < 110.0:
        if street.junction is not None and street.junction - 1.0 < z + 4.0 < street.junction + 11.0:
            z = street.junction + 11.5
            continue
        lot = dice.weighted(tuple(spec.frontage.items())) if z < 70 else "house"
        if lot == "house":
            wide = dice.pick((8, 10, 12, 14))
            back = dice.uniform(*spec.setback)
            floors = spec.floors[0] + dice.below(spec.floors[1] - spec.floors[0] + 1)
            template = buildings.building(
                dice.pick(facades), floors, wide, "gable" if dice.chance(spec.gable) else "flat",
                back < 2.0 and dice.chance(spec.shop), dice.pick((1.8, 2.2, 2.7)),
            )  # fmt: skip
            street.put(template, side * (front + back), z + 0.5 * wide, "building", heading=turned, farther=0.5 * wide,
                       scale=(1.0, dice.uniform(0.94, 1.08), 1.0),
                       shadow=(0.5 * buildings.DEPTH, 0.5 * wide, 3.0 * floors))  # fmt: skip
            if back > 3.0:
                _border(street, side, z, wide, dice.pick(("fence", "hedge", "none", "none", "wall")))
            z += wide + (0.0 if spec.setback[1] < 4 else dice.uniform(1.0, 5.0))
        else:
            wide = dice.pick((8, 12, 16))
            _border(street, side, z, wide, lot)
            for _ in range(1 + wide // 6):
                kind = dice.pick(spec.tree_kinds)
                size = dice.uniform(0.8, 1.3)
                street.put(vegetation.tree(kind, dice.below(vegetation.VARIANTS)), side * (front + dice.uniform(3.0, 9.0)),
                           z + dice.uniform(0.0, wide), "tree", scale=(size, size, size), farther=2.0)  # fmt: skip
            if dice.chance(0.6):
                street.put(buildings.building(dice.pick(facades), 2, 10, "gable", False, 2.2), side * (front + 12.0),
                           z + 0.5 * wide, "building", heading=turned, farther=8.0)  # fmt: skip
            z += wide


def _border(street: Street, side: int, z: float, wide: float, kind: str) -> None:
    """Close a lot towards the pavement."""
    dice = street.dice
    x = side * (street.sections[side].front + 0.1)
    if kind == "fence":
        style, high = dice.pick(street_furniture.FENCES), dice.pick((1.1, 1.5, 1.9))
        for k in range(int(wide / 3.0)):
            street.put(street_furniture.fence(style, high), x, z + 1.5 + 3.0 * k, "fence", farther=1.0)
    elif kind in ("wall", "hedge"):
        high = dice.uniform(1.1, 2.5)
        template = vegetation.hedge() if kind == "hedge" else street_furniture.wall(dice.pick(tuple(street_furniture.WALLS)))
        for k in range(int(wide / 4.0)):
            street.put(template, x, z + 2.0 + 4.0 * k, "tree" if kind == "hedge" else "wall", scale=(1.0, high, 1.0), farther=1.5)
    elif kind == "park":
        for _ in range(2):
            size = dice.uniform(0.7, 1.5)
            street.put(vegetation.bush(dice.below(4)), x + side * dice.uniform(0.5, 2.0), z + dice.uniform(0.0, wide), "tree",
                       scale=(size, size, size))  # fmt: skip


def _furnish(street: Street, side: int) -> None:
    """Set trees, lamps, signs, clutter, people and cycles along one pavement."""
    dice, spec, section = street.dice, street.spec, street.sections[side]
    strip = side * (section.kerb + 0.55)
    if dice.chance(spec.trees):
        kind, gap = dice.pick(spec.tree_kinds), dice.uniform(7.0, 14.0)
        z = dice.uniform(3.0, 3.0 + gap)
        while z < 75.0:
            size = dice.uniform(0.75, 1.15)
            street.taken[side].append((z, 0.8))
            street.put(vegetation.tree(kind, dice.below(vegetation.VARIANTS)), strip + side * dice.uniform(0.0, 0.6), z, "tree",
                       scale=(size, size, size), shadow=(1.6 * size, 1.6 * size, 5.0 * size))  # fmt: skip
            z += gap * dice.uniform(0.8, 1.3)
    wooden = dice.chance(spec.wooden_poles)
    z, gap = dice.uniform(5.0, 20.0), dice.uniform(16.0, 30.0)
    reach = -side * dice.pick((0.0, 1.6, 2.4))
    while z < 90.0:
        template = (street_furniture.utility_pole(2) if wooden
                    else street_furniture.lamp(reach, 3.4 if reach == 0.0 else dice.pick((6.5, 8.0)), False))  # fmt: skip
        street.put(template, strip, z, "pole", shadow=(0.1, 0.1, 6.0))
        z += gap
    for _ in range(1 + dice.below(3)):
        where = street.room(side, 7.0, 40.0, 1.2)
        if where is not None:
            sign = street_furniture.sign(dice.pick(spec.signs), dice.pick((2.2, 2.6)), dice.pick((1.0, 1.25)))
            street.put(sign, strip, where, "sign", shadow=(0.1, 0.1, 2.5))
    if dice.chance(0.5):
        where = street.room(side, 5.0, 25.0, 2.5)
        if where is not None:
            kind = dice.pick(street_furniture.CLUTTER)
            street.put(street_furniture.clutter(kind), side * (section.kerb + 1.0), where, "clutter",
                       heading=(float(-side), 0.0), shadow=(0.4, 0.4, 1.0))  # fmt: skip
    if section.pavement > 1.5:
        for _ in range(dice.below(5)):
            where = street.room(side, 5.0, 45.0, 0.7)
            if where is not None:
                _person(street, side * (section.walk + dice.uniform(0.2, 0.9) * section.pavement), where)
    if street.junction is not None:
        lit, big = dice.below(3), dice.pick((1.0, 1.2))
        reach = -side * (0.0 if not dice.chance(spec.arm_lights) else dice.pick((3.0, 4.5)))
        street.put(street_furniture.traffic_light(reach, lit, big), strip, street.junction - 2.0, "light", shadow=(0.1, 0.1, 3.0))
        street.put(street_furniture.traffic_light(0.0, lit, big), strip, street.junction + 11.0, "light")


def _person(street: Street, x: float, z: float) -> None:
    dice = street.dice
    size = dice.uniform(0.92, 1.08) if not dice.chance(0.12) else dice.uniform(0.6, 0.75)
    mirror = dice.pick((-1.0, 1.0))
    street.put(people.person(dice.pick(people.POSES)), x, z, "person", heading=(1.0, 0.0), scale=(mirror * size * 1.1, size, size),
               shadow=(0.25, 0.2, 1.7))  # fmt: skip


def _cycle(street: Street, vehicle: str, x: float, z: float, *, ridden: bool, view: str | None = None) -> None:
    dice = street.dice
    view = view or dice.weighted((("side", 2.0), ("front", 0.5), ("back", 1.0)))
    wide = dice.pick((-1.0, 1.0)) * (dice.uniform(0.75, 1.0) if view == "side" else 1.0)
    size = dice.uniform(1.0, 1.12)
    street.put(people.cycle(vehicle, view, ridden, dice.chance(0.6)), x, z, "cycle", scale=(wide * size, size, size),
               heading=(1.0, 0.0), shadow=(0.8 if view == "side" else 0.3, 0.3, 1.5 if ridden else 0.9))  # fmt: skip


def _park(street: Street, side: int) -> None:
    """Park cars and cycles at the kerb."""
    dice, spec, section = street.dice, street.spec, street.sections[side]
    if not street.parking[side]:
        return
    x = side * (section.kerb - 1.15)
    z = dice.uniform(3.0, 12.0)
    while z < 72.0:
        blocked = street.junction is not None and street.junction - 5.0 < z + 2.5 < street.junction + 15.0
        if blocked:
            z += 4.0
            continue
        if dice.chance(0.10):
            for k in range(3):
                _cycle(street, dice.pick(("bicycle", "bicycle", "motorcycle")), x, z + 1.2 * k, ridden=False)
            z += 5.0
        elif dice.chance(0.85):
            _vehicle(street, "car", x + dice.uniform(-0.1, 0.1), z + 2.5, ahead=side == street.side)
        z += dice.uniform(5.4, 7.5)


def _vehicle(
    street: Street, kind: str, x: float, z: float, *, ahead: bool, heading: tuple[float, float] | None = None
) -> None:
    """Place a vehicle that drives with the ego vehicle or towards it, or with another heading."""
    dice = street.dice
    if heading is None:
        heading = (1.0, 0.0) if ahead else (-1.0, 0.0)
    if kind == "car":
        template, size = vehicles.car(dice.pick(street.spec.bodies)), (0.93, 2.3, 1.5)
    elif kind == "truck":
        template, size = vehicles.truck(dice.pick(("box", "tarp", "bed"))), (1.25, 4.2, 3.3)
    elif kind == "bus":
        template, size = vehicles.bus(2 if dice.chance(0.2) else 1), (1.27, 5.8, 3.1)
    elif kind == "tram":
        template, size = vehicles.tram(1 + dice.below(2)), (1.2, 8.0, 3.4)
    else:
        _cycle(street, kind, x, z, ridden=True, view=("back" if ahead else "front") if dice.chance(0.4) else "side")
        return
    street.put(template, x, z, kind, heading=heading, shadow=size)


def _traffic(street: Street) -> None:
    """Fill the lanes."""
    dice, spec = street.dice, street.spec
    fleet = tuple(spec.fleet.items())
    for ahead, lanes in ((True, street.same), (False, street.oncoming)):
        for x in lanes:
            if x == street.rails:
                length = 17.5
                street.put(vehicles.tram(1 + dice.below(2)), x, dice.uniform(15.0, 34.0), "tram",
                           heading=(1.0, 0.0) if ahead else (-1.0, 0.0), shadow=(1.2, 8.0, 3.4))  # fmt: skip
                continue
            z = dice.uniform(9.0, 22.0) if x == 0.0 else dice.uniform(5.0, 20.0)
            while z < 85.0:
                kind = dice.weighted(fleet)
                length = {"car": 4.6, "truck": 9.0, "bus": 12.0}.get(kind, 2.0)
                z += 0.5 * length
                _vehicle(street, kind, x + dice.uniform(-0.25, 0.25), z, ahead=ahead)
                z += 0.5 * length + dice.uniform(*spec.traffic) * dice.uniform(0.5, 1.5)


def _crossing(street: Street) -> None:
    """Let vehicles wait in or pass through the side street, and people walk over the zebra crossing."""
    dice = street.dice
    if street.junction is not None:
        for ahead in (-1, 1):
            if not dice.chance(0.45):
                continue
            kind = dice.weighted((("car", 5.0), ("truck", 1.0), ("bus", 1.2), ("motorcycle", 0.8), ("bicycle", 0.8)))
            x = dice.uniform(-14.0, 14.0)
            z = street.junction + 4.5 - 2.2 * ahead * street.side
            if any(abs(p.z - z) < 7.0 and abs(p.x - street.bend * z * z - x) < 7.5 for p in street.placed if p.kind in _MOVING):
                continue
            if kind in ("motorcycle", "bicycle"):
                _cycle(street, kind, x, z, ridden=True, view="side")
            else:
                _vehicle(street, kind, x, z, ahead=True, heading=(0.0, float(ahead)))
    if street.zebra is not None and dice.chance(0.6):
        for _ in range(1 + dice.below(3)):
            x = dice.uniform(-street.sections[-1].kerb, street.sections[1].kerb)
            _person(street, x, street.zebra + dice.uniform(0.6, 2.4))


def _near(street: Street) -> None:
    """Add things near the camera."""
    dice = street.dice
    for name, chance in street.spec.near.items():
        if not dice.chance(chance):
            continue
        side = dice.pick((-1, 1))
        section = street.sections[side]
        strip, walk = side * (section.kerb + 0.5), side * (section.walk + 0.5 * section.pavement)
        if name in ("truck", "bus"):
            lane = dice.pick(street.same[1:] + street.oncoming) if len(street.same) > 1 or street.oncoming else 0.0
            if lane != street.rails:
                _vehicle(street, name, lane, dice.uniform(13.0, 26.0), ahead=lane in street.same)
            continue
        z = street.room(side, 5.5, 13.0, 1.0, tries=12)
        if z is None:
            continue
        if name == "person":
            _person(street, walk, z)
            if dice.chance(0.5):
                _person(street, walk + dice.uniform(0.6, 0.9), z + dice.uniform(-0.3, 0.6))
        elif name in ("bicycle", "motorcycle"):
            _cycle(street, name, walk if dice.chance(0.5) else strip, z, ridden=False, view="side" if dice.chance(0.8) else None)
        elif name in ("cyclist", "motorcyclist"):
            x = side * (section.kerb - dice.uniform(0.5, 1.2)) if not street.parking[side] else side * (section.kerb - 2.8)
            _cycle(street, "bicycle" if name == "cyclist" else "motorcycle", x, z + 1.0, ridden=True,
                   view="side" if dice.chance(0.6) else None)  # fmt: skip
        elif name == "light":
            street.put(street_furniture.traffic_light(0.0, dice.below(4), 1.3), strip, z + 2.0, "light", shadow=(0.1, 0.1, 3.0))
        else:
            street.put(street_furniture.sign(dice.pick(street.spec.signs), 2.3, 1.35), strip, z + 1.0, "sign", shadow=(0.1, 0.1, 2.5))
