"""Tables say where and with what their runs were executed, if that differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark import tables
from benchmark.common.errors import UserError
from benchmark.figures._figure import Selection
from benchmark.figures.cost import FIGURE
from benchmark.leaderboard import board
from benchmark.records import Record, Segment
from benchmark.report import facts
from benchmark.tables import Table, command, executed
from benchmark.tables.runs import Runs
from tests.records.made import confusion, record, stored

HERE: dict[str, Any] = {"processor": "A", "threads": 1, "accelerator": None, "precision": "float32"}
VERSIONS = {"torch": "2.14.1", "timm": "1.0"}


def made(method: str, seed: int = 0, machine: dict[str, Any] = HERE, **changes: Any) -> Record:
    return record(confusion(0.8, seed), method, seed, **{"machine": machine, "versions": VERSIONS} | changes)


def table(*found: Record) -> Table:
    (made_table,) = tables.build(found)
    return made_table


def seconds(found: Table) -> list[float | None]:
    return [row.cells[-2].mean for row in found.rows]


def test_equal_conditions_need_no_note() -> None:
    found = table(made("lora"), made("full"), made("full", 1))
    assert not any("Computed" in note for note in found.notes)
    assert None not in seconds(found)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"versions": {**VERSIONS, "torch": "2.1.0"}}, "torch 2.1.0 (Lora); torch 2.14.1 (all others)"),
        ({"machine": {**HERE, "precision": "bf16"}}, "precision bf16 (Lora); precision float32 (all others)"),
        ({"commit": "d" * 40}, "commit ddddddd (Lora); commit ccccccc (all others)"),
        ({"commit": "c" * 40 + "+changes"}, "with uncommitted changes: Lora."),
    ],
)
def test_what_differs_is_named_with_the_rows(changes: dict[str, Any], named: str) -> None:
    found = table(made("full"), made("full", 1), made("lora", **changes))
    assert any(named in note for note in found.notes)
    assert None not in seconds(found)


@pytest.mark.parametrize("other", [{"processor": "B"}, {"threads": 8}, {"accelerator": "H200"}])
def test_there_is_no_cost_across_machines(other: dict[str, Any]) -> None:
    found = table(made("full"), made("full", 1), made("lora", 1, {**HERE, **other}), made("lora"))
    assert seconds(found) == [None, None]
    assert any("different machines" in note for note in found.notes)
    (name,) = other
    assert any(f"{name} {other[name]} (Lora seed 1)" in note for note in found.notes)


def test_no_other_page_compares_times_across_machines(tmp_path: Path) -> None:
    found = [stored(tmp_path, method, protocol="own", machine=HERE) for method in ("full", "lora")]
    other = stored(tmp_path, "lora", 1, protocol="own", machine={**HERE, "processor": "B"})
    for runs, known in ((found, True), ([*found, other], False)):
        lines = board.build("own", "vit-tiny-streets", runs).lines
        assert {line.entries[-2].value is not None for line in lines} == {known}
        sheet = facts.cost(Runs.of(runs))
        assert any("different machines" in note for note in sheet.notes) is not known
        assert {bool(entry.text) for row in sheet.groups[0].rows for entry in row[2:-2]} == {known}
        caption = FIGURE.draw(Selection(tuple(runs))).caption
        assert ("different machines" in caption) is not known


def test_what_older_records_do_not_state_is_not_compared() -> None:
    older = {name: value for name, value in HERE.items() if name != "precision"}
    assert not any("Computed" in note for note in table(made("full"), made("lora", machine=older)).notes)


def test_a_run_resumed_under_other_versions_is_noted() -> None:
    parts = [
        Segment(first=0, commit="c", versions={"torch": "2.1.0"}),
        Segment(first=120, commit="c", versions={"torch": "2.14.1"}),
    ]
    found = table(made("full"), made("lora", segments=parts))
    assert "Lora, seed 0, was resumed at iteration 120 under other conditions: torch 2.1.0 to 2.14.1." in found.notes


@pytest.mark.parametrize(("before", "after"), [("H200", None), (None, "H200")])
def test_a_run_resumed_on_another_machine_has_no_comparable_cost(before: str | None, after: str | None) -> None:
    first, last = ({**HERE, "accelerator": name} for name in (before, after))
    parts = [Segment(first=0, commit="c", machine=first), Segment(first=9, commit="c", machine=last)]
    found = table(made("full"), made("lora", machine=last, segments=parts))
    assert any(f"accelerator {before or 'none'} to {after or 'none'}" in note for note in found.notes)
    assert seconds(found) == [None, None]


def test_doubtful_scores_are_marked_and_explained() -> None:
    found = table(made("full"), made("lora", warnings=["the final loss is high"]))
    assert [row.label for row in found.rows] == ["Full", "Lora *"]
    assert "Lora, seed 0: the final loss is high." in found.notes


def test_strict_refuses_what_a_note_would_say(tmp_path: Path) -> None:
    options: dict[str, Any] = {"name": None, "backbone": None, "methods": (), "published": False, "strict": True}
    stored(tmp_path, "full", protocol="mine")
    command.run(tmp_path, "main", "markdown", tmp_path / "table.md", **options)
    stored(tmp_path, "lora", protocol="mine", versions={"python": "3.9"})
    with pytest.raises(UserError, match=r"--strict: mine, vit-tiny-streets: .*python 3\.9"):
        command.run(tmp_path, "main", "markdown", None, **options)
    with pytest.raises(UserError, match="only for --table main"):
        command.run(tmp_path, "1", "markdown", None, **options)


@pytest.mark.parametrize(("name", "value"), [("machine", {}), ("versions", {}), ("commit", None)])
def test_strict_refuses_what_is_not_stated(name: str, value: Any) -> None:
    stated = [made("full"), made("lora")]
    executed.require_same(Runs.of(stated))
    changes: dict[str, Any] = {name: value}
    with pytest.raises(UserError, match=f"--strict: .*No {name} is stated: Rein"):
        executed.require_same(Runs.of([*stated, made("rein", **changes)]))
    without_commit = [made(each.method, commit=None) for each in stated]
    executed.require_same(Runs.of(without_commit))
