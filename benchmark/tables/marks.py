"""The best and the second of a column, marked where they are parted from the rows below, and a note where not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmark.records import Record
from benchmark.tables.layout import Row
from benchmark.tables.resamples import Resamples
from benchmark.tables.separation import Finished, leaders

MARKS = (
    "Bold: best, and parted from every other row at 95 % by a paired bootstrap over images and seeds. "
    "Underlined (in markdown: italic): second, and parted so from every row but the best."
)
NONE = "Nothing is bold: no best is parted from every other row."


def mark(
    rows: Sequence[Row], runs: Finished, columns: Mapping[int, Sequence[str]], resamples: Resamples
) -> tuple[list[Row], str]:
    """Return the rows with their leaders marked, and the note that says what marks mean, or why there is none.

    Args:
        rows: of one protocol and backbone; what they show is all that is compared.
        runs: finished runs by the rows' methods.
        columns: the domains whose mean stands in each column that may be marked.
        resamples: shared between the parts of a table.

    Raises:
        UserError: confusions that are not their record's, or not of the same images.
    """
    shown = {row.method for row in rows}
    scored = {method: seeds for method, seeds in runs.items() if seeds and method in shown}
    if len(scored) < 2:
        return list(rows), ""
    hindrance = _hindrance({row.method: row.label for row in rows}, scored)
    if hindrance:
        return list(rows), f"Nothing is bold: {hindrance}."
    marked, note = list(rows), NONE
    for index, domains in columns.items():
        if any(row.cells[index].mean is None for row in rows if row.method in scored):
            continue
        names = [*leaders(scored, domains, resamples), None, None]
        note = MARKS if names[0] else note
        for place, row in enumerate(marked):
            cell = replace(row.cells[index], best=row.method == names[0], second=row.method == names[1])
            marked[place] = replace(row, cells=(*row.cells[:index], cell, *row.cells[index + 1 :]))
    return marked, note


def _hindrance(labels: Mapping[str, str], scored: Finished) -> str:
    """Return what keeps the rows from being told apart; empty if nothing does."""
    alone = [labels[method] for method, seeds in scored.items() if len(seeds) < 2]
    if alone:
        whose = "each has one" if len(alone) == len(scored) else f"{', '.join(alone)}: one"
        return f"to tell a difference from chance takes at least two seeds of every method ({whose})"
    for method, seeds in scored.items():
        for record in seeds.values():
            if not _has_confusions(record):
                return f"{labels[method]}, seed {record.seed}, has no per-image confusions beside it"
    return ""


def _has_confusions(record: Record) -> bool:
    return record.path is not None and record.path.with_suffix(".npz").is_file()
