"""Procedurally rendered street scenes, with labels, materials, depth and normals for every image.

``render`` renders one image, ``restyle`` changes the appearance of a rendered street, and ``prepare`` writes parts of
the datasets ``streets`` and ``streets-large``.
"""

from __future__ import annotations

from .domains import DOMAINS, VERSION, Domain
from .factors import FACTORS, factor
from .frame import Frame, render, restyle
from .materials import MATERIALS
from .trees import COUNTS, SIZES, Part, changed, find_part, parts, prepare

__all__ = [
    "COUNTS", "DOMAINS", "FACTORS", "MATERIALS", "SIZES", "VERSION", "Domain", "Frame", "Part", "changed", "factor",
    "find_part", "parts", "prepare", "render", "restyle",
]  # fmt: skip
