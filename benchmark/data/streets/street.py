"""A street: the distribution that it is drawn from, and its cross-section, lanes and camera."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

from . import materials as m
from .camera import Camera
from .dice import Dice
from .mesh import Placed, Template

Range = tuple[float, float]


@dataclass(frozen=True)
class Layout:
    """A distribution over streets and views. Values are drawn uniformly from ranges; mappings give relative weights."""

    height: Range = (1.25, 1.55)
    yaw: float = 0.03
    pitch: Range = (0.0, 0.03)
    roll: float = 0.004
    focal: Range = (0.60, 0.72)
    bonnet: float = 0.0
    pavement_view: float = 0.0  # probability that the camera is on the pavement
    left_hand: float = 0.0  # probability of driving on the left
    lanes: Mapping[int, float] = field(default_factory=lambda: {1: 0.5, 2: 0.4, 3: 0.1})  # number of lanes on each side
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
    traffic: Range = (10.0, 26.0)  # metres between vehicles in a lane
    fleet: Mapping[str, float] = field(
        default_factory=lambda: {"car": 10.0, "truck": 1.4, "bus": 1.2, "motorcycle": 1.0, "bicycle": 1.0}
    )
    bodies: tuple[str, ...] = ("hatch", "saloon", "estate", "suv", "van")
    trucks: tuple[str, ...] = ("box", "tarp", "bed")
    poses: tuple[str, ...] = ("stand", "walk", "stride", "back", "dress")
    fences: tuple[str, ...] = ("bars", "planks", "mesh", "rail")
    walls: tuple[str, ...] = ("brick", "concrete", "plaster")
    roofs: tuple[str, ...] = ()  # kinds of roof in place of `gable`, if not empty
    fronts: tuple[str, ...] = ()  # what is built on the front of a house, "none" included; empty: nothing
    windows: float = 0.0  # width of windows as a fraction of their period; 0: that of the facade
    widths: tuple[int, ...] = (8, 10, 12, 14)  # of houses, metres
    tree_size: float = 1.0  # factor on the size of trees
    median: Range = (0.0, 0.0)  # width of a planted strip between the directions
    stalls: int = 0  # largest number of additional pieces of street furniture on each side
    signs: tuple[str, ...] = tuple(
        ["limit", "warning", "priority", "parking", "yield", "noentry", "stop", "direction", "plate"]
    )
    wooden_poles: float = 0.0
    arm_lights: float = 0.3
    tram: float = 0.28
    hills: float = 0.3
    # Probabilities of an additional object near the camera, so that small classes can be learned.
    near: Mapping[str, float] = field(
        default_factory=lambda: {
            "person": 0.85, "cyclist": 0.5, "motorcyclist": 0.35, "bicycle": 0.5, "motorcycle": 0.35,
            "light": 0.55, "sign": 0.7, "truck": 0.3, "bus": 0.28,
        }
    )  # fmt: skip


@dataclass(frozen=True)
class Section:
    """Cross-section of one side: distances from the centre of the ego lane, in metres."""

    kerb: float  # the edge of the road
    walk: float  # the inner edge of the pavement (beyond a verge)
    pavement: float  # width of the pavement
    front: float  # the front edge of the lots
    material: int  # material of the pavement
    soil: bool  # whether the strip along the lots is bare soil

    @staticmethod
    def draw(dice: Dice, spec: Layout, lanes: float, parking: bool) -> Section:
        """Draw a cross-section outside the lanes."""
        kerb = lanes + (2.3 if parking else 0.3)
        verge = dice.uniform(1.0, 2.6) if dice.chance(spec.verge) else 0.0
        pavement = dice.uniform(*spec.pavement)
        material = dice.weighted(((m.PAVING, 0.6), (m.ASPHALT, 0.15), (m.CONCRETE, 0.25)))
        strip = dice.uniform(0.5, 2.0) if dice.chance(0.3) else 0.0
        return Section(kerb, kerb + verge, pavement, kerb + verge + pavement + strip, material, dice.chance(0.15))


class Street:
    """A street to which objects are added."""

    def __init__(self, dice: Dice, spec: Layout) -> None:
        self.dice, self.spec = dice, spec
        self.placed: list[Placed] = []
        self.bend = dice.uniform(-spec.curve, spec.curve) if dice.chance(0.7) else 0.0
        self.side = -1 if dice.chance(spec.left_hand) else 1  # the side that vehicles drive on
        lanes = dice.weighted(tuple(spec.lanes.items()))
        self.lane = dice.uniform(*spec.lane_width)
        ahead = lanes if dice.chance(0.8) else lanes + 1
        own = dice.below(lanes)
        # Lane centres: the ego lane is at x = 0; oncoming lanes are on the other side of the middle line.
        self.same = [(k - own) * self.lane * self.side for k in range(ahead)]
        self.median = dice.uniform(*spec.median) if spec.median[1] > 0 else 0.0
        self.oncoming = [-((own + 1 + k) * self.lane + self.median) * self.side for k in range(lanes)]
        centres = self.same + self.oncoming
        self.parking = {-1: dice.chance(spec.parking), 1: dice.chance(spec.parking)}
        self.rails = dice.pick(self.oncoming[:1] + self.same[-1:]) if dice.chance(spec.tram) else None
        self.junction = dice.uniform(16.0, 34.0) if dice.chance(spec.junction) else None
        self.sections = {
            s: Section.draw(dice, spec, max(c * s for c in centres) + 0.5 * self.lane, self.parking[s]) for s in (-1, 1)
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

    def put(
        self,
        template: Template,
        x: float,
        z: float,
        kind: str,
        *,
        heading: tuple[float, float] = (1.0, 0.0),
        **more: Any,
    ) -> None:
        """Place a template x metres to the right of the ego lane's centre and z metres along the curved road.

        ``heading`` is relative to the direction of the road there; ``more`` is passed to :class:`Placed`.
        """
        slope = 2.0 * self.bend * z
        length = sqrt(1.0 + slope * slope)
        c, s = 1.0 / length, slope / length
        turned = (c * heading[0] - s * heading[1], s * heading[0] + c * heading[1])
        self.placed.append(Placed(template, x + self.bend * z * z, 0.0, z, kind, heading=turned, **more))

    def edges(self) -> list[float]:
        """Return the edges of the lanes, from left to right."""
        half = 0.5 * self.lane
        return sorted({round(c + offset, 3) for c in self.same + self.oncoming for offset in (-half, half)})

    @property
    def middle(self) -> float:
        """Edge of the lanes of the ego direction towards the oncoming ones."""
        return min(self.same, key=lambda c: c * self.side) - 0.5 * self.lane * self.side

    def open_at(self, z: float, before: float, after: float) -> bool:
        """Return whether z is in the side street or within the given distances of it."""
        return self.junction is not None and self.junction - before < z < self.junction + after

    def room(self, side: int, low: float, high: float, length: float, tries: int = 6) -> float | None:
        """Find free space in the furniture strip of the pavement; return its middle, or None."""
        for _ in range(tries):
            z = self.dice.uniform(low, high)
            if all(abs(z - other) > 0.5 * (length + size) for other, size in self.taken[side]):
                self.taken[side].append((z, length))
                return z
        return None
