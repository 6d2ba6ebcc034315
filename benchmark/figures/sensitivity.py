"""Figure 6 of the paper: sensitivity of the layers of each block by three estimates, and the selected weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from benchmark.common.errors import UserError
from benchmark.figures._figure import Drawing, Figure, Selection, require
from benchmark.figures._style import COLUMN, canvas, cells, scale
from benchmark.records import Record

LAYERS = {"q": "Q", "k": "K", "v": "V", "ffn": "FFN"}
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """One heat map: the method whose report holds it, its key in ``sensitivity`` (or ``chosen``), and its title."""

    method: str
    key: str
    title: str
    logarithmic: bool = False


PANELS = (
    Panel("fishertune-per-sample", "fisher", "FIM, per sample: mean of F (log scale)", logarithmic=True),
    Panel("fishertune-per-sample", "drf", "DR-FIM, per sample: mean score"),
    Panel("fishertune", "drf", "DR-FIM, variational: mean score"),
    Panel("fishertune", "chosen", "Selected by FisherTune: fraction in % (log scale)", logarithmic=True),
)


def draw(selection: Selection) -> Drawing:
    """Draw a heat map of layers by blocks for each estimate: means over seeds.

    Raises:
        NothingToDrawError: no run of FisherTune or of its per-sample form.
        UserError: a record lacks the report.
    """
    shown = [panel for panel in PANELS if selection.runs(panel.method)]
    require(shown, "fishertune or fishertune-per-sample", "--methods fishertune,fishertune-per-sample")
    figure = canvas(COLUMN, 0.3 + 0.85 * len(shown))
    column = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(column, shown, strict=True):
        values = np.mean([_map(run, panel.key) for run in selection.runs(panel.method).values()], axis=0)
        norm = LogNorm() if panel.logarithmic else None
        image = cells(axes, values, cmap="cividis", norm=norm)
        axes.set_yticks(range(len(LAYERS)), LAYERS.values())
        axes.set_title(panel.title, loc="left")
        bar = scale(figure, axes, image, aspect=8)
        bar.minorticks_off()
        bar.set_ticks(_ticks(values, panel.logarithmic))
        bar.ax.set_yticklabels([f"{tick:.2g}" for tick in bar.get_ticks()], fontsize=6)
    column[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    column[-1].set_xlabel("Block")
    drawn = [run for run in selection.records if run.method in {panel.method for panel in shown}]
    return Drawing(
        figure,
        "Sensitivity of query, key, value and feed-forward weights by block, from input (0) to output: means over the "
        "weights of each layer and over seeds. "
        + selection.conditions(drawn, spread=False),
        selection.lacks(dict.fromkeys(panel.method for panel in PANELS)),
    )  # fmt: skip


def _ticks(values: Floats, logarithmic: bool) -> list[float]:
    """Return the minimum, the midpoint of the scale, and the maximum."""
    shown = values[values > 0] if logarithmic else values[~np.isnan(values)]
    low, high = float(shown.min()), float(shown.max())
    return [low, (low * high) ** 0.5 if logarithmic else (low + high) / 2, high]


def _map(run: Record, key: str) -> Floats:
    """Return a report's numbers as (layers, blocks); NaN where the method computed none."""
    sensitivity = run.report.get("sensitivity")
    source = run.report if key == "chosen" else sensitivity
    rows = source.get(key) if isinstance(source, dict) else None
    if not isinstance(rows, dict) or not rows or not all(isinstance(row, list) for row in rows.values()):
        raise UserError(f"{run.path or run.name}: report: no {key} by block; run it again with --force")
    depth = max(len(row) for row in rows.values() if isinstance(row, list))
    values = np.array([rows.get(group, [np.nan] * depth) for group in LAYERS], dtype=np.float64)
    return 100 * values / np.nansum(values) if key == "chosen" else values


FIGURE = Figure("Sensitivity by layer and block, and selected weights (FisherTune, Figure 6)", draw)
