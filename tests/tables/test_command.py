"""``table``: what it refuses, and the formats that it writes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmark.common.errors import UserError
from benchmark.tables import command
from tests.records.made import stored
from tests.tables.made import kept


def run(
    records: Path, which: str = "main", output_format: str = "csv", methods: tuple[str, ...] = (), **options: bool
) -> str:
    output = records.parent / "table"
    command.run(
        records, which, output_format, output, name=None, backbone=None, methods=methods,
        published=options.get("published", False),
    )  # fmt: skip
    return output.read_text(encoding="utf-8")


def test_the_main_table_refuses_a_record_of_another_version_of_its_protocol(tmp_path: Path) -> None:
    found = stored(tmp_path / "records")  # it says streets, and its fields are made up
    with pytest.raises(UserError, match=r"not of protocol streets as it is now: \w+") as caught:
        run(tmp_path / "records")
    assert str(found.path) in str(caught.value)


def test_an_ablation_of_another_version_is_in_nobodys_way(tmp_path: Path) -> None:
    kept(tmp_path / "records", "streets", "vit-tiny-streets", "lora")
    stored(tmp_path / "records", "fim")
    text = run(tmp_path / "records")
    assert {each["method"] for each in csv.DictReader(text.splitlines())} == {"lora"}
    with pytest.raises(UserError, match="not of protocol streets"):
        run(tmp_path / "records", methods=("lora", "fim"))


def test_published_figures_and_methods_are_switches(tmp_path: Path) -> None:
    for method in ("rein", "fishertune"):
        kept(tmp_path / "records", "gtav-to-cbm", "dinov2-l", method, 1)
    assert "66.5" not in run(tmp_path / "records")
    text = run(tmp_path / "records", methods=("fishertune",), published=True)
    averages = [each for each in csv.DictReader(text.splitlines()) if each["column"] == "Avg."]
    assert [(each["method"], each["published"]) for each in averages] == [("fishertune", "66.5")]


@pytest.mark.parametrize(("output_format", "sign"), [("latex", r"\toprule"), ("markdown", "|:--"), ("html", "<table>")])
@pytest.mark.parametrize("which", ["main", "1"])
def test_every_format_is_written(tmp_path: Path, output_format: str, sign: str, which: str) -> None:
    kept(tmp_path / "records", "gtav-to-cbm", "dinov2-l", "rein", 1)
    assert sign in run(tmp_path / "records", which, output_format)


def test_a_table_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    kept(tmp_path / "records", "gtav-to-cbm", "dinov2-l", "rein", 1)
    (tmp_path / "table").mkdir()
    with pytest.raises(UserError, match=r"cannot be written: .* give another --output"):
        run(tmp_path / "records")
