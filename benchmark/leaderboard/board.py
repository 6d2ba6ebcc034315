"""A board: everything on the page of one protocol and backbone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from benchmark import protocol
from benchmark.leaderboard import heads, rows
from benchmark.leaderboard.heads import Head
from benchmark.leaderboard.rows import AVERAGE, Line, Quantity
from benchmark.records import SOURCE, Record
from benchmark.report import facts
from benchmark.tables import Table, apart, command, executed, notes
from benchmark.tables import published as papers
from benchmark.tables.resamples import Resamples
from benchmark.tables.runs import Runs, any_oracle_gap, decimals, trainable_cell
from benchmark.tables.separation import groups

GROUPED = (
    "Group: one plus the number of methods that are significantly better on average over the unseen domains (paired "
    "bootstrap over images and seeds, every pair at 95 %, uncorrected); empty with fewer than two seeds. Bold: "
    "significantly better than all others. Underlined: than all but the best. Variants, which include ablations, are "
    "compared among themselves."
)
PRINTED = (
    "Published: as printed by the papers, not run here and not compared. An asterisk marks figures with errata or "
    "remarks; open the row to read them."
)


@dataclass(frozen=True)
class Board:
    """The page of one protocol and backbone.

    Attributes:
        title: what the protocol is, in a few words; empty for a user's own.
        data: which data this project renders; empty for none.
        heads: one per quantity.
        lines: measured rows by average, then published ones by average.
        kinds: number of rows of each kind.
        fields: the resolved protocol as YAML.
        records: those behind the rows.
        last: when the last run finished; None without runs.
    """

    protocol: str
    backbone: str
    title: str
    data: str
    caption: str
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    conditions: tuple[tuple[str, str], ...]
    fields: str
    environment: tuple[tuple[str, str], ...]
    records: tuple[Record, ...]
    last: datetime | None

    @property
    def path(self) -> str:
        """The page's path in the site."""
        return f"boards/{self.protocol}/{self.backbone}.html"

    @property
    def kinds(self) -> dict[str, int]:
        """The number of rows of each kind, measured ones first."""
        counts = Counter(line.kind for line in self.lines)
        return {kind: counts[kind] for kind in ("method", "variant", "published") if counts[kind]}

    @property
    def measured(self) -> bool:
        """Whether it has rows of runs."""
        return bool(self.records)

    @property
    def leader(self) -> Line | None:
        """The method with the highest measured average, not necessarily significantly so."""
        return next((line for line in self.lines if line.kind == "method" and line.entries[0].text), None)


def build(name: str, backbone: str, records: Sequence[Record]) -> Board:
    """Return the board of a protocol and backbone, whose records may be none.

    Raises:
        UserError: records that are not comparable, or that are of another version of the protocol.
    """
    fixed = protocol.shipped(name)
    fields: Mapping[str, Any] = records[0].protocol_fields if records else fixed.fields() if fixed else {}
    runs = Runs.of(records)
    targets = runs.targets if records else tuple(fields.get("targets", ()))
    places = decimals([trainable_cell(finished.values()) for finished in runs.finished.values()])
    comparable, oracle = executed.same_hardware(records), any_oracle_gap(records)
    columns = rows.quantities(targets, fields, places, comparable=comparable, oracle=oracle)
    lines, remarks = _measured(records, runs, columns) if records else ([], [])
    printed = [rows.published(row, columns) for row in papers.rows(name, backbone)]
    if not records:  # only what papers print
        kept = [place for place, column in enumerate(columns) if any(line.entries[place].text for line in printed)]
        columns = [columns[place] for place in kept]
        printed = [replace(line, entries=tuple(line.entries[place] for place in kept)) for line in printed]
    resolved = facts.protocol(fields) if fields else ""
    return Board(
        name, backbone, fixed.title if fixed else "", heads.data(fields), _caption(runs, name, backbone, fields),
        tuple(column.head for column in columns), (*_ranked(lines), *_ranked(printed)),
        (*remarks, *([PRINTED] if printed else [])), tuple(facts.conditions(records)), resolved,
        tuple(facts.environment(records)), tuple(records), max((record.finished for record in records), default=None),
    )  # fmt: skip


def _measured(records: Sequence[Record], runs: Runs, columns: Sequence[Quantity]) -> tuple[list[Line], list[str]]:
    lines, remarks = [], dict[str, None]()
    for kind, names in zip(("method", "variant"), apart(records), strict=True):
        if not names:
            continue
        (table,) = command.main(records, None, None, names, published=False)
        remarks |= dict.fromkeys(note for note in table.notes if not note.startswith(("Bold:", "No bold:")))
        own = {method: seeds for method, seeds in runs.finished.items() if method.partition("[")[0] in names}
        ranks = groups(own, runs.targets, Resamples())
        marks = _marks(table, [SOURCE, *runs.targets, AVERAGE])
        lines += [rows.measured(runs, row.method, kind, columns, marks[row.method], ranks.get(row.method))
                  for row in table.rows]  # fmt: skip
    return lines, [GROUPED, *remarks]


def _marks(table: Table, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return which cells of the main table are ``best`` or ``second``, by method and quantity."""
    return {
        row.method: {
            name: "best" if cell.best else "second"
            for name, cell in zip(names, row.cells[1:], strict=False)
            if cell.best or cell.second
        }
        for row in table.rows
    }


def _ranked(lines: Sequence[Line]) -> list[Line]:
    """Return the rows by average, those without one last."""

    def average(line: Line) -> float:
        value = line.entries[0].value if line.entries else None
        return value if isinstance(value, float) else -math.inf

    return sorted(lines, key=lambda line: -average(line))


def _caption(runs: Runs, name: str, backbone: str, fields: Mapping[str, Any]) -> str:
    if runs.all:
        return notes.caption(runs)
    return f"Protocol {name}, backbone {backbone}: mIoU in % as published; no run of it here yet.{notes.unseen(fields)}"
