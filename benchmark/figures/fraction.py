"""Appendix C of the paper: methods with different fractions of tuned backbone weights."""

from __future__ import annotations

from benchmark.figures._figure import Drawing, Figure, Selection, percent, require
from benchmark.figures._style import COLUMN, canvas, legend, level, marks, point
from benchmark.records import Record

SHARE, START = "share", "share_start"
"""The hyperparameters a variant may differ in: the tuned fraction, and the fraction tuned from the start."""
ENDS = ("full", "freeze")


def draw(selection: Selection) -> Drawing:
    """Draw the mean mIoU over unseen domains against the tuned fraction, a line per method with several fractions.

    Raises:
        NothingToDrawError: no method has runs with more than one fraction.
    """
    sweeps, doubled = _sweeps(selection)
    require(list(sweeps), "a method at two or more fractions", "--methods fishertune --set fishertune.share=0.1")
    figure = canvas(COLUMN, 2.1)
    axes = figure.subplots()
    drawn: list[Record] = []
    for method, mark in marks(sweeps).items():
        variants = sweeps[method]
        means = []
        for share in sorted(variants):
            runs = list(selection.runs(variants[share]).values())
            values = [percent(run) for run in runs]
            point(axes, 100 * share, values, mark, runs[0].label.partition("[")[0])
            means.append(sum(values) / len(values))
            drawn += runs
        axes.plot([100 * share for share in sorted(variants)], means, color=mark.colour, linewidth=0.8, zorder=1)
    for name in ENDS:
        runs = list(selection.runs(name).values())
        if runs:
            level(axes, [percent(run) for run in runs], selection.label(name), name)
            drawn += runs
    axes.set_xscale("log")
    shares = sorted({100 * share for variants in sweeps.values() for share in variants})
    axes.set_xticks(shares, [f"{share:g}" for share in shares])
    axes.minorticks_off()
    axes.set_xlabel("Tuned fraction of backbone weights (%)")
    axes.set_ylabel("Unseen domains, mIoU (%)")
    legend(figure, axes)
    return Drawing(
        figure,
        "Mean mIoU over the unseen domains by the tuned fraction of backbone weights. Small points: individual seeds. "
        + selection.conditions(drawn),
        [*(f"{name} (same fraction as another variant)" for name in doubled), *selection.lacks(_names(sweeps))],
    )  # fmt: skip


def _names(sweeps: dict[str, dict[float, str]]) -> list[str]:
    return [name for variants in sweeps.values() for name in variants.values()]


def _sweeps(selection: Selection) -> tuple[dict[str, dict[float, str]], list[str]]:
    """Return each method's variants by fraction, and the variants that repeat a fraction.

    Of variants with the same fraction, the one with the fewest given hyperparameters is kept.
    """
    found: dict[str, dict[float, str]] = {}
    doubled = []
    for record in sorted(selection.records, key=lambda record: (len(record.method), record.method)):
        name, _, given = record.method.partition("[")
        settings = {each.partition("=")[0] for each in given.rstrip("]").split(",") if each}
        share = record.settings.get(SHARE)
        if not isinstance(share, (int, float)) or settings - {SHARE, START}:
            continue
        first = found.setdefault(name, {}).setdefault(float(share), record.method)
        if first != record.method and record.method not in doubled:
            doubled.append(record.method)
    return {name: variants for name, variants in found.items() if len(variants) > 1}, doubled


FIGURE = Figure("mIoU by tuned fraction (FisherTune, appendix C)", draw)
