"""The table of trainable parameters: counted and published, with a reason for every difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
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
"""The backbones of FisherTune and Rein."""
DECODERS = ("segformer", "mask2former")
"""The default decoders of the protocols."""
DECIMALS = 6  # in millions: exact to one parameter
UNEXPLAINED = "unexplained difference"


def build(backbones: Sequence[str] = (), methods: Sequence[str] = ()) -> Table:
    """Return the table of trainable parameters.

    Args:
        backbones: columns, in this order; :data:`BACKBONES` by default.
        methods: rows, printed in the order of the main table; by default those of the main comparison. Feature
            perturbation has no parameters, so a method with perturbation is shown as the plain method.

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
        "Trainable parameters in millions, decoder excluded: exact counts on the real architectures, and published "
        "numbers.",
        tuple(columns[place] for place in kept),
        tuple(Row(row.method, row.label, tuple(row.cells[place] for place in kept)) for row in rows),
        printed.notes(),
    )


@dataclass
class Printed:
    """The published counts, and the notes for the cells built so far."""

    counts: Sequence[Published]
    reasons: list[str] = field(default_factory=list)
    cited: set[str] = field(default_factory=set)
    unreached: dict[str, dict[str, dict[str, int]]] = field(default_factory=lambda: {name: {} for name in DECODERS})
    """Number of parameters without gradient, by decoder, label of the method and backbone."""

    def beside(self, method: Method, name: str, backbone: str) -> tuple[Cell, Cell]:
        """Return the cell with the count and the cell with the published numbers."""
        # Deferred: names are checked before torch is imported.
        from benchmark.parameters.counting import count, unreached
        from benchmark.protocol import DecoderSpec

        found = [each for each in self.counts if (each.method, each.backbone) == (name, backbone)]
        try:
            counted = count(method, backbone)
        except UserError as error:
            text = ", ".join(self._grouped(found, None))
            return Cell(), Cell(text=f"{text} {self._reference(str(error))}".strip())
        specs = [DecoderSpec.model_validate({"name": decoder, "lr": 1e-4}) for decoder in DECODERS]
        for decoder, number in zip(DECODERS, unreached(method, *specs), strict=True):
            self.unreached[decoder].setdefault(method.label, {})[backbone] = number
        return Cell(counted / 1e6), Cell(text=", ".join(self._grouped(found, counted)))

    def notes(self) -> tuple[str, ...]:
        """Return the notes for the cells built so far."""
        legend = [f"{sign}: {paper}." for sign, paper in sources().items() if sign in self.cited]
        if legend:
            legend.insert(0, "=: the count rounds to the printed number. ≠: it does not; see the numbered reason.")
        reasons = (f"({number}) {reason}." for number, reason in enumerate(self.reasons, start=1))
        return (*legend, *self._without_gradient(), *reasons)

    def _without_gradient(self) -> Iterator[str]:
        """Yield a note per decoder that names methods with parameters that get no gradient, and their number."""
        for decoder, methods in self.unreached.items():
            parts = []
            for label, counts in methods.items():
                usual = Counter(counts.values()).most_common(1)[0][0]
                others = ", ".join(f"{backbone} {count:,}" for backbone, count in counts.items() if count != usual)
                if any(counts.values()):
                    parts.append(f"{label} {usual:,}" + (f" ({others})" if others else ""))
            if parts:
                yield f"Of these parameters, some get no gradient with decoder {decoder}: {'; '.join(parts)}."

    def _grouped(self, found: Sequence[Published], counted: int | None) -> list[str]:
        """Return each published number once, with its papers and whether the count agrees."""
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
