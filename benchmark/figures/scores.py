"""The main figure: every method's score on unseen domains, and its difference to a reference, sorted by score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.lines import Line2D

from benchmark.common.statistics import paired_interval
from benchmark.figures._figure import Drawing, Figure, Selection, compared, percent
from benchmark.figures._style import PAGE, PALE, canvas, families
from benchmark.records import Record
from benchmark.tables import Cell
from benchmark.tables.resamples import Resamples


def draw(selection: Selection) -> Drawing:
    """Draw a row per method, best first: its seeds and their mean, and the difference to the reference.

    Raises:
        NothingToDrawError: no method to compare.
    """
    methods = compared(selection)
    scores = {method: [percent(run) for run in selection.runs(method).values()] for method in methods}
    rows = sorted(methods, key=lambda method: Cell.over(scores[method]).mean or 0.0)
    reference = selection.reference if selection.reference in methods else rows[0]
    figure = canvas(PAGE, 0.75 + 0.17 * len(rows))
    left, right = figure.subplots(1, 2, sharey=True)
    resamples, found = Resamples(), families(rows)
    for height, method in enumerate(rows):
        mark = found[method]
        cell = Cell.over(scores[method])
        left.plot(scores[method], [height] * cell.n, "|", color=mark.colour, markersize=5)
        left.errorbar(cell.mean or 0.0, height, **mark.errorbar())
        if method == reference:
            continue
        centre, margin = _difference(selection.runs(method), selection.runs(reference), resamples)
        if centre is not None:
            right.errorbar(centre, height, xerr=margin, **mark.errorbar())
    right.axvline(0, color=PALE, linewidth=0.8)
    left.set_yticks(range(len(rows)), [selection.label(method) for method in rows])
    left.set_ylim(-0.7, len(rows) - 0.3)
    left.set_xlabel("Unseen domains, mIoU (%)")
    right.set_xlabel(f"Difference to {selection.label(reference)} (points)")
    shown = {mark.family: mark for mark in found.values()}
    handles = [
        Line2D([], [], color=mark.colour, marker=mark.marker, markersize=4.5, linestyle="none", label=family)
        for family, mark in sorted(shown.items())
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    drawn = [run for method in methods for run in selection.runs(method).values()]
    return Drawing(
        figure,
        "Methods by their mean mIoU over the unseen domains. Left: mean, and each seed (strokes). Right: "
        f"the mean difference to {selection.label(reference)} over common seeds with its 95% interval over images and "
        "seeds (none with a single common seed; differences between two other methods have intervals of their own). "
        + selection.conditions(drawn, spread=False),
        selection.passed_over(),
    )


def _difference(
    ours: Mapping[int, Record], theirs: Mapping[int, Record], resamples: Resamples
) -> tuple[float | None, float | None]:
    """Return the mean difference in points over common seeds, and the margin of its 95% interval; None if unknown."""
    common = sorted(set(ours) & set(theirs))
    if not common:
        return None, None
    one, two = (np.array([percent(each[seed]) for seed in common]) for each in (ours, theirs))
    if len(common) < 2:
        return float((one - two).mean()), None
    resampled = [
        np.stack([100 * resamples.of(each[seed], list(each[seed].targets)) for seed in common])
        for each in (ours, theirs)
    ]
    low, high = paired_interval(one, resampled[0], two, resampled[1])
    return (low + high) / 2, (high - low) / 2


FIGURE = Figure("Scores of all methods on unseen domains, and differences to a reference", draw)
