"""What is won in the source domain against what is won in unseen ones."""

from __future__ import annotations

from benchmark.figures._figure import Drawing, Figure, Selection, compared, percent, source_percent
from benchmark.figures._style import COLUMN, PALE, canvas, legend, marks
from benchmark.tables import Cell


def draw(selection: Selection) -> Drawing:
    """Draw each method's average over unseen domains over its mIoU on images of the source domain.

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
        axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # the line must not widen what it is compared with
        axes.axline(places[selection.reference], slope=1, color=PALE, linewidth=0.8, linestyle="--", zorder=0)
        label = selection.label(selection.reference)
        line = f" Dashed: the loss from source to unseen domains that {label} has; above it, less is lost."
    return Drawing(
        figure,
        "mIoU in unseen domains (their mean) against mIoU on images of the source domain." + line + " "
        + selection.conditions(run for method in methods for run in selection.runs(method).values()),
        selection.passed_over(),
    )  # fmt: skip


FIGURE = Figure("In-domain against out-of-domain mIoU", draw)
