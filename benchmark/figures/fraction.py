"""How much to tune (the paper's appendix C): a method at several shares of the backbone's weights."""

from __future__ import annotations

from benchmark.figures._figure import Drawing, Figure, Selection, percent, require
from benchmark.figures._style import COLUMN, canvas, legend, level, marks, point
from benchmark.records import Record

SHARE, START = "share", "share_start"
"""The settings that a variant may differ in: how much is tuned, and how much of that from the beginning."""
ENDS = ("full", "freeze")


def draw(selection: Selection) -> Drawing:
    """Draw the average over unseen domains over the tuned share, a line for each method that has several.

    Raises:
        NothingToDrawError: no method has runs of more than one share.
    """
    sweeps, doubled = _sweeps(selection)
    require(list(sweeps), "one method at two shares or more", "--methods fishertune --set fishertune.share=0.1")
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
    axes.set_xlabel("Tuned share of the backbone's weights (%)")
    axes.set_ylabel("Unseen domains, mIoU (%)")
    legend(figure, axes)
    return Drawing(
        figure,
        "mIoU in unseen domains (their mean) by the share of the backbone's weights that is tuned; small points: "
        "single seeds. " + selection.conditions(drawn),
        [*(f"{name} (the same share as another)" for name in doubled), *selection.lacks(_names(sweeps))],
    )  # fmt: skip


def _names(sweeps: dict[str, dict[float, str]]) -> list[str]:
    return [name for variants in sweeps.values() for name in variants.values()]


def _sweeps(selection: Selection) -> tuple[dict[str, dict[float, str]], list[str]]:
    """Return, by method, its variants by share; and what has the share of a variant with fewer given settings."""
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


FIGURE = Figure("Score by tuned share (FisherTune, appendix C)", draw)
