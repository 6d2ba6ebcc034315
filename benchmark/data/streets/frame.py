"""One rendered picture and everything known about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmark.common.errors import UserError, nearest

from . import materials as m
from .dice import Dice
from .domains import DOMAINS, VERSION, Domain
from .layout import lay_out
from .raster import Surfaces, rasterise
from .style import shade
from .texture import Pattern, pattern


@dataclass(frozen=True)
class Frame:
    """A picture of H x W pixels.

    Where the air between bars or spokes shows, label and instance are the fence's or the bicycle's, the other
    maps those of what is seen through it.
    """

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    label: NDArray[np.uint8]  # (H, W) Cityscapes label ids 0..33
    material: NDArray[np.uint8]  # (H, W) index into MATERIALS, 255 none
    instance: NDArray[np.int32]  # (H, W) 1.. for everything that stands or drives, 0 ground, sky, bonnet
    depth: NDArray[np.float32]  # (H, W) metres along the optical axis, inf in the sky
    normal: NDArray[np.float32]  # (H, W, 3) unit, camera axes (x right, y down, z forward), 0 in the sky
    surfaces: Surfaces  # what restyle needs
    pattern: Pattern


def _domain(name: str) -> Domain:
    if name not in DOMAINS:
        raise UserError(f"unknown domain {name!r}; {nearest(name, DOMAINS)}")
    return DOMAINS[name]


def render(domain: str, seed: int, size: tuple[int, int] = (128, 256), style: int | None = None) -> Frame:
    """Render picture number `seed` of a domain.

    The domain's name is part of every seed, so no two domains ever share a street. `style` (default: the
    seed) draws the appearance alone.
    """
    chosen = _domain(domain)
    dice = Dice("layout", VERSION, domain, seed)
    placed, camera = lay_out(dice, dice.pick(chosen.layouts))
    surfaces = rasterise(placed, camera, size)
    texture = pattern(surfaces)
    image = _shade(surfaces, texture, chosen, seed if style is None else style)
    polygons, seen, front = surfaces.polygons, surfaces.seen, surfaces.front
    material = polygons.material[seen]
    glass = texture.second & ((polygons.texture == m.WINDOWS) | (polygons.texture == m.SHOPS))[seen]
    material[glass] = m.GLASS
    with np.errstate(divide="ignore"):
        depth = np.float32(1.0) / surfaces.inverse_depth
    return Frame(
        image,
        polygons.label[front],
        material,
        polygons.instance[front],
        depth,
        np.ascontiguousarray(polygons.normal.T)[seen],
        surfaces,
        texture,
    )


def restyle(frame: Frame, domain: str, style: int) -> Frame:
    """Return the same street under another appearance of a domain (any domain)."""
    return replace(frame, image=_shade(frame.surfaces, frame.pattern, _domain(domain), style))


def _shade(surfaces: Surfaces, texture: Pattern, domain: Domain, style: int) -> NDArray[np.uint8]:
    dice = Dice("style", VERSION, domain.name, style)
    return shade(surfaces, texture, dice, dice.pick(domain.looks))
