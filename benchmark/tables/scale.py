"""Counterparts of the paper's tables and figures that a CPU can run: the protocols whose records fill them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmark.common.errors import UserError
from benchmark.records import Record
from benchmark.tables import paper
from benchmark.tables import published as papers
from benchmark.tables.layout import Table

TABLES = {
    1: ("streets-to-photos", "streets"),  # main comparison
    2: ("streets",),  # by class: the photographs are scored in merged classes
    3: ("streets-adverse",),  # adverse weather
    4: ("streets", "streets-to-photos"),  # selection criteria
    5: ("streets", "streets-to-photos"),  # feature perturbation
}
FIGURES = {
    "2": ("vfms", ("streets-to-photos", "streets")),
    "3": ("parts", ("streets",)),
    "5": ("estimators", ("streets", "streets-to-photos")),
    "6": ("sensitivity", ("streets", "streets-to-photos")),
    "7": ("features", ("streets-to-photos",)),
}
"""Figures of the paper by number: name here, and protocols."""


def build(number: int, records: Sequence[Record], backbone: str | None = None) -> list[Table]:
    """Return the counterparts of one of the paper's tables, with the paper's own averages in a note below each.

    A protocol without records has no table; a note names it.

    Raises:
        UserError: no record of any of its protocols; see also :func:`benchmark.tables.paper.build`.
    """
    names = TABLES[number]
    held = {name: [record for record in records if record.protocol == name] for name in names}
    present, missing = [name for name in names if held[name]], [name for name in names if not held[name]]
    if not present:
        raise UserError(
            f"no record of {' or '.join(names)}; create some with: python -m benchmark run --protocol {names[0]} --all"
        )
    notes = [f"No records of {name} yet." for name in missing] + _printed(number)
    made = [table for name in present for table in paper.build(number, held[name], name, backbone)]
    return [
        replace(
            table,
            caption=f"Counterpart of Table {number} at CPU size, not the paper's conditions. {table.caption}",
            notes=(*table.notes, *notes),
        )
        for table in made
    ]


def _printed(number: int) -> list[str]:
    """Return a sentence per group of the paper's table: its average of each method, as text."""
    layout = papers.layout(number)
    at = [index for index, column in enumerate(layout.columns) if column.scored == paper.AVERAGE]
    heads = " / ".join(layout.columns[index].head for index in at)
    sentences = []
    for group in layout.groups:
        averages = {
            method: [row[index + layout.trained] for index in at if index + layout.trained < len(row)]
            for method, row in group.rows.items()
        }
        figures = ", ".join(
            f"{papers.label(method)} {' / '.join(f'{value:g}' for value in values)}"
            for method, values in averages.items()
            if values and None not in values
        )
        if figures:
            sentences.append(f"Published at full size, {group.head} ({heads}): {figures}.")
    return sentences
