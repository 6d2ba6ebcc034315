"""``python -m benchmark table``: errors and output formats."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import options
from benchmark.common.errors import UserError
from benchmark.records import read_all
from benchmark.records.store import COMMITTED
from benchmark.tables import command
from benchmark.tables.beside import expanded
from tests.records.made import stored
from tests.tables.made import kept


def run(
    records: Path, which: str = "main", output_format: str = "csv", methods: tuple[str, ...] = (), **options: Any
) -> str:
    output = records.parent / "table"
    command.run(
        records, which, output_format, output, name=None, backbone=None, methods=methods,
        **{"published": False, **options},
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


def test_two_columns_are_for_latex_alone(tmp_path: Path) -> None:
    kept(tmp_path / "records", "gtav-to-cbm", "dinov2-l", "rein", 1)
    assert "{table*}" in run(tmp_path / "records", output_format="latex", columns=2)
    with pytest.raises(UserError, match=r"^--columns: only for --format latex, not csv"):
        run(tmp_path / "records", columns=2)


def test_a_table_without_runs_says_so_and_shows_only_what_is_published(tmp_path: Path) -> None:
    kept(tmp_path / "records", "gtav-to-cbm", "dinov2-l", "rein", 1)
    found = read_all(tmp_path / "records")
    (table, *_) = command.select(found, "4", published=True)
    assert "published numbers only, no run of this suite" in table.caption
    assert [column.head for column in expanded(table).columns] == [column.head for column in table.columns[:-1]]
    (table,) = command.select(found, "1", published=True)
    assert "published numbers only" not in table.caption


def test_without_own_records_the_committed_ones_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert options.shown(options.RUNS) == COMMITTED
    assert capsys.readouterr().err == f"runs: no records yet; showing the suite's own, in {COMMITTED}\n"
    assert options.shown(Path("other")) == Path("other")
    kept(tmp_path / "runs", "streets", "vit-tiny-streets", "lora")
    assert options.shown(options.RUNS) == options.RUNS
    assert capsys.readouterr().err == ""
