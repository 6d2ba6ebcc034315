"""Figure 5 of the paper: selection criteria and their estimators."""

from __future__ import annotations

from benchmark.figures._figure import Drawing, Figure, Selection, percent, require
from benchmark.figures._style import BLUE, COLUMN, ORANGE, Mark, canvas, legend, level, point

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

    Raises:
        NothingToDrawError: no run of a criterion other than FisherTune's.
    """
    others = [name for name in NAMES.values() if name not in BASES and selection.runs(name)]
    require(others, "a criterion other than DR-FIM", "--methods figure5")
    figure = canvas(COLUMN, 2.1)
    axes = figure.subplots()
    for shift, (estimator, mark) in zip((-0.12, 0.12), ESTIMATORS.items(), strict=True):
        for place, criterion in enumerate(CRITERIA):
            runs = selection.runs(NAMES[criterion, estimator])
            point(axes, place + shift, [percent(run) for run in runs.values()], mark, estimator)
    ends = [name for name in ENDS if selection.runs(name)]
    for name in ends:
        level(axes, [percent(run) for run in selection.runs(name).values()], selection.label(name), name)
    axes.set_xticks(range(len(CRITERIA)), CRITERIA.values())
    axes.set_xlim(-0.5, len(CRITERIA) - 0.5)
    axes.grid(False, axis="x")
    axes.set_xlabel("Selection criterion")
    axes.set_ylabel("Unseen domains, mIoU (%)")
    legend(figure, axes)
    return Drawing(
        figure,
        "Mean mIoU over the unseen domains by selection criterion and estimator. Small points: individual seeds. "
        + selection.conditions(run for run in selection.records if run.method in (*NAMES.values(), *ends)),
        selection.lacks(NAMES.values()),
    )  # fmt: skip


FIGURE = Figure("Selection criteria by estimator (FisherTune, Figure 5)", draw)
