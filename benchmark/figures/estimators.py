"""Figure 5 of the paper: selection criteria and their estimators."""

from __future__ import annotations

from collections.abc import Mapping

from benchmark.figures._figure import Drawing, Figure, Selection, percent, require
from benchmark.figures._style import BLUE, COLUMN, ORANGE, Mark, canvas, legend, level, point
from benchmark.records import Record

CRITERIA = {"f": "FIM", "delta-f": "ΔFIM", "drf": "DR-FIM"}
ESTIMATORS = {"per-sample": Mark(BLUE, "o"), "variational": Mark(ORANGE, "s")}
NAMES = {
    ("f", "per-sample"): "fim", ("f", "variational"): "fim-variational",
    ("delta-f", "per-sample"): "delta-fim", ("delta-f", "variational"): "delta-fim-variational",
    ("drf", "per-sample"): "fishertune-per-sample", ("drf", "variational"): "fishertune",
}  # fmt: skip
BASES = ("fishertune", "fishertune-per-sample")
ENDS = ("full", "freeze", "random-all")
"""Reference methods, drawn as lines."""


def draw(selection: Selection) -> Drawing:
    """Draw the mean mIoU over unseen domains by criterion and estimator, and each seed as a small point.

    All are drawn over the seeds that every criterion and estimator shown has, if there are any: seeds differ by more
    than methods do.

    Raises:
        NothingToDrawError: no run of a criterion other than FisherTune's.
    """
    found = {name: runs for name in NAMES.values() if (runs := selection.runs(name))}
    require([name for name in found if name not in BASES], "a criterion other than DR-FIM", "--methods figure5")
    common = set.intersection(*(set(runs) for runs in found.values()))
    shown = {name: _over(common, runs) for name, runs in found.items()}
    ends = {name: _over(common, runs) for name in ENDS if (runs := selection.runs(name))}
    figure = canvas(COLUMN, 2.1)
    axes = figure.subplots()
    for shift, (estimator, mark) in zip((-0.12, 0.12), ESTIMATORS.items(), strict=True):
        for place, criterion in enumerate(CRITERIA):
            values = [percent(run) for run in shown.get(NAMES[criterion, estimator], [])]
            point(axes, place + shift, values, mark, estimator)
    for name, own in ends.items():
        level(axes, [percent(run) for run in own], selection.label(name), name)
    axes.set_xticks(range(len(CRITERIA)), CRITERIA.values())
    axes.set_xlim(-0.5, len(CRITERIA) - 0.5)
    axes.grid(False, axis="x")
    axes.set_xlabel("Selection criterion")
    axes.set_ylabel("Unseen domains, mIoU (%)")
    legend(figure, axes)
    return Drawing(
        figure,
        "Mean mIoU over the unseen domains by selection criterion and estimator. Small points: individual seeds. "
        + selection.conditions(run for own in (shown | ends).values() for run in own),
        selection.lacks(NAMES.values()),
    )  # fmt: skip


def _over(seeds: set[int], runs: Mapping[int, Record]) -> list[Record]:
    """Return the runs with these seeds; all of them if there is none."""
    return [runs[seed] for seed in sorted(seeds & set(runs))] or list(runs.values())


FIGURE = Figure("Selection criteria by estimator (FisherTune, Figure 5)", draw)
