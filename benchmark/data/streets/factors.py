"""One factor at a time: the source domain with a single factor moved, in three steps.

The scenes are those of the source: ``factor(...)`` has the source's ``stream``, so that image k shows the source's
street k. Texture, palette, light, weather and sensor change pixels alone; lens and pose change the view, and with it
which objects are visible and their colours; shapes changes the objects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from benchmark.common.errors import UserError, nearest

from .domains import DOMAINS, Domain, find
from .finish import Finish
from .look import Look
from .palette import Colours
from .street import Layout
from .targets import DESERT
from .world import GAME, GAME_LOOK

STRENGTHS = (1, 2, 3)
_Moved = tuple[Layout, Look]


def find_domain(name: str) -> Domain:
    """Return a domain by its name, or the source with one factor moved: ``texture-2``.

    Raises:
        UserError: there is none of this name.
    """
    moved, _, strength = name.rpartition("-")
    if moved in FACTORS and strength.isdigit():
        return factor(moved, int(strength))
    return find(name)


def factor(name: str, strength: int) -> Domain:
    """Return the source domain with the factor ``name``, one of FACTORS, moved by ``strength`` steps (1, 2 or 3).

    Raises:
        UserError: an unknown factor or strength.
    """
    if name not in FACTORS:
        raise UserError(f"unknown factor {name!r}; {nearest(name, FACTORS)}")
    if strength not in STRENGTHS:
        raise UserError(f"strength of factor {name}: {strength}; choose 1, 2 or 3")
    layout, look = FACTORS[name](strength)
    return Domain(f"{name}-{strength}", DOMAINS["game"].stream, (layout,), (look,))


def _texture(step: int) -> _Moved:
    """Structure at several scales on all surfaces."""
    kinds = (("road", "stones", 0.5, 0.2), ("pavement", "blotches", 1.5, 0.15), ("soil", "blotches", 1.2, 0.2),
             ("wall", "streaks", 1.0, 0.2), ("leaf", "blotches", 0.8, 0.2), ("fence", "blotches", 0.6, 0.15),
             ("vehicle", "blotches", 0.8, 0.15), ("person", "blotches", 0.3, 0.12))  # fmt: skip
    finishes = tuple(Finish(on, kind, (size, size), (step * share, step * share)) for on, kind, size, share in kinds)
    return GAME, replace(GAME_LOOK, finishes=finishes)


def _palette(step: int) -> _Moved:
    """The colours that classes have, from those of the source to those of a desert town."""
    share = step / 3
    changed: dict[str, Any] = {}
    for each in fields(Colours):
        own, other = getattr(GAME_LOOK.colours, each.name), getattr(DESERT, each.name)
        if each.name == "paints":
            mixed = [(_mix(c, d, share), w) for (c, w), (d, _) in zip(own, _cycled(other, len(own)), strict=True)]
            changed[each.name] = tuple(mixed)
        elif each.name in ("centre_line", "lines"):
            changed[each.name] = _mix(own, other, share)
        elif each.name not in ("wild", "spread", "bark"):
            changed[each.name] = tuple(_mix(c, d, share) for c, d in zip(own, _cycled(other, len(own)), strict=True))
    return GAME, replace(GAME_LOOK, colours=replace(GAME_LOOK.colours, **changed))


def _cycled(values: tuple[Any, ...], count: int) -> list[Any]:
    return [values[k % len(values)] for k in range(count)]


def _mix(a: tuple[int, int, int], b: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    return tuple(int(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def _scaled(span: tuple[float, float], by: float) -> tuple[float, float]:
    return by * span[0], by * span[1]


def _light(step: int) -> _Moved:
    """From a low sun to dusk and night."""
    night, sun = 0.25 * step - 0.1, 0.75 - 0.25 * step
    look = replace(GAME_LOOK, sun=(0.5 * sun, sun), night=(night, night), lamps=1.0 if step > 1 else 0.0,
                   warm=(0.3, 0.5), dark=(0.1 * step, 0.1 * step))  # fmt: skip
    return GAME, look


def _weather(step: int) -> _Moved:
    """Haze, wet ground and rain, from light to heavy, without sun."""
    far = (110.0, 60.0, 32.0)[step - 1]
    sky = (((150, 156, 162), (186, 190, 192)),)
    look = replace(GAME_LOOK, sun=(0.0, 0.1), ambient=(0.75, 0.85), haze=(far, far), wet=(0.3 * step, 0.3 * step),
                   sky=sky,
                   streaks=step / 3, drops=step / 3)  # fmt: skip
    return GAME, look


def _lens(step: int) -> _Moved:
    """A wider angle, vignetting and scattered light."""
    layout = replace(GAME, focal=_scaled(GAME.focal, 1.0 - 0.12 * step))
    return layout, replace(GAME_LOOK, vignette=(0.2 * step, 0.2 * step), veil=(0.15 * step, 0.15 * step))


def _sensor(step: int) -> _Moved:
    """Noise, blur and compression."""
    return GAME, replace(GAME_LOOK, noise=(4.0 * step, 4.0 * step), blur={step: 1.0}, compress=(2.0 * step, 2.0 * step))


def _pose(step: int) -> _Moved:
    """A higher camera that looks down and aside and is tilted."""
    high = _scaled(GAME.height, 1.0 + 0.3 * step)
    return replace(GAME, height=high, yaw=0.03 + 0.04 * step, pitch=(0.0, 0.03 * step), roll=0.02 * step), GAME_LOOK


def _shapes(step: int) -> _Moved:
    """Other vehicles and people; from step 2 also other trees and fences; in step 3 also other houses."""
    layout = replace(GAME, bodies=("tiny", "coupe", "old", "minibus", "offroad"),
                     trucks=("container", "tipper", "tall"),
                     poses=("robe", "umbrella"))  # fmt: skip
    if step > 1:
        layout = replace(layout, tree_kinds=("poplar", "umbrella", "weeping", "layered", "scrub"),
                         fences=("guard", "pales", "screen"), walls=("rubble", "panels"))  # fmt: skip
    if step > 2:
        layout = replace(layout, roofs=("front", "steps", "mansard", "dome", "lean"), windows=0.34, widths=(6, 9, 15),
                         fronts=("balconies", "arcade", "porch", "bay", "tower", "terraces"))  # fmt: skip
    return layout, GAME_LOOK


FACTORS: dict[str, Callable[[int], _Moved]] = {
    "texture": _texture, "palette": _palette, "light": _light, "weather": _weather, "lens": _lens, "sensor": _sensor,
    "pose": _pose, "shapes": _shapes,
}  # fmt: skip
