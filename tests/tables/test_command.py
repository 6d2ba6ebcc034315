"""``python -m benchmark table``: errors and output formats."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmark.common.errors import UserError
from benchmark.records import read_all
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
    found = stored(tmp_path / "records")  # named streets, with other protocol fields
    with pytest.raises(UserError, match=r"protocol streets: [\w.]+ is") as caught:
        run(tmp_path / "records")
    assert str(found.path) in str(caught.value)


def test_an_ablation_of_another_version_is_ignored_unless_requested(tmp_path: Path) -> None:
    kept(tmp_path / "records", "streets", "vit-tiny-streets", "lora")
    stored(tmp_path / "records", "fim")
    text = run(tmp_path / "records")
    assert {each["method"] for each in csv.DictReader(text.splitlines())} == {"lora"}
    with pytest.raises(UserError, match=r"fim/seed0\.json: .*protocol streets: [\w.]+ is"):
        run(tmp_path / "records", methods=("lora", "fim"))


def test_searches_and_checks_are_shown_only_alone_or_by_name(tmp_path: Path) -> None:
    root = tmp_path / "records"
    stored(root, "lora", protocol="other@tune")
    stored(root, "lora", protocol="other@check")
    assert {table.name.split("/")[0] for table in command.select(read_all(root), "main")} == {
        "other@check",
        "other@tune",
    }
    stored(root, "lora", protocol="other")
    (table,) = command.select(read_all(root), "main")
    assert table.name.startswith("other/")
    (table,) = command.select(read_all(root), "main", name="other@tune")
    assert table.name.startswith("other@tune/")


def test_published_figures_and_methods_are_options(tmp_path: Path) -> None:
    for method in ("rein", "fishertune"):
        kept(tmp_path / "records", "gtav-to-cbm", "dinov2-l", method, 1)
    assert "66.5" not in run(tmp_path / "records")
    text = run(tmp_path / "records", methods=("fishertune",), published=True)
    averages = [each for each in csv.DictReader(text.splitlines()) if each["column"] == "Avg."]
    assert [(each["method"], each["published"]) for each in averages] == [("fishertune", "66.5")]


@pytest.mark.parametrize(
    ("output_format", "sign"), [("latex", r"\toprule"), ("markdown", "|:--"), ("html", "<table>"), ("text", "───")]
)
@pytest.mark.parametrize("which", ["main", "1"])
def test_every_format_is_written(tmp_path: Path, output_format: str, sign: str, which: str) -> None:
    kept(tmp_path / "records", "gtav-to-cbm", "dinov2-l", "rein", 1)
    assert sign in run(tmp_path / "records", which, output_format)


def test_an_unwritable_output_is_an_error(tmp_path: Path) -> None:
    kept(tmp_path / "records", "gtav-to-cbm", "dinov2-l", "rein", 1)
    (tmp_path / "table").mkdir()
    with pytest.raises(UserError, match=r"table: .*--output"):
        run(tmp_path / "records")
