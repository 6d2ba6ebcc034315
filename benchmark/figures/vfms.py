"""Figure 2 of the paper: methods by foundation model, and their mean."""

from __future__ import annotations

from benchmark.figures._figure import Drawing, Figure, Selection, compared, percent
from benchmark.figures._style import COLUMN, PAGE, canvas, colour
from benchmark.tables import Cell

ROW, EDGES = 0.17, 0.55
"""Heights in inches: of one bar, and of everything above and below the bars."""


def draw(selection: Selection) -> Drawing:
    """Draw a panel per foundation model with a bar per method; with several models, also a panel of their mean.

    Raises:
        NothingToDrawError: no method to compare.
    """
    methods, backbones = compared(selection, "--all --backbone NAME"), selection.backbones()
    columns = {backbone: _column(selection, methods, [backbone]) for backbone in backbones}
    if len(backbones) > 1:
        columns["Mean"] = _column(selection, methods, backbones)
    figure = canvas(COLUMN if len(columns) < 3 else PAGE, EDGES + ROW * len(methods))
    panels = figure.subplots(1, len(columns), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (title, cells) in zip(panels, columns.items(), strict=True):
        rows = [row for row, method in enumerate(methods) if method in cells]
        shown = [cells[methods[row]] for row in rows]
        means = [cell.mean or 0.0 for cell in shown]
        axes.barh(rows, means, height=0.76, color=[colour(methods[row]) for row in rows])
        for row, cell, mean in zip(rows, shown, means, strict=True):
            if cell.spread is not None:
                axes.errorbar(mean, row, xerr=cell.spread, color="black", elinewidth=0.7, capsize=1.5)
            text = f"{mean:.1f}" if cell.spread is None else f"{mean:.1f} ± {cell.spread:.1f}"
            axes.text(0.02, row, text, transform=axes.get_yaxis_transform(), color="white", va="center", fontsize=6)
        axes.set_title(title)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(methods)), [selection.label(method) for method in methods])
    panels[0].set_ylim(len(methods) - 0.4, -0.6)
    figure.supxlabel("Unseen domains, mIoU (%)", fontsize=7)
    gaps = [f"{name} on {title}" for title, cells in columns.items() for name in methods if name not in cells]
    note = " Mean: over foundation models, for the seeds common to all of them." if len(backbones) > 1 else ""
    return Drawing(
        figure,
        "Mean mIoU over the unseen domains by method and foundation model." + note + " "
        + selection.conditions(run for run in selection.records if run.method in methods),
        [*gaps, *selection.passed_over()],
    )  # fmt: skip


def _column(selection: Selection, methods: list[str], backbones: list[str]) -> dict[str, Cell]:
    """Return each method's score over seeds, averaged over the backbones, for seeds that all backbones have."""
    found = {}
    for method in methods:
        runs = [selection.runs(method, backbone) for backbone in backbones]
        common = sorted(set.intersection(*(set(each) for each in runs)))
        if common:
            found[method] = Cell.over([sum(percent(each[seed]) for each in runs) / len(runs) for seed in common])
    return found


FIGURE = Figure("Methods by foundation model (FisherTune, Figure 2)", draw, across=True)
