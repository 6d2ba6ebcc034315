"""mIoU by the strength of one changed factor."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from numpy.typing import NDArray

from benchmark.figures._figure import Drawing, Figure, NothingToDrawError, Selection, compared
from benchmark.figures._style import PAGE, canvas, legend, marks
from benchmark.records import Record
from benchmark.tables.factors import COMMAND, steps
from benchmark.tables.notes import spelling

ACROSS = 4
"""Panels in a row."""


def draw(selection: Selection) -> Drawing:
    """Draw two panels per factor, a line per method: mIoU, and its difference to the reference's, against strength.

    Strength 0 is the unchanged source. Differences are means over the seeds in common with the reference; without a run
    of it there are no such panels.

    Raises:
        NothingToDrawError: no runs were evaluated on single factors.
    """
    methods = compared(selection, "--protocol streets@factors --all")
    found = steps(selection.records[0].targets)
    if not found:
        raise NothingToDrawError(f"not evaluated on single factors; create such runs with: {COMMAND}")
    reference = selection.runs(selection.reference)
    paired = [m for m in methods if m != selection.reference and set(selection.runs(m)) & set(reference)]
    rows, each = -(-len(found) // ACROSS), 2 if paired else 1
    figure = canvas(PAGE, 0.5 + 1.25 * rows * each)
    grid = figure.subplots(rows * each, ACROSS, sharex=True, squeeze=False)
    scores, differences = grid[::each], grid[1::each] if paired else grid[:0]
    _share(scores, "mIoU (%)")
    _share(differences, f"to {selection.label(selection.reference)}")
    for axes in grid[-1]:
        axes.set_xlabel("Strength (0: source)")
    for panel, (factor, places) in zip(scores.flat, found.items(), strict=False):
        panel.set_title(spelling(factor), loc="left")
        panel.set_xticks(sorted(places))
        _lines(panel, {method: _means(selection.runs(method).values(), places) for method in methods}, selection)
    for panel, places in zip(differences.flat, found.values(), strict=False):
        _lines(panel, {m: _gains(selection.runs(m), reference, places) for m in paired}, selection)
    for panels in (scores, differences):
        for axes in panels.flat[len(found) :]:  # the rest of the last row
            axes.set_axis_off()
    legend(figure, scores[0, 0])
    drawn = [run for method in methods for run in selection.runs(method).values()]
    beside = f" Below: the difference to {selection.label(selection.reference)}, over common seeds." if paired else ""
    return Drawing(
        figure,
        "mIoU on held-out source scenes in which a single factor changes in three steps; the models are those trained "
        f"on the source, without further training.{beside} " + selection.conditions(drawn, spread=False),
        selection.passed_over(),
    )


def _share(panels: NDArray[Any], label: str) -> None:
    """Give some panels one vertical axis, and label it at the left."""
    for row in panels:
        row[0].set_ylabel(label)
        for axes in row:
            axes.sharey(panels[0, 0])
            axes.tick_params(labelleft=axes is row[0])


def _lines(axes: Axes, values: Mapping[str, Sequence[float]], selection: Selection) -> None:
    """Draw each method's values from strength 0 on."""
    known = marks(selection.methods())
    for method, heights in values.items():
        mark = known[method]
        axes.plot(
            range(len(heights)), heights, color=mark.colour, marker=mark.marker, markersize=3, linewidth=0.8,
            label=selection.label(method),
        )  # fmt: skip


def _means(runs: Collection[Record], places: Mapping[int, str]) -> list[float]:
    """Return the mean mIoU in per cent at each strength."""
    return [100 * fmean(run.scores()[places[at]].miou for run in runs) for at in sorted(places)]


def _gains(ours: Mapping[int, Record], theirs: Mapping[int, Record], places: Mapping[int, str]) -> list[float]:
    """Return the mean difference between two methods in points at each strength, over the seeds of both."""
    seeds = sorted(set(ours) & set(theirs))
    one, other = (_means([runs[seed] for seed in seeds], places) for runs in (ours, theirs))
    return [mine - other for mine, other in zip(one, other, strict=True)]


FIGURE = Figure("mIoU by the strength of one changed factor", draw)
