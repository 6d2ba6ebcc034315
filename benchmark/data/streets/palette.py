"""The colours of objects, drawn for each placed object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dice import Dice
from .materials import COMMON, OWN
from .mesh import Placed

Rgb = tuple[int, int, int]
_PAINTS: tuple[tuple[Rgb, float], ...] = (
    ((228, 228, 228), 4.0), ((164, 168, 172), 4.0), ((38, 39, 42), 4.0), ((92, 95, 100), 3.0), ((168, 26, 28), 2.0),
    ((34, 62, 128), 2.0), ((60, 86, 70), 0.6), ((196, 178, 140), 0.8), ((214, 160, 30), 0.5), ((96, 40, 44), 0.7),
)  # fmt: skip
_CLOTHES: tuple[Rgb, ...] = (
    (34, 36, 44), (50, 60, 92), (120, 30, 36), (170, 170, 172), (84, 88, 92), (60, 92, 60), (200, 196, 186),
    (196, 120, 40),
    (110, 140, 190), (150, 60, 110), (210, 60, 50), (40, 110, 120), (222, 204, 60), (92, 70, 56),
)  # fmt: skip
_SKIN: tuple[Rgb, ...] = ((226, 184, 156), (206, 158, 126), (164, 116, 86), (112, 76, 56), (86, 58, 44))
_HAIR: tuple[Rgb, ...] = ((30, 26, 24), (66, 46, 32), (122, 90, 56), (150, 146, 142), (196, 168, 110))


_BUSES: tuple[Rgb, ...] = (
    (196, 34, 32), (236, 186, 40), (226, 224, 218), (44, 104, 168), (64, 138, 84), (226, 120, 36),
)  # fmt: skip
_TRAMS: tuple[Rgb, ...] = (
    (222, 200, 60), (214, 214, 206), (176, 36, 40), (60, 130, 90), (216, 120, 50), (80, 120, 170),
)  # fmt: skip
_FENCES: tuple[Rgb, ...] = (
    (40, 44, 44), (128, 96, 64), (196, 192, 184), (52, 82, 62), (110, 112, 114), (84, 62, 44),
)  # fmt: skip


@dataclass(frozen=True)
class Colours:
    """The palette of a domain: the colours that the kinds of objects have."""

    walls: tuple[Rgb, ...] = ((196, 178, 148), (206, 196, 178), (158, 108, 84), (150, 146, 140), (186, 160, 120))
    roofs: tuple[Rgb, ...] = ((142, 74, 56), (96, 70, 62), (88, 90, 96))
    leaves: tuple[Rgb, ...] = ((74, 112, 46), (88, 122, 52), (62, 98, 48))
    grass: tuple[Rgb, ...] = ((106, 136, 62), (122, 138, 70))
    asphalt: tuple[Rgb, ...] = ((98, 98, 102), (112, 110, 110))
    pavement: tuple[Rgb, ...] = ((168, 162, 154), (154, 150, 148))
    centre_line: Rgb = (234, 234, 230)
    lines: Rgb = (232, 232, 228)  # the other road markings
    bark: tuple[Rgb, ...] = ((92, 76, 60),)
    paints: tuple[tuple[Rgb, float], ...] = _PAINTS  # of cars, with relative weights
    cabs: tuple[Rgb, ...] = ((206, 206, 204), (170, 32, 32), (36, 72, 140), (226, 170, 30), (60, 110, 70))
    loads: tuple[Rgb, ...] = ((220, 220, 216), (70, 98, 140), (150, 130, 92), (184, 70, 50), (84, 120, 88))
    buses: tuple[Rgb, ...] = _BUSES
    trams: tuple[Rgb, ...] = _TRAMS
    clothes: tuple[Rgb, ...] = _CLOTHES  # the first six are also those of trousers
    metals: tuple[Rgb, ...] = ((118, 120, 122), (92, 98, 96), (140, 140, 138), (66, 74, 68))  # of poles
    fences: tuple[Rgb, ...] = _FENCES
    wild: float = 0.0  # probability that an object has an arbitrary colour
    spread: int = 12


def vary(dice: Dice, colour: Rgb, spread: int) -> Rgb:
    """Return a similar colour, with a random change of brightness and a small one of hue."""
    bits, tint = dice.raw() >> 4, spread // 3 + 1
    level, span = (bits & 0xFFFF) % (2 * spread + 1) - spread - tint, 2 * tint + 1
    red = colour[0] + level + (bits >> 16 & 0xFFF) % span
    green = colour[1] + level + (bits >> 28 & 0xFFF) % span
    blue = colour[2] + level + (bits >> 40 & 0xFFF) % span
    return min(255, max(0, red)), min(255, max(0, green)), min(255, max(0, blue))


def _dark(colour: Rgb, share: float) -> Rgb:
    return tuple(int(c * share) for c in colour)  # type: ignore[return-value]


def _light(colour: Rgb, share: float) -> Rgb:
    return tuple(int(c + (255 - c) * share) for c in colour)  # type: ignore[return-value]


def _any(dice: Dice) -> Rgb:
    return 20 + dice.below(225), 20 + dice.below(225), 20 + dice.below(225)


def _building(d: Dice, c: Colours) -> Sequence[Rgb]:
    wall = vary(d, d.pick(c.walls), c.spread)
    return (
        wall,
        vary(d, _dark(wall, 0.75), 8),
        vary(d, d.pick(c.roofs), c.spread),
        _light(wall, 0.35),
        d.pick(_CLOTHES),
        vary(d, (92, 66, 48), 20),
    )


def _ground(d: Dice, c: Colours) -> Sequence[Rgb]:
    road, walk = vary(d, d.pick(c.asphalt), c.spread), vary(d, d.pick(c.pavement), c.spread)
    return (
        road,
        walk,
        vary(d, d.pick(c.grass), c.spread),
        c.lines,
        _light(walk, 0.18),
        _dark(road, 0.8),
        (118, 112, 108),
        c.centre_line,
    )


def _tree(d: Dice, c: Colours) -> Sequence[Rgb]:
    leaf = vary(d, d.pick(c.leaves), c.spread)
    return leaf, _dark(leaf, 0.72), _light(leaf, 0.14), vary(d, c.bark[0] if len(c.bark) == 1 else d.pick(c.bark), 12)


def _car(d: Dice, c: Colours) -> Sequence[Rgb]:
    paint = vary(d, d.weighted(c.paints), 10)
    return paint, _dark(paint, 0.92) if d.chance(0.85) else (30, 30, 33)


def _truck(d: Dice, c: Colours) -> Sequence[Rgb]:
    return (vary(d, d.pick(c.cabs), 12),
            vary(d, d.pick(c.loads), 14),
            d.pick(_CLOTHES))  # fmt: skip


def _bus(d: Dice, c: Colours) -> Sequence[Rgb]:
    body = vary(d, d.pick(c.buses), 12)
    return body, d.pick(((236, 234, 228), (52, 54, 60), (180, 30, 34), (30, 70, 140)))


def _tram(d: Dice, c: Colours) -> Sequence[Rgb]:
    body = vary(d, d.pick(c.trams), 12)
    return body, d.pick(((232, 230, 222), (44, 50, 60), (140, 24, 30)))


def _person(d: Dice, c: Colours) -> Sequence[Rgb]:
    return (vary(d, d.pick(c.clothes), 16), vary(d, d.pick(c.clothes[:6]), 14), vary(d, d.pick(_SKIN), 8),
            d.pick(_HAIR),
            vary(d, (44, 38, 36), 14), d.pick(c.clothes))  # fmt: skip


def _cycle(d: Dice, c: Colours) -> Sequence[Rgb]:
    own = list(_person(d, c))
    own[3] = d.pick((own[3], (230, 230, 228), (180, 30, 34), (40, 44, 52)))
    return [
        *own,
        vary(
            d, d.pick(((178, 30, 32), (40, 80, 150), (34, 36, 40), (60, 130, 70), (210, 210, 208), (214, 120, 34))), 12
        ),
        (40, 36, 34),
    ]


def _metal(d: Dice, c: Colours) -> Sequence[Rgb]:
    grey = vary(d, d.pick(c.metals), 12)
    return grey, _light(grey, 0.3), d.pick(((36, 38, 40), (36, 38, 40), (196, 152, 30), (30, 56, 46)))


def _sign(d: Dice, c: Colours) -> Sequence[Rgb]:
    grey = vary(d, (140, 142, 144), 14)
    return grey, _light(grey, 0.2), d.pick(((22, 84, 168), (20, 110, 62), (228, 186, 30)))


def _fence(d: Dice, c: Colours) -> Sequence[Rgb]:
    main = vary(d, d.pick(c.fences), 12)
    return main, _dark(main, 0.85)


def _wall(d: Dice, c: Colours) -> Sequence[Rgb]:
    main = vary(d, d.pick((*c.walls, (150, 148, 142), (146, 92, 72))), c.spread)
    return main, _light(main, 0.2)


def _clutter(d: Dice, c: Colours) -> Sequence[Rgb]:
    return vary(d, d.pick(((60, 84, 66), (92, 94, 96), (176, 120, 40), (52, 70, 110), (120, 84, 56))), 14), d.pick(
        _CLOTHES
    )


def _bonnet(d: Dice, c: Colours) -> Sequence[Rgb]:
    paint = vary(d, d.pick(((30, 31, 34), (52, 54, 58), (120, 122, 126), (44, 50, 66))), 8)
    return _light(paint, 0.15), paint


_KINDS: dict[str, Callable[[Dice, Colours], Sequence[Rgb]]] = {
    "building": _building, "ground": _ground, "tree": _tree, "car": _car, "truck": _truck, "bus": _bus, "tram": _tram,
    "person": _person, "cycle": _cycle, "pole": _metal, "light": _metal, "sign": _sign, "fence": _fence, "wall": _wall,
    "clutter": _clutter, "bonnet": _bonnet,
}  # fmt: skip


def palettes(placed: list[Placed], colours: Colours, dice: Dice) -> NDArray[np.int32]:
    """Return the colours of all objects, (objects + 1, slots, 3); the last row is for the sky."""
    rows: list[list[Rgb]] = []
    for item in placed:
        own = list(_KINDS[item.kind](dice, colours))
        if colours.wild > 0 and dice.chance(colours.wild):
            own = [_any(dice) if k < 3 else c for k, c in enumerate(own)]
        rows.append([*own, *[(128, 128, 128)] * (OWN - len(own)), *COMMON])
    rows.append([(0, 0, 0)] * (OWN + len(COMMON)))
    return np.array(rows, np.int32)
