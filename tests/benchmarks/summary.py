"""Writes results/performance: benchmark results compared with their targets.

``python -m tests.benchmarks.summary FILE...`` reads the output of ``tox -e speed -- --benchmark-json FILE``, of one run
or of several that complement each other, writes the results without private data to ``measured.yaml``, and writes the
page. Without files it regenerates the page. The section on GPUs comes from ``gpu.json``, which ``tox -e gpu`` writes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from tabulate import tabulate

from benchmark.common import machine
from benchmark.records import read
from tests.benchmarks.aims import AIMS, GROWTH, Aim, Growth
from tests.gpu.page import read as read_gpu
from tests.gpu.page import section

FOLDER = Path(__file__).resolve().parents[2] / "results/performance"
MEASURED, PAGE = FOLDER / "measured.yaml", FOLDER / "README.md"
KEPT = ("operations", "bytes", "memory", "held", "beside")
HEAD = """# Measured speed and memory

Ratios on one machine, measured by `tox -e speed` and written by `python -m tests.benchmarks.summary`, from the fastest
round of each test. Both sides compute the same numbers; tests check this at the same or a smaller size. Missed targets
are shown too. The results are from one run on an otherwise idle machine; the last few steps on a ViT-B and the tables
are from an earlier one, rendering and the start of runs from a later one, when the machine was faster. Our steps
alternate with the plain ones; in all other rows, differences of a few per cent are noise.

"""
Tests = dict[str, dict[str, Any]]


def collected(files: list[Path]) -> dict[str, Any]:
    """Return the data to keep from pytest-benchmark files: machine, versions, and seconds and counts of each test."""
    tests: Tests = {}
    for file in files:
        for each in json.loads(file.read_text(encoding="utf-8"))["benchmarks"]:
            kept = {name: each["extra_info"][name] for name in KEPT if name in each["extra_info"]}
            stats = each["stats"]
            tests[each["name"]] = {
                "seconds": _short(stats["min"]), "median": _short(stats["median"]), "rounds": stats["rounds"], **kept
            }  # fmt: skip
    described = {**machine.describe(1), "versions": machine.versions()}
    return {"machine": described, "tests": dict(sorted(tests.items()))}


def of_records() -> Tests:
    """Return the CPU time of the runs that the page compares, from the committed records as they are now."""
    runs = {f"records[{method}]": _runs(method) for method in ("full", "fishertune")}
    return {name: found for name, found in runs.items() if found}


def _runs(method: str) -> dict[str, Any]:
    """Return the CPU time of a method's committed runs on the default protocol; empty without such runs."""
    files = sorted((FOLDER.parent / "streets/vit-tiny-streets" / method).glob("seed*.json"))
    seconds = [read(file).cpu_seconds for file in files]
    if not seconds:
        return {}
    return {"seconds": _short(min(seconds)), "median": _short(median(seconds)), "rounds": len(seconds)}


def page(measured: dict[str, Any], gpu: dict[str, Any] | None) -> str:
    """Return the page in Markdown, given the measurements of ``tox -e speed`` and, if there are any, on a GPU."""
    tests: Tests = measured["tests"]
    heads = ["", "against", "ratio", "target", "met", "time / bound"]
    rows = [row(aim, tests) for aim in AIMS]
    notes = list(dict.fromkeys(aim.note for aim in AIMS if aim.note and not met(aim, tests)))
    text = HEAD + _machine(measured) + _table(heads, rows)
    text += (
        "\nTime / bound: measured time divided by the time of its matrix products and convolutions at the rate of a "
    )
    text += "large product (arithmetic), of its memory traffic at the rate of a copy (bytes), or of decoding the files "
    text += "(decoding).\n"
    text += "".join(f"\n- {note}" for note in notes) + ("\n" if notes else "")
    return text + section(gpu) + "\n## Growth\n" + "".join(_growth(growth, tests) for growth in GROWTH)


