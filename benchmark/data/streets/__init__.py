"""Street scenes rendered from nothing: labels, materials, depth and normals come with every picture.

``render`` makes one picture, ``restyle`` the same street in another light, ``prepare`` writes whole datasets in
the official trees of those they stand for.
"""

from __future__ import annotations

from .domains import DOMAINS, VERSION, Domain
from .frame import Frame, render, restyle
from .materials import MATERIALS
from .trees import COUNTS, prepare

__all__ = ["COUNTS", "DOMAINS", "MATERIALS", "VERSION", "Domain", "Frame", "prepare", "render", "restyle"]
