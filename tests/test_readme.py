"""README and results/README: commands exist, tables and the figure match the committed records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from matplotlib.testing.compare import compare_images
from PIL import Image

import benchmark
from benchmark import tables
from benchmark.records import read_all
from tests.cli.test_cli import ROOT, call, require_valid

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
TABLES = re.compile(r"<!-- table: (\S+) -->\n(.*?)<!-- end of table -->", re.DOTALL)
SHOWN = TABLES.findall(RESULTS)
PREFIX = ".venv/bin/python -m benchmark "


def commands() -> list[str]:
    lines = [part.split("#")[0].strip() for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
             for line in block.splitlines() for part in line.split("&&")]  # fmt: skip
    return sorted({line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)})


@pytest.mark.parametrize("line", commands())
def test_every_command_is_valid(line: str) -> None:
    require_valid(line)


def test_the_commands_were_found() -> None:
    assert {line.split()[0] for line in commands()} >= {"run", "table", "list", "data"}
    assert call("run", "--al", "--help").returncode == 2


def test_set_up_takes_one_command_each_for_run_and_tests() -> None:
    made = [block for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) if "venv .venv" in block]
    assert len(made) == 2
    assert all(len(block.strip().splitlines()) == 1 for block in made)
    assert "python -m benchmark run --all" in made[0]


def test_readme_is_short_and_shows_one_of_the_tables() -> None:
    assert len(README.splitlines()) <= 150
    (shown,) = TABLES.findall(README)
    assert shown in SHOWN


def test_the_citation_file_names_the_version_and_the_paper() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == benchmark.__version__
    (paper,) = cited["references"]
    assert paper["title"].startswith("FisherTune")
    assert all(f"{each['family-names']}, {each['given-names']}" in README for each in paper["authors"])


def test_a_table_is_shown_for_every_protocol_with_committed_results() -> None:
    assert SHOWN
    tools = ("@tune", "@tune-short", "@check", "@factors")  # searches, references of check, single factors (in NOTES)
    folders = {path.name for path in (ROOT / "results").iterdir() if path.is_dir() and not path.name.endswith(tools)}
    assert folders - {"stability", "figures", "performance", "check"} == {name for name, _ in SHOWN}


@pytest.mark.parametrize(("name", "shown"), SHOWN)
def test_the_tables_match_the_records(name: str, shown: str) -> None:
    (made,) = tables.build(read_all(ROOT / "results" / name))
    assert shown.strip() == tables.markdown(made).strip(), (
        "python -m benchmark table --records results --format markdown"
    )


def test_the_figure_matches_the_records(tmp_path: Path) -> None:
    (shown,) = (ROOT / place for place in re.findall(r"!\[.*?\]\((results/figures/\S+\.png)\)", README))
    (line,) = re.findall(r"\(`python -m benchmark (figure [^`]*)`\)", README)
    command = line.replace("results/figures", str(tmp_path)).split()
    assert command[1:6] == [shown.stem, "--records", "results", "--protocol", shown.parts[-3]]
    assert call(*command).returncode == 0
    drawn = tmp_path / shown.relative_to(ROOT / "results" / "figures")
    assert shown.with_suffix(".txt").read_text() == drawn.with_suffix(".txt").read_text()
    by = [Image.open(path).info["Software"] for path in (shown, drawn)]
    tolerance = 0.0 if by[0] == by[1] else 10.0  # root mean square; text rendering differs between matplotlib versions
    assert compare_images(str(shown), str(drawn), tolerance) is None, "README names the command"


def test_committed_records_are_whole() -> None:
    """Computes every score again from the per-image confusion matrices."""
    records = read_all(ROOT / "results", verify=True)
    assert {record.state for record in records} == {"finished"}
    assert all(record.commit for record in records), "a committed record must name its commit"
