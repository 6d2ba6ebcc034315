"""How every figure looks: sizes for a two-column page, readable letters, colours that all can tell apart.

Colours are those of Okabe and Ito (Color Universal Design, 2008), without the yellow that vanishes on white paper. No
figure rests on colour alone: methods also differ by marker, or stand beside their names.
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
DASHES = {"full": ":", "freeze": "--", "random": "-."}
"""Lines of methods that others are compared with."""
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, INK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # as many as share no divisor with the colours: 42 pairs
RC: Any = {
    "figure.dpi": 300,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that a figure is the same everywhere
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
    "svg.hashsalt": "dgss-benchmark",  # else names within the file are drawn by lot
    "pdf.fonttype": 42,  # letters stay letters: publishers refuse matplotlib's default Type 3
}


@dataclass(frozen=True)
class Mark:
    """One method's colour and marker."""

    colour: str
    marker: str

    def errorbar(self) -> dict[str, Any]:
        """Return the options of ``Axes.errorbar`` that draw this mark."""
        size = {"*": 8.0, "P": 5.5, "X": 5.5}.get(self.marker, 4.5)
        return {
            "color": self.colour, "marker": self.marker, "markersize": size, "markeredgecolor": "white",
            "markeredgewidth": 0.4, "linestyle": "none", "elinewidth": 0.8,
        }  # fmt: skip


def marks(methods: Iterable[str]) -> dict[str, Mark]:
    """Return a mark for each method: a known one has the same in every figure, whoever stands beside it."""
    methods = sorted(methods, key=order)
    known = [name for name in ORDER if name != HERO]
    places = {name: place for place, name in enumerate([*known, *(name for name in methods if name not in ORDER)])}
    return {
        name: Mark(VERMILLION, "*")
        if name == HERO
        else Mark(CYCLE[places[name] % len(CYCLE)], MARKERS[places[name] % len(MARKERS)])
        for name in methods
    }


def point(axes: Axes, x: float, values: Sequence[float], mark: Mark, label: str) -> None:
    """Draw the mean of one value per seed with its standard deviation, and each seed as a dot; nothing for none.

    Args:
        axes: where.
        x: at which place.
        values: one per seed.
        mark: of the mean.
        label: enters the legend once, however often it is given.
    """
    if not values:
        return
    cell = Cell.over(values)
    known = axes.get_legend_handles_labels()[1]
    axes.errorbar(x, cell.mean or 0.0, yerr=cell.spread, label=None if label in known else label, **mark.errorbar())
    if len(values) > 1:
        axes.plot([x] * len(values), values, ".", color=mark.colour, markersize=3, alpha=0.7)


def legend(figure: Figure, axes: Axes) -> None:
    """Put the legend of ``axes`` below the figure, in as many columns as fit, and make room for it."""
    handles, labels = axes.get_legend_handles_labels()
    width, height = figure.get_size_inches()
    columns = max(count for count in range(1, len(labels) + 1) if count == 1 or _breadth(labels, count) < width)
    figure.set_size_inches(width, height + 0.15 * math.ceil(len(labels) / columns))
    plain = [handle[0] if isinstance(handle, ErrorbarContainer) else handle for handle in handles]
    figure.legend(plain, labels, loc="outside lower center", ncols=columns)


def _breadth(labels: Sequence[str], columns: int) -> float:
    """Return about how many inches a legend of so many columns takes, each as wide as its longest label."""
    parts = np.array_split([len(label) for label in labels], columns)
    return sum(0.27 + 0.051 * float(part.max()) for part in parts)


def level(axes: Axes, values: Sequence[float], label: str, method: str) -> None:
    """Draw the mean of a method to compare with as a line across."""
    mean = Cell.over(values).mean or 0.0
    axes.axhline(mean, color=PALE, linewidth=0.8, linestyle=DASHES.get(method, "-"), label=label, zorder=0)


def cells(axes: Axes, values: npt.NDArray[np.float64], **options: Any) -> QuadMesh:
    """Draw a map of cells as vectors, the first row on top; what is not finite stays empty.

    Args:
        axes: where; centres of cells are at whole numbers.
        values: (rows, columns).
        options: colour map and scale, as ``Axes.pcolormesh`` takes them.
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
    """Put the scale of a map of cells beside it, as vectors too (a long one would be pixels otherwise)."""
    bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=aspect)
    assert bar.solids is not None
    bar.solids.set(rasterized=False, edgecolor="face")
    return bar


def colour(method: str) -> str:
    """Return the colour where the name stands beside: the method under study apart from all others."""
    return VERMILLION if method == HERO else BLUE


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure, in inches."""
    return Figure(figsize=(width, height))