def row(aim: Aim, tests: Tests) -> list[str]:
    """Return one row of the first table."""
    reached = ratio(aim, tests)
    sign = "≤" if aim.kind in ("at most", "seconds") else "≥"
    unit = {"rate": "/s", "seconds": " s", "at least": "×", "at most": ""}[aim.kind]
    words = aim.what + (", peak memory" if aim.of == "memory" else "")
    if reached is None:
        return [words, aim.against, "not measured", f"{sign} {aim.aim:g}{unit}", "", ""]
    figure = f"{reached:.0f}" if reached >= 20 else f"{reached:.2f}"
    return [
        words, aim.against, figure + unit, f"{sign} {aim.aim:g}{unit}", "yes" if met(aim, tests) else "no",
        _bound(tests, aim.ours, aim.floor) if aim.of == "time" else "",
    ]  # fmt: skip


def ratio(aim: Aim, tests: Tests) -> float | None:
    """Return the measured value to compare with the target; None if a test is missing."""
    value = {"rate": "median"}.get(aim.kind, "seconds" if aim.of == "time" else "memory")  # scenes differ
    if aim.ours not in tests or (aim.theirs and aim.theirs not in tests):
        return None
    ours = float(tests[aim.ours][value])
    if not aim.theirs:
        return 1 / ours if aim.kind == "rate" else ours
    if aim.of == "time" and "beside" in tests[aim.theirs]:
        ours = float(tests[aim.theirs]["beside"])  # our time, measured in alternation with theirs
    theirs = float(tests[aim.theirs][value])
    return theirs / ours if aim.kind == "at least" else ours / theirs


def met(aim: Aim, tests: Tests) -> bool:
    """Return whether a target is met, to the digits shown on the page."""
    reached = ratio(aim, tests)
    if reached is None:
        return False
    return round(reached, 2) <= aim.aim if aim.kind in ("at most", "seconds") else round(reached, 2) >= aim.aim


def _machine(measured: dict[str, Any]) -> str:
    facts, tests = measured["machine"], measured["tests"]
    versions = ", ".join(f"{name} {facts['versions'][name]}" for name in ("python", "torch", "timm", "peft"))
    product, copy = (tests[name] for name in ("test_matrix_product", "test_copy"))
    return (
        f"{facts['processor']}, {facts['cores']} cores, {facts['memory_bytes'] / 2**30:.0f} GB, {facts['system']}; "
        f"{versions}. One core reaches {product['operations'] / product['seconds'] / 1e9:.0f} GFLOP/s in a large "
        f"matrix product and {copy['bytes'] / copy['seconds'] / 1e9:.0f} GB/s in a copy.\n\n"
    )


def _bound(tests: Tests, name: str, floor: str = "") -> str:
    """Return a test's time divided by its lower bound: the ``floor`` test, or its arithmetic or bytes."""
    test = tests[name]
    if floor:
        what = floor.partition("[")[2].partition("-")[0]
        return f"{test['seconds'] / tests[floor]['seconds']:.1f} ({what})"
    for unit, best in (("operations", "test_matrix_product"), ("bytes", "test_copy")):
        if unit in test:
            least = test[unit] / tests[best][unit] * tests[best]["seconds"]
            return f"{test['seconds'] / least:.1f} ({'arithmetic' if unit == 'operations' else unit})" if least else ""
    return ""


def _growth(growth: Growth, tests: Tests) -> str:
    rows = []
    for size in growth.sizes:
        name = f"{growth.test}[{size}]"
        test = tests[name]
        time, memory = f"{1000 * test['seconds']:.0f} ms", f"{test['memory'] / 1e6:.0f} MB"
        computed = [_bound(tests, name), f"{test['held'] / 1e6:.0f} MB"] if "held" in test else []
        rows.append([size, time, memory, *computed])
    heads = [growth.size, "time", "memory", "time / bound", "parameters' memory"][: len(rows[0])]
    return f"\n{growth.title}. {growth.bound}\n\n" + _table(heads, rows)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    return tabulate(rows, heads, "pipe", disable_numparse=True) + "\n"


def _short(seconds: float) -> float:
    return float(f"{seconds:.4g}")


def main(files: list[Path]) -> None:
    """Write both files, or only the page if ``files`` is empty."""
    FOLDER.mkdir(exist_ok=True)
    measured = collected(files) if files else yaml.safe_load(MEASURED.read_text(encoding="utf-8"))
    measured["tests"] = dict(sorted((measured["tests"] | of_records()).items()))
    MEASURED.write_text(yaml.safe_dump(measured, sort_keys=False), encoding="utf-8")
    PAGE.write_text(page(measured, read_gpu()), encoding="utf-8")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
