"""Procedurally rendered street scenes, with labels, materials, depth and normals for every image.

``render`` renders one image, ``restyle`` changes the appearance of a rendered street, and ``prepare`` writes datasets
in the official folder layouts of the real datasets that they imitate.
"""

from __future__ import annotations

from .domains import DOMAINS, VERSION, Domain
from .frame import Frame, render, restyle
from .materials import MATERIALS
from .trees import COUNTS, prepare

__all__ = ["COUNTS", "DOMAINS", "MATERIALS", "VERSION", "Domain", "Frame", "prepare", "render", "restyle"]
