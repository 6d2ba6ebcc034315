"""Shading: from surfaces to the final image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .dice import Dice
from .lens import expose
from .light import bloom, lit_surfaces
from .look import Look, Sample
from .palette import palettes
from .raster import Surfaces
from .texture import Pattern
from .weather import haze, precipitation, reflect, sky, snow


def shade(surfaces: Surfaces, pattern: Pattern, dice: Dice, look: Look) -> NDArray[np.uint8]:
    """Return the RGB image (H, W, 3) of the surfaces with the given appearance."""
    sample = Sample.draw(dice, look)
    table = palettes(surfaces.placed, look.colours, dice)
    image, glow = lit_surfaces(surfaces, pattern, sample, table, dice)
    if sample.snow > 0:
        snow(image, surfaces, pattern, sample)
    haze(image, surfaces, sample, dice)
    sky(image, surfaces, sample, dice)
    if sample.wet > 0:
        reflect(image, surfaces, sample)
    if sample.lit or sample.night > 0:
        bloom(image, glow)
    precipitation(image, look, dice)
    return expose(image, look, dice)
