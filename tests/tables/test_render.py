"""Rendered tables: golden text, escaping, and compiling with pdfLaTeX."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmark import tables
from benchmark.records import read_all
from benchmark.tables import Cell, Column, Row, Table
from benchmark.tables.render import escape_latex, escape_markdown
from tests.records.made import failed, stored
from tests.tables.latex import compiled

SMALL = Table(
    name="streets@quick/vit_tiny",
    caption="mIoU in %, mean ± spread",
    columns=(Column("Trainable (M)", 3), Column("Avg.", 1), Column("n", 0)),
    rows=(
        Row("full", "Full", (Cell(2.8), Cell(41.26, 0.44), Cell(3))),
        Row("lora[rank=4]", "LoRA[rank=4]", (Cell(0.06), Cell(45.0, 1.0, best=True), Cell(3))),
        Row("my_own", "my_own", (Cell(), Cell(), Cell(0))),
    ),
    notes=("Trainable: 100 % of it.", "my_own failed: a < b & c."),
)
LATEX = r"""% needs \usepackage{booktabs,graphicx}
\begin{table}
  \centering
  \caption{mIoU in \%, mean $\pm$ spread}
  \label{tab:streets-quick-vit-tiny}
  \par\smallskip\footnotesize
  \setlength{\tabcolsep}{3pt}
  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%
  \begin{tabular}{@{}lrrr@{}}
    \toprule
    Method & Trainable (M) & Avg. & n \\
    \midrule
    Full & 2.800 & 41.3{\scriptsize$\pm$0.4} & 3 \\
    LoRA{[}rank=4{]} & 0.060 & \textbf{45.0}{\scriptsize$\pm$1.0} & 3 \\
    my\_own &  &  & 0 \\
    \bottomrule
  \end{tabular}}
  \par\smallskip\raggedright\scriptsize Trainable: 100 \% of it. my\_own failed: a \textless{} b \& c.\par
\end{table}
"""
MARKDOWN = r"""mIoU in %, mean ± spread

| Method         |   Trainable (M) |           Avg. |   n |
|:---------------|----------------:|---------------:|----:|
| Full           |           2.800 |     41.3 ± 0.4 |   3 |
| LoRA\[rank=4\] |           0.060 | **45.0** ± 1.0 |   3 |
| my\_own        |                 |                |   0 |

Trainable: 100 % of it.
my\_own failed: a \< b \& c.
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


def test_markdown_is_golden() -> None:
    assert tables.markdown(SMALL) == MARKDOWN


@pytest.mark.parametrize("text", NASTY)
def test_latex_text_has_no_active_characters(text: str) -> None:
    escaped = escape_latex(text)
    rest = re.sub(r"\$\\[A-Za-z]+\$|\\(?:text)?[A-Za-z]+\{\}|\\[{}$&#%_]|\{[][*]\}|-\{\}|'\{\}", "", escaped)
    rest = re.sub(r"\{\[\}U\+[0-9A-F]{4,5}\{\]\}", "", rest)
    assert not set(rest) & set('\\{}$&#%_^~<>|"`[]*\n\t')


def test_markdown_text_cannot_leave_its_cell() -> None:
    assert escape_markdown("a|b *c* _d_ <e> `f`\ng \\") == r"a\|b \*c\* \_d\_ \<e\> \`f\` g \\"


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
