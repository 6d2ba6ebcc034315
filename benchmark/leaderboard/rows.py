"""Rows of a board: measured ones with the runs behind them, and published ones with their sources."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from benchmark.leaderboard import heads
from benchmark.leaderboard.heads import Head
from benchmark.records import SOURCE, Record
from benchmark.report.sheets import Entry, number
from benchmark.tables import Cell
from benchmark.tables.published import TRAINABLE, Printed
from benchmark.tables.runs import Runs, cell, mean_score, oracle_gap, trainable_cell

AVERAGE = "average"
Read = Callable[[Record], "float | None"]


@dataclass(frozen=True)
class Quantity:
    """A column of numbers.

    Attributes:
        name: a domain, ``average`` or ``trained`` as in published figures; empty for others.
        head: its heading.
        read: its value for a finished run.
        scale: factor between this value and the number shown.
        decimals: of the number shown.
    """

    name: str
    head: Head
    read: Read
    scale: float = 100
    decimals: int = 1


TABLE = re.compile(r"Tables? \d[\d and]*$")


@dataclass(frozen=True)
class Run:
    """One run behind a row: its entries, one per quantity, its record with a link, and facts about it."""

    entries: tuple[Entry, ...]
    record: Record
    href: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Line:
    """A row of a board.

    Attributes:
        kind: ``method``, ``variant`` or ``published``.
        label: the method's printed name.
        words: what the search field finds it by.
        entries: one per quantity; then group and number of runs of a measured row.
        runs: the runs behind a measured row, failed ones included.
        shared: facts that are the same for all of them.
        source, errata: of a published row.
    """

    kind: str
    label: str
    words: str
    entries: tuple[Entry, ...]
    group: int | None = None
    count: int = 0
    runs: tuple[Run, ...] = ()
    shared: tuple[tuple[str, str], ...] = ()
    source: str = ""
    errata: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """What the row is, where it is not a method of the main comparison: for published ones, with their table."""
        table = TABLE.search(self.source)
        return "" if self.kind == "method" else f"{self.kind}, {table[0]}" if table else self.kind


def quantities(
    targets: Sequence[str], fields: Mapping[str, Any], decimals: int, *, comparable: bool = True, oracle: bool = True
) -> list[Quantity]:
    """Return the columns of numbers: scores first, the mean over unseen domains foremost, then cost.

    Args:
        targets: the unseen domains.
        fields: the recorded protocol.
        decimals: of millions of parameters.
        comparable: whether the runs' times can be compared; else there are none.
        oracle: whether any run was evaluated more than once, so that there can be an oracle gap.
    """
    return [
        Quantity(AVERAGE, Head("Avg.", "unseen"), mean_score(targets)),
        Quantity(SOURCE, heads.source(fields), mean_score((SOURCE,))),
        *(Quantity(name, heads.domain(name, fields), mean_score((name,))) for name in targets),
        Quantity(TRAINABLE, Head("Trainable", "M"), _trainable, 1e-6, decimals),
        *([Quantity("", Head("Oracle gap"), oracle_gap)] if oracle else []),
        Quantity("", Head("CPU", "s"), lambda run: run.cpu_seconds if comparable else None, 1),
        Quantity("", Head("Memory", "GB"), lambda run: run.peak_memory_bytes, 1e-9, 2),
    ]


def measured(
    runs: Runs, method: str, kind: str, columns: Sequence[Quantity], marks: dict[str, str], group: int | None
) -> Line:
    """Return the row of a method.

    Args:
        runs: those of the board.
        method: registered name, with the given hyperparameters.
        kind: ``method`` or ``variant``.
        columns: the board's quantities.
        marks: ``best`` or ``second``, by quantity.
        group: see :func:`benchmark.tables.separation.groups`; None if it was not tested.
    """
    finished = list(runs.finished[method].values())
    entries = []
    for column in columns:
        mean = trainable_cell(finished) if column.name == TRAINABLE else cell(finished, column.read, column.scale)
        entries.append(_entry(mean, column.decimals, marks.get(column.name, "")))
    label = runs.label(method)
    own = sorted((each for each in runs.all if each.method == method), key=lambda record: record.seed)
    found = [_facts(record) for record in own]
    shared = tuple(fact for fact in found[0] if len(own) > 1 and all(fact in facts for facts in found))
    made = tuple(
        Run(
            _entries(record, columns), record, quote(place(record)), tuple(fact for fact in facts if fact not in shared)
        )
        for record, facts in zip(own, found, strict=True)
    )
    return Line(kind, label, f"{label} {method}".lower(), tuple(entries), group, len(finished), made, shared)


def published(row: Printed, columns: Sequence[Quantity]) -> Line:
    """Return a published row: figures as printed, empty where the paper has none."""
    fine = any(round(value, 1) != value for name, value in row.figures.items() if name != TRAINABLE)
    entries = [number(row.figures.get(column.name), 2 if column.name == TRAINABLE else 1 + fine) for column in columns]
    words = f"{row.label} {row.method} {row.source}".lower()
    return Line("published", row.label, words, tuple(entries), source=row.source, errata=row.errata)


def place(record: Record) -> str:
    """Return the path of a record in the site."""
    return f"records/{record.name}.json"


def _trainable(record: Record) -> int | None:
    return record.trainable.backbone if record.trainable else None


def _entry(found: Cell, decimals: int, mark: str) -> Entry:
    if found.mean is None:
        return Entry()
    spread = "" if found.spread is None else f"± {found.spread:.{decimals}f}"
    return Entry(f"{found.mean:.{decimals}f}", found.mean, spread, mark)


def _entries(record: Record, columns: Sequence[Quantity]) -> tuple[Entry, ...]:
    values = [column.read(record) if record.state == "finished" else None for column in columns]
    return tuple(
        number(None if value is None else value * column.scale, column.decimals)
        for value, column in zip(values, columns, strict=True)
    )


def _facts(record: Record) -> list[tuple[str, str]]:
    machine = [str(record.machine[key]) for key in ("accelerator", "processor", "system") if record.machine.get(key)]
    cores = [f"{record.machine['cores']} cores"] if record.machine.get("cores") else []
    versions = [f"{name} {record.versions[name]}" for name in ("torch", "python") if name in record.versions]
    facts = [
        ("fingerprint", record.fingerprint[:12]), ("commit", _commit(record.commit)),
        ("machine", ", ".join([*machine, *cores]) or "not recorded"), ("versions", ", ".join(versions)),
        ("finished", f"{record.finished:%Y-%m-%d %H:%M} UTC"), ("checksum", record.checksum[:12]),
        ("failed", record.error or ""),
    ]  # fmt: skip
    return [(name, value) for name, value in facts if value]


def _commit(commit: str | None) -> str:
    if commit is None:
        return "not recorded"
    head, plus, changes = commit.partition("+")
    return head[:12] + plus + changes
