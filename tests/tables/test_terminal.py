"""Tables on a terminal at several widths."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark import tables
from benchmark.common.terminal import length
from benchmark.records import Record, read_all
from benchmark.tables import agreement, terminal
from benchmark.tables.layout import Table
from tests.tables.made import kept

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return read_all(ROOT / "results", verify=False)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Table:
    root = tmp_path_factory.mktemp("records")
    made = [kept(root, "streets-to-photos", "dinov2-s-saliency", method) for method in ("full", "random", "fishertune")]
    (found,) = tables.build([record for records in made for record in records], "streets-to-photos")
    return found


@pytest.mark.parametrize(
    ("room", "left"),
    [
        (80, {"Trainable (M)", "Source", "LabelMeFacade", "CPU-s"}),
        (100, {"Trainable (M)", "Source", "CPU-s"}),
        (120, {"Trainable (M)"}),
        (300, set()),
    ],
)
def test_a_table_fits_and_names_the_columns_left_out(room: int, left: set[str], wide: Table) -> None:
    lines = terminal.text(wide, room, "widen it").splitlines()
    assert max(map(length, lines)) <= room
    heads = next(line for line in lines if line.startswith("Method "))
    assert {column.head for column in wide.columns if column.head not in heads} == left
    note = " ".join(" ".join(lines).split()).partition("Left out to fit")[2].partition("; widen it.")[0]
    assert set(note.partition(": ")[2].split(", ")) - {""} == left
    for row in wide.rows:  # on one line each, with its number in every column left
        (line,) = [line for line in lines if line.startswith(f"{row.label}  ")]
        for cell, column in zip(row.cells, wide.columns, strict=True):
            if cell.mean is not None and column.head not in left:
                assert f" {cell.mean:.{column.decimals}f}" in line


def test_long_names_are_printed_above_their_numbers(records: list[Record]) -> None:
    made = agreement.build(records)
    lines = terminal.text(made, 80).splitlines()
    assert max(map(length, lines)) <= 80
    assert not any("Left out" in line for line in lines)
    place = lines.index(made.rows[0].label)
    assert lines[place + 1].split()[0] == f"{made.rows[0].cells[0].mean:.2f}"


def test_piped_output_is_complete_markdown(wide: Table, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show([wide])
    assert capsys.readouterr().out == tables.markdown(wide) + "\n"
