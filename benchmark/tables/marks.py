"""Marks the best and second-best of each column where the difference is significant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmark.records import Record
from benchmark.tables.layout import Row
from benchmark.tables.resamples import Resamples
from benchmark.tables.separation import Finished, leaders

MARKS = (
    "Bold: significantly better than all others (paired bootstrap over images and seeds, 95 %). "
    "Underlined (italic in markdown): significantly better than all but the best."
)
NONE = "No bold: no method is significantly better than all others."


def mark(
    rows: Sequence[Row], runs: Finished, columns: Mapping[int, Sequence[str]], resamples: Resamples
) -> tuple[list[Row], str]:
    """Return the rows with best and second marked, and a note that explains the marks or their absence.

    Args:
        rows: rows of one protocol and backbone; only these are compared.
        runs: finished runs by method.
        columns: for each column index to mark, the domains it averages.
        resamples: shared between the parts of a table.

    Raises:
        UserError: confusions that do not belong to their record, or are of different images.
    """
    shown = {row.method for row in rows}
    scored = {method: seeds for method, seeds in runs.items() if seeds and method in shown}
    if len(scored) < 2:
        return list(rows), ""
    obstacle = _obstacle({row.method: row.label for row in rows}, scored)
    if obstacle:
        return list(rows), f"No bold: {obstacle}."
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


def _obstacle(labels: Mapping[str, str], scored: Finished) -> str:
    """Return why significance cannot be tested; empty if it can."""
    alone = [labels[method] for method, seeds in scored.items() if len(seeds) < 2]
    if alone:
        counts = "each has one" if len(alone) == len(scored) else f"{', '.join(alone)}: one"
        return f"a significance test needs at least two seeds of every method ({counts})"
    for method, seeds in scored.items():
        for record in seeds.values():
            if not _has_confusions(record):
                return f"the per-image confusions of {labels[method]}, seed {record.seed}, are missing"
    return ""


def _has_confusions(record: Record) -> bool:
    return record.path is not None and record.path.with_suffix(".npz").is_file()
