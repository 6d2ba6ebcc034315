"""What the benchmarks measured, held against what is aimed at: results/performance.

``python -m tests.benchmarks.summary FILE...`` takes what ``tox -e speed -- --benchmark-json FILE`` wrote, of one run or
of several that complete each other, keeps what is no one's private affair in ``measured.yaml``, and writes the page;
without files it writes the page anew.
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

FOLDER = Path(__file__).resolve().parents[2] / "results/performance"
MEASURED, PAGE = FOLDER / "measured.yaml", FOLDER / "README.md"
KEPT = ("operations", "bytes", "memory", "held", "beside")
HEAD = """# Measured speed and memory

Ratios of one machine, measured by `tox -e speed` and written by `python -m tests.benchmarks.summary`; of each test the
fastest round counts. Ours and the other compute the same numbers, which tests see at this size or at a smaller one.
What misses its aim stands here, too. This is one run on an otherwise idle machine; memory of whole runs was measured
again later. Steps and the plain ones take turns; other differences of a few per cent mean nothing.

"""
Tests = dict[str, dict[str, Any]]


def collected(files: list[Path]) -> dict[str, Any]:
    """Return what is kept of files of pytest-benchmark: this machine, this version, seconds and counts of each test."""
    tests: Tests = {}
    for file in files:
        for each in json.loads(file.read_text(encoding="utf-8"))["benchmarks"]:
            kept = {name: each["extra_info"][name] for name in KEPT if name in each["extra_info"]}
            stats = each["stats"]
            tests[each["name"]] = {
                "seconds": _short(stats["min"]), "median": _short(stats["median"]), "rounds": stats["rounds"], **kept
            }  # fmt: skip
    tests |= {f"records[{method}]": _runs(method) for method in ("full", "fishertune")}
    described = {**machine.describe(1), "versions": machine.versions()}
    return {"machine": described, "tests": dict(sorted(tests.items()))}


def _runs(method: str) -> dict[str, Any]:
    """Return what the committed runs of the embedded default took of processor time."""
    files = sorted((FOLDER.parent / "streets/vit-tiny-streets" / method).glob("seed*.json"))
    seconds = [read(file).cpu_seconds for file in files]
    return {"seconds": _short(min(seconds)), "median": _short(median(seconds)), "rounds": len(seconds)}


def page(measured: dict[str, Any]) -> str:
    """Return the page, in Markdown."""
    tests: Tests = measured["tests"]
    heads = ["", "against", "ratio", "aim", "met", "times its bound"]
    rows = [row(aim, tests) for aim in AIMS]
    notes = list(dict.fromkeys(aim.note for aim in AIMS if aim.note and not met(aim, tests)))
    text = HEAD + _machine(measured) + _table(heads, rows)
    text += "\nTimes its bound: the time over what its matrix products and convolutions take at the rate of a large "
    text += "product, or its bytes at the rate of a copy.\n"
    text += "".join(f"\n- {note}" for note in notes) + ("\n" if notes else "")
    return text + "\n## Growth\n" + "".join(_growth(growth, tests) for growth in GROWTH)


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
    """Return what was measured in the aim's terms; None if a test is missing."""
    value = {"rate": "median"}.get(aim.kind, "seconds" if aim.of == "time" else "memory")  # scenes differ
    if aim.ours not in tests or (aim.theirs and aim.theirs not in tests):
        return None
    ours = float(tests[aim.ours][value])
    if not aim.theirs:
        return 1 / ours if aim.kind == "rate" else ours
    if aim.of == "time" and "beside" in tests[aim.theirs]:
        ours = float(tests[aim.theirs]["beside"])  # of ours, in turns with theirs
    theirs = float(tests[aim.theirs][value])
    return theirs / ours if aim.kind == "at least" else ours / theirs


def met(aim: Aim, tests: Tests) -> bool:
    """Return whether an aim is met, to the digits that the page shows."""
    reached = ratio(aim, tests)
    if reached is None:
        return False
    return round(reached, 2) <= aim.aim if aim.kind in ("at most", "seconds") else round(reached, 2) >= aim.aim


def _machine(measured: dict[str, Any]) -> str:
    told, tests = measured["machine"], measured["tests"]
    versions = ", ".join(f"{name} {told['versions'][name]}" for name in ("python", "torch", "timm", "peft"))
    product, copy = (tests[name] for name in ("test_matrix_product", "test_copy"))
    return (
        f"{told['processor']}, {told['cores']} cores, {told['memory_bytes'] / 2**30:.0f} GB, {told['system']}; "
        f"{versions}. One core does {product['operations'] / product['seconds'] / 1e9:.0f} GFLOP/s in a large matrix "
        f"product and moves {copy['bytes'] / copy['seconds'] / 1e9:.0f} GB/s in a copy.\n\n"
    )


def _bound(tests: Tests, name: str, floor: str = "") -> str:
    """Return how many times as long a test takes as its floor, or as its arithmetic or its bytes would."""
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
    heads = [growth.size, "time", "memory", "times its bound", "parameters' memory"][: len(rows[0])]
    return f"\n{growth.title}. {growth.bound}\n\n" + _table(heads, rows)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    return tabulate(rows, heads, "pipe", disable_numparse=True) + "\n"


def _short(seconds: float) -> float:
    return float(f"{seconds:.4g}")


def main(files: list[Path]) -> None:
    """Write both files, or the page alone."""
    FOLDER.mkdir(exist_ok=True)
    if files:
        MEASURED.write_text(yaml.safe_dump(collected(files), sort_keys=False), encoding="utf-8")
    PAGE.write_text(page(yaml.safe_load(MEASURED.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
