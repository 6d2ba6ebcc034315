"""The section of results/performance/README.md that shows the measurements on a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tabulate import tabulate

FILE = Path(__file__).resolve().parents[2] / "results/performance/gpu.json"
NONE = (
    "\n## GPU\n\nNo measurement on a GPU is recorded yet; `tox -e gpu` makes one in eight minutes, without data or "
    "network.\n"
)
HEADS = (
    "method", "step", "to Full", "peak memory", "to Full", "plan", "estimate step", "to Full's step", "choice",
    "estimate to Full's run", "evaluation",
)  # fmt: skip


def read() -> dict[str, Any] | None:
    """Return the recorded measurements; None if there are none."""
    found: dict[str, Any] | None = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else None
    return found


def section(found: dict[str, Any] | None) -> str:
    """Return the section in Markdown; without measurements, which command makes them."""
    if found is None:
        return NONE
    rows = [_row(row) for row in found["rows"] if "label" in row]
    table = tabulate(rows, HEADS, "pipe", disable_numparse=True, colalign=("left", *["right"] * (len(HEADS) - 1)))
    lines = [
        "", "## GPU", "", _conditions(found), "", table, "",
        "Step: median of a training step. Peak memory: of allocated GPU memory while training, without the estimate. "
        "Plan: what `python -m benchmark plan` estimates for the whole run. Estimate step: of an estimate before "
        "tuning, on one batch. Choice: of the weights to train, once. Estimate to Full's run: the whole estimate with "
        "its choice, divided by all iterations of Full. Evaluation: frames per second in sliding windows, in float32.",
        "", _fits(found["fits"]), "", _float32(found.get("float32", {})),
    ]  # fmt: skip
    errors = {row["method"]: row["error"] for row in found["rows"] if "error" in row} | found["errors"]
    lines += ["", "Incomplete:", "", *(f"- {what}: {error}" for what, error in errors.items())] if errors else []
    lines += (
        ["", f"Not reached within the time limit: {', '.join(missing)}."] if (missing := found["not_reached"]) else []
    )
    return "\n".join(lines) + "\n"


def _conditions(found: dict[str, Any]) -> str:
    facts, settings = found["machine"], found["settings"]
    height, width = settings["frame"]
    memory = f", {facts['accelerator_bytes'] / 1e9:.0f} GB" if facts["accelerator_bytes"] else ""
    commit = (found["commit"] or "unknown")[:10]
    return (
        f"{facts['accelerator'] or facts['processor']}{memory}; torch {facts['versions']['torch']}, CUDA "
        f"{facts['cuda'] or 'none'}, driver {facts['driver'] or 'unknown'}; commit {commit}. {settings['backbone']} "
        f"and {settings['decoder']} with random weights, {settings['batch']} made-up images of {settings['crop']} x "
        f"{settings['crop']}, {settings['precision']}; evaluation of {width} x {height}. Measured by `tox -e gpu`."
    )


def _row(row: dict[str, Any]) -> list[str]:
    ratios, estimate = row["to_full"], row.get("estimate", {})
    rate = row.get("evaluation", {}).get("images_per_second")
    return [
        row["label"],
        _seconds(row.get("step_seconds")), _number(ratios.get("step")),
        _gigabytes(row.get("peak_bytes")), _number(ratios.get("peak")),
        _gigabytes(row.get("planned_bytes")),
        _seconds(estimate.get("step_seconds")), _number(ratios.get("estimate_step")),
        _seconds(row.get("select_seconds")), _number(ratios.get("estimate_of_run"), "{:.4f}"),
        _number(rate, "{:.2f}/s"),
    ]  # fmt: skip


def _fits(found: dict[str, Any]) -> str:
    if "skipped" in found:
        return f"Memory: {found['skipped']}."
    rule = "counting 10 % more than the peak and 1.5 GB for libraries"
    if not found["too_large"]:
        first = f"the first to exceed it would be {found['first']}" if found["first"] else "nothing exceeds it"
        return f"Everything measured fits in {found['card_bytes'] / 1e9:.0f} GB, {rule}; {first}."
    listed = ", ".join(f"{what} ({peak / 1e9:.1f} GB)" for what, peak in found["too_large"].items())
    return f"Does not fit in {found['card_bytes'] / 1e9:.0f} GB, {rule}, smallest first: {listed}."


def _float32(found: dict[str, Any]) -> str:
    if "largest" not in found:
        return f"Equality with the CPU was not measured: {found.get('skipped', 'see below')}."
    listed = ", ".join(f"{name} {value:.1e}" for name, value in found["relative_differences"].items())
    return (
        f"One float32 step of {found['method']} on the GPU and on the CPU ({found['backbone']}, {found['crop']} x "
        f"{found['crop']}): relative differences of losses and gradients: {listed}."
    )


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{1000 * value:.0f} ms" if value < 10 else f"{value:.1f} s"


def _gigabytes(value: float | None) -> str:
    return _number(value and value / 1e9, "{:.1f} GB")


def _number(value: float | None, form: str = "{:.2f}") -> str:
    return "" if value is None else form.format(value)
