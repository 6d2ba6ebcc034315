"""Tables as CSV and HTML."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser

from benchmark import tables
from benchmark.tables import Cell, Column, Row, Table
from benchmark.tables.sheets import FIELDS

SMALL = Table(
    name="streets/vit_tiny",
    caption="mIoU in %, <mean> & spread",
    columns=(Column("Avg.", 1), Column("n", 0)),
    rows=(
        Row("lora[rank=4]", 'LoRA, "4"', (Cell(45.06, 1.04, best=True, n=3, published=44.0), Cell(3)), "one"),
        Row("full", "Full <b>", (Cell(), Cell(0)), "two"),
    ),
    notes=("a < b",),
)


class Read(HTMLParser):
    """Collects the text of each cell; fails if a tag is closed out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[list[str]] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta",):
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.cells[-1][-1] += data


def test_csv_has_one_line_per_number() -> None:
    read = list(csv.DictReader(io.StringIO(tables.comma_separated([SMALL, SMALL]))))
    assert len(read) == 6
    assert tuple(read[0]) == FIELDS
    first = read[0]
    assert (first["label"], first["column"], first["mark"], first["n"]) == ('LoRA, "4"', "Avg.", "best", "3")
    assert [float(first[name]) for name in ("mean", "spread", "published")] == [45.06, 1.04, 44.0]
    assert abs(float(first["difference"]) - 1.06) < 1e-12
    assert [each["mean"] for each in read if each["method"] == "full"] == ["0", "0"]


def test_html_is_a_self_contained_page() -> None:
    text = tables.html([SMALL])
    page = Read()
    page.feed(text)
    page.close()
    assert page.open == []
    assert page.cells == [
        ["Method", "Avg.", "publ.", "Δ", "n"],
        ["one"],
        ['LoRA, "4"', "45.1 ± 1.0", "44.0", "+1.1", "3"],
        ["two"],
        ["Full <b>", "", "", "", "0"],
    ]
    assert {"b", "img", "script", "link"}.isdisjoint(page.tags)
    assert "http" not in text
    assert "strong" in page.tags
