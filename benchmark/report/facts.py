"""Facts about runs other than scores: cost, conditions, machine, and links to the records."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from benchmark.records import Record
from benchmark.report.sheets import Entry, Head, Sheet, plain, sheet
from benchmark.tables import Cell, Column, Row, Table, executed, notes
from benchmark.tables.runs import Runs, cell, decimals, trainable_cell

HASHES = ("fingerprint", "data_hash", "weights_hash")


def cost(runs: Runs) -> Sheet:
    """Return the cost of each method's finished runs: time by phase, CPU time, memory."""
    phases = list(dict.fromkeys(phase for record in runs.all for phase in record.seconds))

    comparable = executed.same_hardware(runs.all)

    def seconds(phase: str) -> Callable[[Record], float | None]:
        return lambda record: record.seconds.get(phase) if comparable else None

    rows = []
    for method, finished in runs.finished.items():
        each = list(finished.values())
        # Phases that the method does not have stay empty.
        times = [cell(each, seconds(phase), 1) for phase in phases]
        whole = each if comparable else []
        cells = (
            trainable_cell(each), *times, cell(whole, lambda record: sum(record.seconds.values()), 1),
            cell(whole, lambda record: record.cpu_seconds, 1),
            cell(each, lambda record: record.peak_memory_bytes, 1e-9), Cell(len(each)),
        )  # fmt: skip
        rows.append(Row(method, runs.label(method), cells))
    columns = (
        Column("Trainable (M)", decimals([row.cells[0] for row in rows])),
        *(Column(f"{phase[:1].upper()}{phase[1:]} (s)", 1) for phase in phases),
        Column("Wall (s)", 1), Column("CPU (s)", 1), Column("Memory (GB)", 2), Column("n", 0),
    )  # fmt: skip
    note = "Wall: sum of the phases. CPU: CPU time of all threads. Memory: peak memory of the run's process."
    if not comparable:
        note = f"{note} Times are not shown, since the runs were computed on different machines."
    return sheet(Table("cost", "Cost of a run", columns, tuple(rows), (*notes.unreached(runs), note)))


def listing(records: Sequence[Record], folder: Path) -> Sheet:
    """Return the table of runs, each with a link to its record.

    Args:
        records: records of one protocol and backbone, in display order.
        folder: the folder of the page.
    """
    rows = [
        (
            Entry(record.label, place), Entry(str(record.seed), record.seed), _state(record),
            number_of(record.source.miou if record.source else None), number_of(record.average),
            Entry(f"{record.cpu_seconds:.1f}", record.cpu_seconds),
            Entry(f"{record.finished:%Y-%m-%d %H:%M}", record.finished.timestamp()),
            Entry("record", f"{place:06}", href=_link(record, folder)),
        )
        for place, record in enumerate(records)
    ]  # fmt: skip
    words = [Head("Method", number=False), Head("Seed"), Head("State", number=False)]
    numbers = [Head("Source"), Head("Avg."), Head("CPU (s)"), Head("Finished (UTC)"), Head("", number=False)]
    return plain("mIoU in %: source domain, and mean over the unseen domains", [*words, *numbers], rows)


def conditions(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Return the conditions common to these runs, as (name, value): hashes, backbone, and notes on the data."""
    found = [(name, value) for name in HASHES if (value := _common(getattr(record, name) for record in records))]
    notes = {f"data: {domain}": "; ".join(lines) for record in records for domain, lines in record.data_notes.items()}
    vfm = next((record.vfm for record in records if record.vfm), {})
    return [*found, *((f"backbone: {key}", _text(value)) for key, value in vfm.items()), *notes.items()]


def protocol(fields: Mapping[str, Any]) -> str:
    """Return a resolved protocol as YAML."""
    return yaml.safe_dump(dict(fields), sort_keys=False, allow_unicode=True, default_flow_style=None)


def environment(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Return versions, machine and commit of the runs; if they differ, each value with its number of runs."""
    counts: dict[str, Counter[str]] = {}
    for record in records:
        facts = {**record.versions, **record.machine, "commit": (record.commit or "unknown")[:12]}
        for name, value in facts.items():
            counts.setdefault(name, Counter())[_text(value)] += 1
    return [(name.replace("_", " "), _counted(values, len(records))) for name, values in counts.items()]


def number_of(fraction: float | None) -> Entry:
    """Return the entry of an mIoU given as a fraction, shown in %."""
    return Entry() if fraction is None else Entry(f"{100 * fraction:.1f}", fraction)


def _counted(values: Counter[str], total: int) -> str:
    if len(values) == 1 and values.total() == total:
        return next(iter(values))
    return "; ".join(f"{value} ({count} run{'s' if count > 1 else ''})" for value, count in sorted(values.items()))


def _common(values: Iterable[str]) -> str:
    return next((value for value in values if value), "")


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _state(record: Record) -> Entry:
    return Entry(record.state, record.state, title=record.error or "")


def _link(record: Record, folder: Path) -> str:
    """Return the relative link from the page to the record; empty if there is none, as between two drives."""
    if record.path is None:
        return ""
    try:
        path = Path(os.path.relpath(record.path.resolve(), folder.resolve()))
    except ValueError:
        return ""
    return quote(path.as_posix())
