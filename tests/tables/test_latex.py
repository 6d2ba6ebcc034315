"""Tables as LaTeX: golden text, escaping, what fits which page, and compiling with pdfLaTeX."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark import tables
from benchmark.records import read_all
from benchmark.tables import Cell, Column, Row, Table
from benchmark.tables.latex_fit import PAGES
from benchmark.tables.latex_text import escape_latex
from tests.records.made import failed, stored
from tests.tables.latex import compiled
from tests.tables.test_render import SMALL

LATEX = r"""% needs \usepackage{booktabs}
\begin{table}
  \centering
  \caption{mIoU in \%, mean $\pm$ spread}
  \label{tab:streets-quick-vit-tiny}
  \par\smallskip\footnotesize
  \setlength{\tabcolsep}{3pt}
  \begin{tabular}{@{}lrrr@{}}
    \toprule
    Method & \shortstack[r]{Trainable \\ (M)} & Avg. & n \\
    \midrule
    Full & 2.800 & 41.3$\pm$0.4 & 3 \\
    LoRA{[}rank=4{]} & 0.060 & \textbf{45.0}$\pm$1.0 & 3 \\
    my\_own &  &  & 0 \\
    \bottomrule
  \end{tabular}
  \par\smallskip\raggedright Trainable: 100 \% of it. my\_own failed: a \textless{} b \& c.\par
\end{table}
"""
NASTY = [
    r"\input{/etc/passwd} $x^2_i$ {a} & b # c % d ~ e < f > g | h",
    "* star [and bracket] at the start of a row",
    "[1ex] looks like a line break's argument",
    "-- --- '' `` \" ?` !` don't",
    "ΔF, Λ⁻¹, α β γ ω Ω Α ο, μ ± × … – —",
    "é È ü ñ å ç ß Ł ø 中文 🚗 \u200b \x07 \u0301",
    "line\nbreak\tand   blanks",
]


def test_latex_is_golden() -> None:
    assert tables.latex(SMALL) == LATEX


@pytest.mark.parametrize("text", NASTY)
def test_text_has_no_active_characters(text: str) -> None:
    escaped = escape_latex(text)
    rest = re.sub(r"\$\\[A-Za-z]+\$|\\(?:text)?[A-Za-z]+\{\}|\\[{}$&#%_]|\{[][*]\}|-\{\}|'\{\}", "", escaped)
    rest = re.sub(r"\{\[\}U\+[0-9A-F]{4,5}\{\]\}", "", rest)
    assert not set(rest) & set('\\{}$&#%_^~<>|"`[]*\n\t')


# -- what fits -----------------------------------------------------------------------------------------


def grid(width: int, rows: int = 3, head: str = "city", label: str = "LoRA") -> Table:
    """Return a table with ``width`` columns, of which the first is the most dispensable and the second never is."""
    columns = tuple(Column(f"{head}{place}", 1, spare=(5, 0, 1)[min(place, 2)]) for place in range(width))
    cells = tuple(Cell(50.0 + place, 1.5) for place in range(width))
    return Table("a/b", "caption", columns, tuple(Row(f"m{row}", f"{label}{row}", cells) for row in range(rows)), ())


def facts(text: str) -> tuple[str, bool, bool, list[str]]:
    """Return a float's environment, whether headings are turned and spreads printed, and what was left out."""
    environment = re.search(r"\\begin\{(\w+\*?)\}", text)
    left = re.search(r"Left out to fit the page: (.*?)\.", text)
    assert environment
    assert environment[1] in text.splitlines()[-1]
    assert r"\resizebox" not in text
    return environment[1], r"\rotatebox" in text, r"\pm" in text, left[1].split(", ") if left else []


