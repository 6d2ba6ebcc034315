"""Shared figure style: sizes for a two-column page, readable fonts, colour-blind safe colours.

The colours are those of Okabe and Ito (Color Universal Design, 2008), without the yellow, which is invisible on white
paper. No figure relies on colour alone: methods also differ by marker or are labelled directly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from benchmark.records.naming import base
from benchmark.tables import Cell
from benchmark.tables.main import ORDER, order

COLUMN = 3.3
"""Width of one column, in inches."""
PAGE = 6.9
"""Width of both columns, in inches."""
INK, PALE = "#000000", "#999999"
ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
HERO = "fishertune"
"""The method under study: always vermillion, always a star."""
DASHES = {"full": ":", "freeze": "--", "random": "-.", "random-all": "-."}
"""Line styles of reference methods."""
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, INK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # seven, coprime to the six colours: 42 distinct pairs
FAMILIES = {
    "reference": (INK, "s", ("full", "freeze", "l2-sp", "lp-ft", "wise-ft")),
    "adapter": (
        BLUE, "o",
        ("lora", "dora", "adaptformer", "rein", "ssf", "fada", "soma", "soma-as-released", "geco", "recyclelora"),
    ),
    "prompts": (GREEN, "D", ("vpt", "vqt")),
    "weights selected": (ORANGE, "^", ("bitfit", "layernorm", "random", "childtune-f", "childtune-d", "gps")),
    "FisherTune": (VERMILLION, "*", (HERO, f"{HERO}-per-sample")),
}  # fmt: skip
"""Colour, marker and methods of each family; others are of the family :data:`OTHER`."""
OTHER = "other"
RC: Any = {
    "figure.dpi": 300,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # ships with matplotlib, so figures look the same on every machine
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.5,
    "legend.handletextpad": 0.3,
    "legend.columnspacing": 1.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.4,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.0,
    "lines.markersize": 4.5,
    "errorbar.capsize": 1.8,
    "svg.hashsalt": "dgss-benchmark",  # makes the ids in the file deterministic
    "pdf.fonttype": 42,  # TrueType: publishers reject matplotlib's default, Type 3
}


@dataclass(frozen=True)
class Mark:
    """One method's colour and marker."""

    colour: str
    marker: str
    family: str = ""

    def errorbar(self) -> dict[str, Any]:
        """Return the options of ``Axes.errorbar`` that draw this mark."""
        size = {"*": 8.0, "P": 5.5, "X": 5.5}.get(self.marker, 4.5)
        return {
            "color": self.colour, "marker": self.marker, "markersize": size, "markeredgecolor": "white",
            "markeredgewidth": 0.4, "linestyle": "none", "elinewidth": 0.8,
        }  # fmt: skip


def marks(methods: Iterable[str]) -> dict[str, Mark]:
    """Return a mark for each method; known methods have the same mark in every figure."""
    methods = sorted(methods, key=order)
    known = [name for name in ORDER if name != HERO]
    places = {name: place for place, name in enumerate([*known, *(name for name in methods if name not in ORDER)])}
    return {
        name: Mark(VERMILLION, "*")
        if name == HERO
        else Mark(CYCLE[places[name] % len(CYCLE)], MARKERS[places[name] % len(MARKERS)])
        for name in methods
    }


def families(methods: Iterable[str]) -> dict[str, Mark]:
    """Return a mark for each method that shows its family; methods of a family share it and differ by their labels."""
    found = {
        name: Mark(colour, marker, family)
        for family, (colour, marker, names) in FAMILIES.items()
        for name in names
    }  # fmt: skip
    return {name: found.get(base(name), Mark(PURPLE, "v", OTHER)) for name in methods}


def point(axes: Axes, x: float, values: Sequence[float], mark: Mark, label: str) -> None:
    """Draw the mean of one value per seed with its standard deviation, and each seed as a dot.

    Args:
        axes: the axes to draw on.
        x: position on the x axis.
        values: one per seed; nothing is drawn if empty.
        mark: mark of the mean.
        label: legend entry, added once per axes.
    """
    if not values:
        return
    cell = Cell.over(values)
    known = axes.get_legend_handles_labels()[1]
    axes.errorbar(x, cell.mean or 0.0, yerr=cell.spread, label=None if label in known else label, **mark.errorbar())
    if len(values) > 1:
        axes.plot([x] * len(values), values, ".", color=mark.colour, markersize=3, alpha=0.7)


def legend(figure: Figure, axes: Axes) -> None:
    """Put the legend of ``axes`` below the figure in as many columns as fit, and enlarge the figure for it."""
    handles, labels = axes.get_legend_handles_labels()
    width, height = figure.get_size_inches()
    columns = max(count for count in range(1, len(labels) + 1) if count == 1 or _breadth(labels, count) < width)
    figure.set_size_inches(width, height + 0.15 * math.ceil(len(labels) / columns))
    plain = [handle[0] if isinstance(handle, ErrorbarContainer) else handle for handle in handles]
    figure.legend(plain, labels, loc="outside lower center", ncols=columns)


def _breadth(labels: Sequence[str], columns: int) -> float:
    """Return the approximate width in inches of a legend with so many columns, each as wide as its longest label."""
    parts = np.array_split([len(label) for label in labels], columns)
    return sum(0.27 + 0.051 * float(part.max()) for part in parts)


def level(axes: Axes, values: Sequence[float], label: str, method: str) -> None:
    """Draw the mean of a reference method as a horizontal line."""
    mean = Cell.over(values).mean or 0.0
    axes.axhline(mean, color=PALE, linewidth=0.8, linestyle=DASHES.get(method, "-"), label=label, zorder=0)


def cells(axes: Axes, values: npt.NDArray[np.float64], **options: Any) -> QuadMesh:
    """Draw a heat map as vector graphics, the first row on top; non-finite values stay empty.

    Args:
        axes: the axes to draw on; cell centres are at integer coordinates.
        values: shape (rows, columns).
        options: colour map and normalisation, passed to ``Axes.pcolormesh``.
    """
    rows, columns = values.shape
    edges = np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5
    mesh = axes.pcolormesh(*edges, np.ma.masked_invalid(values), edgecolor="white", linewidth=0.3, **options)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return mesh


def scale(figure: Figure, axes: Axes, mesh: QuadMesh, aspect: float) -> Colorbar:
    """Add the colour bar of a heat map, as vector graphics (matplotlib would rasterise a long one)."""
    bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=aspect)
    assert bar.solids is not None
    bar.solids.set(rasterized=False, edgecolor="face")
    return bar


def colour(method: str) -> str:
    """Return a method's colour in figures that label methods directly: only the method under study differs."""
    return VERMILLION if method == HERO else BLUE


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches."""
    return Figure(figsize=(width, height))
