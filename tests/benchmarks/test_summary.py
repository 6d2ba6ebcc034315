"""The committed page matches the committed measurements, and every target names an existing test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.benchmarks.aims import AIMS, GROWTH, Aim
from tests.benchmarks.summary import MEASURED, PAGE, collected, met, page, ratio
from tests.gpu.page import read

AGAIN = "regenerate it with: python -m tests.benchmarks.summary"


def test_the_page_matches_the_measurements() -> None:
    measured = yaml.safe_load(MEASURED.read_text(encoding="utf-8"))
    assert PAGE.read_text(encoding="utf-8") == page(measured, read()), AGAIN


def test_every_target_was_measured_except_detectron2s() -> None:
    tests = yaml.safe_load(MEASURED.read_text(encoding="utf-8"))["tests"]
    missing = {aim.against for aim in AIMS if ratio(aim, tests) is None}
    assert missing <= {"detectron2"}
    for growth in GROWTH:
        assert all(f"{growth.test}[{size}]" in tests for size in growth.sizes)


def test_every_missed_target_has_a_note() -> None:
    tests = yaml.safe_load(MEASURED.read_text(encoding="utf-8"))["tests"]
    assert [aim.what for aim in AIMS if ratio(aim, tests) is not None and not met(aim, tests) and not aim.note] == []


@pytest.mark.parametrize(
    ("kind", "theirs", "expected", "reached"),
    [("at most", "b", 0.5, True), ("at least", "b", 2.0, True), ("seconds", "", 1.0, False), ("rate", "", 1.0, True)],
)
def test_ratios_of_every_kind(kind: str, theirs: str, expected: float, reached: bool) -> None:
    aim = Aim("", "", "a", theirs, 0.5 if kind in ("seconds", "at most") else 1.0, kind)  # type: ignore[arg-type]
    tests = {"a": {"seconds": 1.0, "median": 1.0}, "b": {"seconds": 2.0, "median": 2.0}}
    assert ratio(aim, tests) == expected
    assert met(aim, tests) is reached
    assert ratio(aim, {}) is None


def test_data_that_identify_the_machine_are_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    one = {
        "name": "a",
        "extra_info": {"memory": 7, "place": str(tmp_path)},
        "stats": {"min": 1, "median": 2, "rounds": 3},
    }
    file.write_text(json.dumps({"machine_info": {"node": "mine"}, "benchmarks": [one]}))
    found = collected([file])
    runs = {name: found["tests"].pop(name) for name in set(found["tests"]) - {"a"}}
    assert set(runs) <= {"records[full]", "records[fishertune]"}
    assert all(run["rounds"] >= 3 and run["seconds"] > 10 for run in runs.values())
    assert found["tests"] == {"a": {"seconds": 1.0, "median": 2.0, "rounds": 3, "memory": 7}}
    assert set(found["machine"]) == {
        "system", "processor", "cores", "threads", "memory_bytes", "accelerator", "versions",
    }  # fmt: skip
