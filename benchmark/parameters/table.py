"""The table: methods by backbones, what is counted beside what is printed, every difference explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.models.catalogue import find_backbone
from benchmark.parameters.papers import Published, published, sources
from benchmark.records.naming import base
from benchmark.tables import Cell, Column, Row, Table
from benchmark.tables.main import order

if TYPE_CHECKING:
    from benchmark.method import Method

BACKBONES = ("clip-l", "mae-l", "sam-h", "eva02-l", "dinov2-l")
"""FisherTune's and Rein's."""
DECIMALS = 6  # of millions: every parameter shows
UNEXPLAINED = "a difference that nobody has explained yet"


def build(backbones: Sequence[str] = (), methods: Sequence[str] = ()) -> Table:
    """Count, compare and lay out.

    Args:
        backbones: columns, in this order; :data:`BACKBONES` by default.
        methods: rows, in the order of the main table; those of the main comparison by default. Feature
            perturbation has no parameters, so a method that carries it is the plain one's row.

    Raises:
        UserError: no such backbone or method.
    """
    backbones = [find_backbone(name).name for name in dict.fromkeys(backbones or BACKBONES)]
    for name in methods:
        registry.require("method", base(name))
    printed = Printed(published())
    rows = []
    for name in sorted(dict.fromkeys(map(base, methods or registry.main_methods())), key=order):
        kind: type[Method] = registry.find("method", name)
        pairs = [printed.beside(kind(), name, backbone) for backbone in backbones]
        rows.append(Row(name, kind.label, tuple(cell for pair in pairs for cell in pair)))
    columns = [column for name in backbones for column in (Column(name, DECIMALS), Column("printed", 0))]
    kept = [
        place for place, column in enumerate(columns)
        if column.decimals or any(row.cells[place] != Cell() for row in rows)
    ]  # fmt: skip
    return Table(
        "parameters",
        "Trainable parameters of the backbone's side in millions, counted to the last one on the real "
        "architectures, beside what papers print. The decoder is not counted.",
        tuple(columns[place] for place in kept),
        tuple(Row(row.method, row.label, tuple(row.cells[place] for place in kept)) for row in rows),
        printed.notes(),
    )


@dataclass
class Printed:
    """The printed counts, and the notes that the cells made so far refer to."""

    counts: Sequence[Published]
    reasons: list[str] = field(default_factory=list)
    cited: set[str] = field(default_factory=set)

    def beside(self, method: Method, name: str, backbone: str) -> tuple[Cell, Cell]:
        """Return the cell of what is counted and the one of what is printed."""
        from benchmark.parameters.counting import count  # here, since it imports torch: names are looked at first

        found = [each for each in self.counts if (each.method, each.backbone) == (name, backbone)]
        try:
            counted = count(method, backbone)
        except UserError as error:
            text = ", ".join(self._grouped(found, None))
            return Cell(), Cell(text=f"{text} {self._reference(str(error))}".strip())
        return Cell(counted / 1e6), Cell(text=", ".join(self._grouped(found, counted)))

    def notes(self) -> tuple[str, ...]:
        """Return what has to be known to read the cells made so far, a line each."""
        legend = [f"{sign}: {paper}." for sign, paper in sources().items() if sign in self.cited]
        if legend:
            legend.insert(0, "=: the count rounds to the printed number. ≠: it does not, for the reason given.")
        return (*legend, *(f"({number}) {reason}." for number, reason in enumerate(self.reasons, start=1)))

    def _grouped(self, found: Sequence[Published], counted: int | None) -> list[str]:
        """Return each printed number once, with the papers that print it and how it compares."""
        signs: dict[str, list[str]] = {}
        for each in found:
            mark = "" if counted is None else self._mark(each, counted)
            signs.setdefault(each.millions + mark, []).append(each.source)
        self.cited |= {each.source for each in found}
        return [f"{'/'.join(papers)} {number}" for number, papers in signs.items()]

    def _mark(self, each: Published, counted: int) -> str:
        return " =" if each.agrees(counted) else f" ≠ {self._reference(each.reason or UNEXPLAINED)}"

    def _reference(self, reason: str) -> str:
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f"({self.reasons.index(reason) + 1})"
