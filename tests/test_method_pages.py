"""The documentation site's page of each method states every setting, and the index lists every method."""

from __future__ import annotations

import sys

import pytest

from benchmark.common import registry
from benchmark.tables import Cell, Column, Row, Table
from tests.cli.test_cli import ROOT

sys.path.append(str(ROOT / "docs"))
import method_pages


@pytest.mark.parametrize("name", ["fishertune", "lora", "soma-as-released", "random-q"])
def test_a_page_states_source_code_and_every_setting(name: str) -> None:
    kind = registry.find("method", name)
    text = method_pages.page(name)
    assert text.startswith(f"# {kind.label}\n")
    assert kind.source in text
    (place,) = [part.split("`")[0] for part in text.split("code `")[1:2]]
    assert (ROOT / place).is_file()
    rows = [line.split(" | ")[0].strip("| `") for line in text.splitlines() if line.startswith("| `")]
    assert rows == list(kind.Settings.model_fields)
    assert ":class:" not in text
    assert "``" not in text


def test_fishertune_explains_its_parts() -> None:
    text = method_pages.page("fishertune")
    assert "F_n = 1/N" in text
    assert "\n### Variational estimate" in text


def test_the_index_links_every_method_once() -> None:
    names = sorted(registry.names("method"))
    text = method_pages.index(names)
    assert [text.count(f"({name}.md)") for name in names] == [1] * len(names)
    main, _, apart = text.partition("## Ablations")
    assert "(lora.md)" in main
    assert "(random-q.md)" in apart


def test_counts_are_shown_beside_the_printed_ones() -> None:
    columns = (Column("dinov2-l", 6), Column("printed", 0), Column("sam-h", 6))
    row = Row("lora", "LoRA", (Cell(0.786432), Cell(text="0.79"), Cell(1.310720)))
    text = method_pages.parameter_counts(Table("parameters", "", columns, (row,), ()), row)
    assert "| dinov2-l | 0.786432 | 0.79 |" in text
    assert "| sam-h | 1.310720 |  |" in text
