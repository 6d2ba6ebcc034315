"""Figure 3 of the paper: two groups of projections tuned in one third of the blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmark.figures._figure import Drawing, Figure, Selection, percent, require
from benchmark.figures._style import COLUMN, canvas, cells, scale
from benchmark.records import Record

PAIRS = ("q+k", "q+v", "q+ffn", "k+v", "k+ffn", "v+ffn")
THIRDS = ("first", "middle", "last")
GIVEN = {"pair", "third"}
"""The hyperparameters that name a part; variants in any other one are not shown."""


def draw(selection: Selection) -> Drawing:
    """Draw a heat map of pairs by thirds: mean mIoU over unseen domains minus that of the frozen backbone.

    Raises:
        NothingToDrawError: no run of a part, or no run of Freeze.
    """
    found, odd = _parts(selection)
    require(list(found), "parts", "--methods figure3")
    frozen = [percent(run) for run in selection.runs("freeze").values()]
    require(frozen, "freeze, the reference", "--methods freeze")
    level = float(np.mean(frozen))
    values = np.full((len(PAIRS), len(THIRDS)), np.nan)
    for (pair, third), runs in found.items():
        values[PAIRS.index(pair), third - 1] = np.mean([percent(run) for run in runs]) - level
    figure = canvas(COLUMN, 2.3)
    axes = figure.subplots()
    reach = max(float(np.nanmax(np.abs(values))), 0.1)
    image = cells(axes, values, cmap="PuOr", vmin=-reach, vmax=reach)
    for row, column in np.ndindex(values.shape):
        if not np.isnan(values[row, column]):
            colour = "white" if abs(values[row, column]) > 0.7 * reach else "black"
            axes.text(
                column,
                row,
                f"{values[row, column]:+.1f}".replace("-", "\N{MINUS SIGN}"),
                ha="center",
                va="center",
                color=colour,
            )
    axes.set_yticks(range(len(PAIRS)), [_printed(pair) for pair in PAIRS])
    axes.set_xticks(range(len(THIRDS)), THIRDS)
    axes.set_xlabel("Third of the blocks, from the input")
    scale(figure, axes, image, aspect=18).set_label("mIoU minus that of Freeze (points)")
    missing = [
        f"parts[pair={pair},third={third + 1}] (no finished run)"
        for pair in PAIRS
        for third in range(len(THIRDS))
        if (pair, third + 1) not in found
    ]
    drawn = [run for runs in found.values() for run in runs]
    return Drawing(
        figure,
        "Mean mIoU over the unseen domains when only two groups of projections in one third of the blocks are tuned, "
        f"minus that of the frozen backbone ({level:.1f} %), in points. " + selection.conditions(drawn, spread=False),
        [*missing, *(f"{name} (other hyperparameters given)" for name in odd)],
    )


def _parts(selection: Selection) -> tuple[dict[tuple[str, int], list[Record]], list[str]]:
    """Return the runs by part, and the names of variants with other hyperparameters."""
    found: dict[tuple[str, int], list[Record]] = {}
    odd = []
    for record in selection.records:
        name, _, given = record.method.partition("[")
        if name != "parts":
            continue
        if {each.partition("=")[0] for each in given.rstrip("]").split(",")} - GIVEN - {""}:
            odd.append(record.method)
            continue
        part: dict[str, Any] = dict(record.settings)
        found.setdefault((str(part["pair"]), int(part["third"])), []).append(record)
    return found, sorted(set(odd))


def _printed(pair: str) -> str:
    return " + ".join(name.upper() for name in pair.split("+"))


FIGURE = Figure("Two groups of projections, by third of the blocks (FisherTune, Figure 3)", draw)