@pytest.mark.parametrize(
    ("table", "columns", "expected"),
    [
        (grid(6), 1, ("table", False, True, [])),
        (grid(9), 2, ("table*", False, True, [])),
        (grid(11), 1, ("sidewaystable", False, True, [])),
        (grid(12), 2, ("sidewaystable*", False, True, [])),
        (grid(7, head="surroundings"), 1, ("sidewaystable", False, True, [])),
        (grid(7, head="a long heading of words "), 1, ("table", False, True, [])),
        (grid(12, head="surroundings"), 2, ("sidewaystable*", True, True, [])),
        (grid(11, rows=40), 1, ("table", False, False, ["standard deviations"])),
        (grid(19), 2, ("sidewaystable*", False, False, ["standard deviations"])),
        (grid(24), 1, ("sidewaystable", True, False, ["standard deviations", "city0", "city22", "city23"])),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_rotated_turned_or_left_out_and_named(
    table: Table, columns: int, expected: tuple[str, bool, bool, list[str]]
) -> None:
    assert facts(tables.latex(table, columns)) == expected


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_long_table_continues_on_further_pages(size: int, tmp_path: Path) -> None:
    table = grid(4, rows=150)
    rows = tuple(replace(row, group=f"group {place // size}") for place, row in enumerate(table.rows))
    text = tables.latex(replace(table, rows=rows, notes=("A note.",)))
    parts = text.split(r"\end{table}")[:-1]
    assert len(parts) > 2
    assert ["(Continued.)" in part for part in parts] == [False] + [True] * (len(parts) - 1)
    assert [r"\label{" in part for part in parts] == [True] + [False] * (len(parts) - 1)
    assert ["A note." in part for part in parts] == [False] * (len(parts) - 1) + [True]
    assert re.findall(r"LoRA(\d+) &", text) == list(map(str, range(150)))
    for part in parts:  # every row below its group's name
        names = re.findall(r"\\textit\{group (\d+)\}|LoRA(\d+) &", part)
        assert names[0][0]
        for (group, row), (before, _) in zip(names[1:], names, strict=False):
            assert group or not before or int(row) // size == int(before)
    log = compiled([text], tmp_path, f"long-{size}")
    assert "too large for page" not in log
    assert f"long-{size}.pdf ({len(parts)} page" in log


def test_a_table_of_two_columns_is_printed_on_the_whole_page() -> None:
    text = tables.latex(SMALL, 2)
    assert text == LATEX.replace("{table}", "{table*}")
    assert PAGES[2].width > PAGES[1].width


# -- compiled ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", PAGES)
@pytest.mark.parametrize("head", ["city", "surroundings", "MMWW"])
def test_tables_of_every_width_fit_their_page(columns: int, head: str, tmp_path: Path) -> None:
    made = [tables.latex(grid(width, head=head, label="FisherTune[lr=0.001]"), columns) for width in range(1, 31)]
    best = replace(
        grid(9), rows=tuple(replace(r, cells=tuple(replace(c, best=True) for c in r.cells)) for r in grid(9).rows)
    )
    log = compiled([*made, tables.latex(best, columns)], tmp_path, f"widths-{columns}-{head}", columns)
    assert "Overfull" not in log
    assert "too large for page" not in log


def test_every_text_compiles_in_every_part_of_a_table(tmp_path: Path) -> None:
    table = Table(
        name="nasty & name",
        caption=" ".join(NASTY),
        columns=tuple(Column(text[:12], 1) for text in NASTY),
        rows=tuple(Row(text, text, tuple(Cell(1.0) for _ in NASTY)) for text in NASTY),
        notes=tuple(NASTY),
    )
    log = compiled([tables.latex(table)], tmp_path, "signs")
    assert "Missing character" not in log


def test_the_suites_tables_compile_and_fit_the_page(tmp_path: Path) -> None:
    for method, accuracy in {"full": 0.6, "freeze": 0.5, "lora[rank=4,scale=2]": 0.7, "fishertune": 0.9}.items():
        for seed in range(3):
            stored(tmp_path / "records", method, seed, accuracy, label=method.partition("[")[0])
    found = [*read_all(tmp_path / "records"), failed("vpt", error="loss_ce is nan & gone")]
    (table,) = tables.build(found)
    text = tables.latex(table)
    assert text.count(r"\textbf{") == text.count(r"\underline{") == 5
    log = compiled([text], tmp_path, "main")
    assert "Overfull" not in log
    assert "main.pdf (1 page" in log
