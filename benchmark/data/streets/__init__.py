"""Street scenes rendered from nothing: labels, materials, depth and normals come with every picture."""

from __future__ import annotations

from .frame import DOMAINS, MATERIALS, VERSION, Domain, Frame, render, restyle

__all__ = ["DOMAINS", "MATERIALS", "VERSION", "Domain", "Frame", "render", "restyle"]
