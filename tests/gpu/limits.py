"""What the measurements are compared with: 24 GB, full fine-tuning, and the plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.parameters.counting import architecture
from benchmark.plan import costs
from benchmark.plan.verdict import RESERVE, SPARE
from benchmark.runs.job import Job
from benchmark.runs.spec import RunSpec
from tests.gpu.measure import Row
from tests.gpu.sizes import CLASSES, Size

CARD = 24e9
FULL = "full"


def needed(peak: float) -> float:
    """Return the bytes that a GPU must have for a peak of allocated memory, by the rule of ``plan``."""
    return SPARE * peak + RESERVE


def first_too_large(rows: list[Row], batches: dict[int, int | None]) -> dict[str, Any]:
    """Return what would not fit in 24 GB.

    Args:
        rows: of the methods, with their peaks.
        batches: peak of full fine-tuning by batch size.

    Returns:
        ``first`` in words, the smallest too large one; if everything fits, the smallest too large batch of full
        fine-tuning, on a line through two measured ones. ``too_large``: the peaks of all of them, in ascending order.
        Without peaks, why there are none.
    """
    peaks = {what: peak for row in rows for what, peak in _peaks(row)}
    lines = sorted((batch, peak) for batch, peak in batches.items() if peak is not None)
    if not peaks and not lines:
        return {"skipped": "no peak was measured"}
    too_large = {what: peak for what, peak in sorted(peaks.items(), key=lambda item: item[1]) if needed(peak) > CARD}
    found: dict[str, Any] = {"card_bytes": CARD, "too_large": too_large, "first": next(iter(too_large), None)}
    if not too_large and len(lines) >= 2:
        (a, low), (b, high) = lines[0], lines[-1]
        batch = a
        while high > low and needed(low + (high - low) * (batch - a) / (b - a)) <= CARD:
            batch += 1
        found["first"] = f"{FULL}, batch {batch}" if high > low else None
    return found


def _peaks(row: Row) -> list[tuple[str, int]]:
    parts = {
        "training": row.get("peak_bytes"),
        "estimate": row.get("estimate", {}).get("peak_bytes"),
        "evaluation": row.get("evaluation", {}).get("peak_bytes"),
    }
    return [(f"{row['method']}, {part}", peak) for part, peak in parts.items() if peak is not None]


def to_full(row: Row, full: Row, iterations: int) -> dict[str, float]:
    """Return a method's measurements divided by those of full fine-tuning, as far as both exist.

    ``step``, ``peak``, ``estimate_peak`` and ``images_per_second`` are divided by the same of full fine-tuning (the
    peak of an estimate by that of training); ``estimate_step`` and ``select`` by its step; ``estimate_of_run``, the
    whole estimate with its choice, by its ``iterations`` steps.
    """
    found: dict[str, float | None] = {
        "step": _ratio(row.get("step_seconds"), full.get("step_seconds")),
        "peak": _ratio(row.get("peak_bytes"), full.get("peak_bytes")),
        "images_per_second": _ratio(*(each.get("evaluation", {}).get("images_per_second") for each in (row, full))),
        "select": _ratio(row.get("select_seconds"), full.get("step_seconds")),
    }
    if (estimate := row.get("estimate")) is not None:
        seconds = estimate["steps_of_run"] * estimate["step_seconds"] + row.get("select_seconds", 0.0)
        found["estimate_step"] = _ratio(estimate["step_seconds"], full.get("step_seconds"))
        found["estimate_peak"] = _ratio(estimate["peak_bytes"], full.get("peak_bytes"))
        found["estimate_of_run"] = _ratio(seconds / iterations, full.get("step_seconds"))
    return {name: ratio for name, ratio in found.items() if ratio is not None}


def _ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def add_plans(size: Size, rows: Sequence[Row]) -> None:
    """Write into each row the memory that ``plan`` estimates for the whole run, ``planned_bytes``."""
    backbone = architecture(size.backbone)
    decoder = costs.decoder_cost(size.protocol, backbone, CLASSES)
    for row in rows:
        job = Job(RunSpec(size.protocol, size.backbone, row["method"], 0), None, Path())
        row["planned_bytes"] = round(costs.cost(job, backbone, decoder, {}).memory)
