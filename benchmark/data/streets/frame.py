"""A rendered image with its ground truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from . import materials as m
from .dice import Dice
from .domains import Domain, find
from .layout import lay_out
from .raster import Surfaces, rasterise
from .style import shade
from .texture import Pattern, pattern


@dataclass(frozen=True)
class Frame:
    """An image of H x W pixels and its ground truth.

    In the gaps between the bars of a fence or the spokes of a wheel, label and instance are those of the fence or the
    bicycle; the other maps are those of the surface seen through the gap.
    """

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    label: NDArray[np.uint8]  # (H, W) Cityscapes label ids 0..33
    material: NDArray[np.uint8]  # (H, W) index into MATERIALS, 255 = none
    instance: NDArray[np.int32]  # (H, W) 1, 2, ... for objects; 0 for ground, sky and bonnet
    depth: NDArray[np.float32]  # (H, W) metres along the optical axis; inf in the sky
    normal: NDArray[np.float32]  # (H, W, 3) unit vectors in camera axes (x right, y down, z forward); 0 in the sky
    surfaces: Surfaces  # geometry, used by restyle
    pattern: Pattern


def _domain(name: str | Domain) -> Domain:
    return find(name) if isinstance(name, str) else name


def render(domain: str | Domain, seed: int, size: tuple[int, int] = (128, 256), style: int | None = None) -> Frame:
    """Render image number ``seed`` of a domain.

    The RNG seed is the domain's ``stream``, so no two of :data:`DOMAINS` share a street. ``style`` (default:
    ``seed``) is the seed of the appearance only. Images of another ``size`` show the same street.
    """
    chosen = _domain(domain)
    dice = Dice("layout", chosen.stream, seed)
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


def restyle(frame: Frame, domain: str | Domain, style: int) -> Frame:
    """Return the same street with another appearance, drawn from the looks of any domain."""
    return replace(frame, image=_shade(frame.surfaces, frame.pattern, _domain(domain), style))


def _shade(surfaces: Surfaces, texture: Pattern, domain: Domain, style: int) -> NDArray[np.uint8]:
    dice = Dice("style", domain.stream, style)
    return shade(surfaces, texture, dice, dice.pick(domain.looks))
