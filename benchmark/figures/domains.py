"""In-domain against out-of-domain mIoU."""

from __future__ import annotations

from benchmark.figures._figure import Drawing, Figure, Selection, compared, percent, source_percent
from benchmark.figures._style import COLUMN, PALE, canvas, legend, marks
from benchmark.tables import Cell


def draw(selection: Selection) -> Drawing:
    """Draw each method's mean mIoU over unseen domains against its mIoU on the source domain.

    Raises:
        NothingToDrawError: no method to compare.
    """
    methods = compared(selection)
    figure = canvas(COLUMN, 2.3)
    axes = figure.subplots()
    places = {}
    for method, mark in marks(methods).items():
        runs = selection.runs(method).values()
        x, y = Cell.over([source_percent(run) for run in runs]), Cell.over([percent(run) for run in runs])
        places[method] = (x.mean or 0.0, y.mean or 0.0)
        axes.errorbar(*places[method], xerr=x.spread, yerr=y.spread, label=selection.label(method), **mark.errorbar())
    axes.set_xlabel("Source domain, mIoU (%)")
    axes.set_ylabel("Unseen domains, mIoU (%)")
    legend(figure, axes)
    line = ""
    if selection.reference in places:
        axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # the line must not change the limits
        axes.axline(places[selection.reference], slope=1, color=PALE, linewidth=0.8, linestyle="--", zorder=0)
        label = selection.label(selection.reference)
        line = f" Dashed: same drop from source to unseen domains as {label}; above the line, the drop is smaller."
    return Drawing(
        figure,
        "Mean mIoU over the unseen domains against mIoU on the source domain." + line + " "
        + selection.conditions(run for method in methods for run in selection.runs(method).values()),
        selection.passed_over(),
    )  # fmt: skip


FIGURE = Figure("In-domain against out-of-domain mIoU", draw)
