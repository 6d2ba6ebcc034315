"""Accuracy against cost: trainable parameters, CPU time, memory."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmark.figures._figure import Drawing, Figure, Selection, compared, percent
from benchmark.figures._style import PAGE, Mark, canvas, legend, marks
from benchmark.records import Record
from benchmark.tables import Cell, executed

FAR_OUT = 3.0  # in interquartile ranges below the lower quartile: Tukey's outer fence


def draw(selection: Selection) -> Drawing:
    """Draw each method's mean mIoU over unseen domains against three costs.

    Raises:
        NothingToDrawError: no method to compare.
    """
    methods = compared(selection)
    figure = canvas(PAGE, 1.9)
    panels = figure.subplots(1, 3, sharey=True)
    scores = {method: Cell.over([percent(run) for run in selection.runs(method).values()]) for method in methods}
    bottom = _bottom(list(scores.values()))
    below = [] if bottom is None else [method for method in methods if (scores[method].mean or 0.0) < bottom]
    for method, mark in marks(methods).items():
        score = scores[method]
        costs = zip(*(_costs(run) for run in selection.runs(method).values()), strict=True)
        for axes, cost in zip(panels, (Cell.over(each) for each in costs), strict=True):
            axes.errorbar(
                cost.mean or 0.0, score.mean or 0.0, xerr=cost.spread, yerr=score.spread,
                label=selection.label(method) if axes is panels[0] else None, **mark.errorbar(),
            )  # fmt: skip
            if bottom is not None and method in below:
                _below(axes, cost.mean or 0.0, bottom, score.mean or 0.0, mark)
    _scale_of_counts(panels[0], [_costs(run)[0] for method in methods for run in selection.runs(method).values()])
    for axes in panels[1:]:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    panels[0].set_xlabel("Trainable parameters (M)")
    panels[1].set_xlabel("CPU time per run (s)")
    panels[2].set_xlabel("Peak memory (GB)")
    panels[0].set_ylabel("Unseen domains, mIoU (%)")
    named = ", ".join(map(selection.label, below))
    drawn = [run for method in methods for run in selection.runs(method).values()]
    if below:
        panels[0].set_ylim(bottom=bottom)
    legend(figure, panels[0])
    return Drawing(
        figure,
        "Mean mIoU over the unseen domains against trainable parameters (decoder excluded), CPU time of a run "
        "including evaluation, and peak memory of its process. "
        + (f"Below the axis, at the value next to the arrow: {named}. " if below else "")
        + ("" if executed.same_hardware(drawn) else "CPU times are of different machines and cannot be compared. ")
        + selection.conditions(drawn),
        selection.passed_over(),
    )  # fmt: skip


def _bottom(scores: list[Cell]) -> float | None:
    """Return the lower limit of the y axis if some methods are so low that the others would overlap; else None."""
    means = [score.mean or 0.0 for score in scores]
    first, third = np.percentile(means, [25, 75])
    fence = first - FAR_OUT * (third - first)
    shown = [(mean, score.spread or 0.0) for mean, score in zip(means, scores, strict=True) if mean >= fence]
    lowest, highest = min(mean - spread for mean, spread in shown), max(mean + spread for mean, spread in shown)
    bottom = lowest - 0.3 * (highest - lowest)
    far = [mean for mean in means if mean < lowest - 2 * (highest - lowest)]
    return bottom if far and len(far) + len(shown) == len(scores) else None


def _below(axes: Axes, x: float, bottom: float, score: float, mark: Mark) -> None:
    """Draw a method's mark on the lower edge, with a downward arrow and its score."""
    axes.errorbar(x, bottom, clip_on=False, **mark.errorbar())
    axes.annotate(f"↓ {score:.1f}", (x, bottom), (4, 3), textcoords="offset points", color=mark.colour)


def _scale_of_counts(axes: Axes, millions: list[float]) -> None:
    """Make the x axis logarithmic, with zero for methods without trainable parameters."""
    some = [count for count in millions if count > 0] or [1.0]
    axes.set_xscale("symlog", linthresh=min(some) / 2, linscale=0.5)
    axes.set_xlim(left=-min(some) / 10)
    decades = [10.0**power for power in range(math.ceil(math.log10(min(some))), math.floor(math.log10(max(some))) + 1)]
    axes.set_xticks([0, *(decades or [min(some)])])
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}" if value < 100 else f"{value:.0f}"))


def _costs(run: Record) -> tuple[float, float, float]:
    """Return trainable parameters in millions, CPU time in seconds, peak memory in 10^9 bytes."""
    assert run.trainable is not None, "only finished runs are selected"
    return run.trainable.backbone / 1e6, run.cpu_seconds, run.peak_memory_bytes / 1e9


FIGURE = Figure("Accuracy against trainable parameters, CPU time and memory", draw)
