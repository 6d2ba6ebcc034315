"""A method from another package, found through the package's entry point, that rejects windowed backbones."""

from __future__ import annotations

from pathlib import Path

CODE = """
from baselines.bitfit import BitFit
from benchmark.method import UserError


class Picky(BitFit):
    label = "Picky"

    def attach(self, backbone, rng):
        if any(hasattr(block, "window_size") for block in backbone.blocks):
            raise UserError(f"picky cannot serve backbone {backbone.name!r}: its blocks are windowed")
        super().attach(backbone, rng)
"""


def install(folder: Path) -> Path:
    """Write the package into ``folder`` and return it; the caller adds it to Python's path."""
    metadata = folder / "picky-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "picky.py").write_text(CODE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: picky\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[dgss_benchmark.methods]\npicky = picky:Picky\n")
    return folder
