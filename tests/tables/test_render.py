"""Tables as markdown."""

from __future__ import annotations

from benchmark import tables
from benchmark.tables import Cell, Column, Row, Table
from benchmark.tables.render import escape_markdown

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
MARKDOWN = r"""mIoU in %, mean ± spread

| Method         |   Trainable (M) |           Avg. |   n |
|:---------------|----------------:|---------------:|----:|
| Full           |           2.800 |     41.3 ± 0.4 |   3 |
| LoRA\[rank=4\] |           0.060 | **45.0** ± 1.0 |   3 |
| my\_own        |                 |                |   0 |

Trainable: 100 % of it.
my\_own failed: a \< b \& c.
"""


def test_markdown_is_golden() -> None:
    assert tables.markdown(SMALL) == MARKDOWN


def test_markdown_text_cannot_leave_its_cell() -> None:
    assert escape_markdown("a|b *c* _d_ <e> `f`\ng \\") == r"a\|b \*c\* \_d\_ \<e\> \`f\` g \\"
