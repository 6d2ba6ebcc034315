"""Difference in IoU by class between each method and a reference method."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.figures._figure import Drawing, Figure, Selection, require
from benchmark.figures._style import COLUMN, PAGE, canvas, cells, scale
from benchmark.records import Record

Floats = npt.NDArray[np.float64]
FEW = 7
"""Up to this many methods fit into one column of the page."""
ROW, FLAT, TILTED = 0.15, 0.4, 1.0
"""Heights in inches: of one class, and of the method names, horizontal or tilted."""


def draw(selection: Selection) -> Drawing:
    """Draw a heat map of IoU minus the reference's, classes by methods: means over target domains and common seeds.

    Raises:
        NothingToDrawError: no run of the reference, or no other method with a seed in common.
    """
    reference = selection.runs(selection.reference)
    require(list(reference), selection.reference, f"--methods {selection.reference}")
    others = [method for method in selection.methods() if method != selection.reference]
    common = {method: sorted(set(selection.runs(method)) & set(reference)) for method in others}
    methods = [method for method in others if common[method]]
    require(methods, f"another method with a seed of {selection.reference}", "--all")
    differences = {
        method: np.stack([_difference(selection.runs(method)[seed], reference[seed]) for seed in common[method]])
        for method in methods
    }
    classes = next(iter(reference.values())).target_classes()
    values = np.stack([each.mean(0) for each in differences.values()], axis=1)
    sure = np.stack([(each > 0).all(0) | (each < 0).all(0) for each in differences.values()], axis=1)
    reach = max(float(np.nanmax(np.abs(values))), 1e-9)
    crowded = len(methods) > 4
    figure = canvas(COLUMN if len(methods) <= FEW else PAGE, (TILTED if crowded else FLAT) + ROW * len(classes))
    axes = figure.subplots()
    image = cells(axes, values, cmap="PuOr", vmin=-reach, vmax=reach)
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            weight = "bold" if sure[row, column] and len(common[methods[column]]) > 1 else "normal"
            ink = "black" if _brightness(image.to_rgba(value)) > 0.42 else "white"
            axes.text(
                column, row, _signed(value), ha="center", va="center", fontsize=6, color=ink, fontweight=weight
            )  # fmt: skip
    axes.set_yticks(range(len(classes)), classes)
    labels = [selection.label(method) for method in methods]
    tilted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axes.set_xticks(range(len(methods)), labels, **tilted)
    label = selection.label(selection.reference)
    scale(figure, axes, image, aspect=30).set_label(f"IoU minus that of {label} (points)")
    drawn = [selection.runs(method)[seed] for method in methods for seed in common[method]]
    return Drawing(
        figure,
        f"IoU of each class minus that of {label} with the same seed, in points: means over unseen domains and seeds. "
        "Bold: the same sign for every seed (at least two). " + selection.conditions(drawn, spread=False),
        [
            *(f"{m} (no seed in common with {selection.reference})" for m in others if m not in methods),
            *selection.passed_over(),
        ],
    )  # fmt: skip


def _signed(value: float) -> str:
    text = f"{value:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def _brightness(colour: Any) -> float:
    """Return the luma of a colour, 0 to 1 (Rec. 709)."""
    return float(np.dot(colour[:3], (0.2126, 0.7152, 0.0722)))


def _difference(run: Record, other: Record) -> Floats:
    """Return the difference in IoU by class, in points: mean over domains where both have a value; NaN if none."""
    places = {name: place for place, name in enumerate(run.target_classes())}
    sums, counts = np.zeros(len(places)), np.zeros(len(places))
    for domain in run.targets:
        others = other.class_iou(domain)
        for name, mine in run.class_iou(domain).items():
            place, theirs = places[name], others[name]
            if mine is not None and theirs is not None:
                sums[place] += 100 * (mine - theirs)
                counts[place] += 1
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


FIGURE = Figure("IoU difference to a reference method, by class", draw)
