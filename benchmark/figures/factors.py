"""mIoU by the strength of one changed factor."""

from __future__ import annotations

from benchmark.figures._figure import Drawing, Figure, NothingToDrawError, Selection, compared
from benchmark.figures._style import PAGE, canvas, legend, marks
from benchmark.tables.factors import COMMAND, steps
from benchmark.tables.notes import spelling

ACROSS = 4
"""Panels in a row."""


def draw(selection: Selection) -> Drawing:
    """Draw a panel per factor: mIoU against its strength from 0, the unchanged source, to 3; a line per method.

    Raises:
        NothingToDrawError: no runs were evaluated on single factors.
    """
    methods = compared(selection, "--protocol streets@factors --all")
    found = steps(selection.records[0].targets)
    if not found:
        raise NothingToDrawError(f"not evaluated on single factors; create such runs with: {COMMAND}")
    rows = -(-len(found) // ACROSS)
    figure = canvas(PAGE, 0.5 + 1.5 * rows)
    grid = figure.subplots(rows, ACROSS, sharex=True, sharey=True, squeeze=False)
    for axes in grid[-1]:
        axes.set_xlabel("Strength (0: source)")
    for axes in grid[:, 0]:
        axes.set_ylabel("mIoU (%)")
    panels = iter(grid.flat)
    for factor, places in found.items():
        axes = next(panels)
        for method, mark in marks(methods).items():
            runs = selection.runs(method).values()
            means = [100 * sum(run.scores()[places[at]].miou for run in runs) / len(runs) for at in sorted(places)]
            axes.plot(
                sorted(places), means, color=mark.colour, marker=mark.marker, markersize=3, linewidth=0.8,
                label=selection.label(method),
            )  # fmt: skip
        axes.set_title(spelling(factor), loc="left")
        axes.set_xticks(sorted(places))
    for axes in panels:  # the rest of the last row
        axes.set_axis_off()
    legend(figure, figure.axes[0])
    drawn = [run for method in methods for run in selection.runs(method).values()]
    return Drawing(
        figure,
        "mIoU on held-out source scenes in which a single factor changes in three steps; the models are those trained "
        "on the source, without further training. " + selection.conditions(drawn, spread=False),
        selection.passed_over(),
    )


FIGURE = Figure("mIoU by the strength of one changed factor", draw)
