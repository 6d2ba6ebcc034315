"""The suite's own table: methods by cost, source score, unseen domains and their average."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from benchmark.common import registry
from benchmark.common.errors import UserError, nearest
from benchmark.records import SOURCE, Record
from benchmark.records.naming import base
from benchmark.tables import notes
from benchmark.tables.beside import Figure, Lookup, nothing
from benchmark.tables.layout import Cell, Column, Row, Table
from benchmark.tables.marks import mark
from benchmark.tables.resamples import Resamples
from benchmark.tables.runs import Runs, cell, decimals, mean_score, oracle_gap, trained_cell

ORDER = (
    "full", "freeze",
    "lora", "adaptformer", "vpt", "rein", "vqt", "fada", "soma", "soma-as-released", "geco",
    "bitfit", "layernorm", "random", "random-q", "random-k", "random-v", "childtune", "childtune-f", "childtune-d",
    "fim", "fim-variational", "delta-fim", "delta-fim-variational", "dr-fim-variational", "parts",
    "fishertune",
)  # fmt: skip
"""Rows: the two ends, what adds parameters, what selects among the backbone's own, the method under study."""
AVERAGE, TRAINED = "average", "trained"
"""What is scored, beside the domains."""


def build(
    records: Iterable[Record],
    protocol: str | None = None,
    backbone: str | None = None,
    methods: Collection[str] = (),
    published: Lookup = nothing,
) -> list[Table]:
    """Return one table per protocol and backbone, sorted by name.

    Args:
        records: of any runs; those that no table shows bear on none.
        protocol: only this one's (``streets``, ``streets@quick``).
        backbone: only this one's.
        methods: only these, by registered name; by default all but ablations and methods that carry something.
        published: finds what papers print.

    Raises:
        UserError: no such record; records under different conditions; confusions that are not their record's.
    """
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    chosen = shown(records, protocol, backbone, methods)
    for record in sorted(chosen, key=lambda record: order(record.method)):
        groups[record.protocol, record.backbone].append(record)
    return [_table(groups[key], published) for key in sorted(groups)]


def order(method: str) -> tuple[int, str, str]:
    """Return a method's sort key: known ones in :data:`ORDER`, given settings after the defaults, others last.

    A method that carries perturbation follows the plain one.
    """
    name, _, given = method.partition("[")
    known = base(method)
    return (ORDER.index(known) if known in ORDER else len(ORDER), name, given)


def shown(
    records: Iterable[Record], protocol: str | None, backbone: str | None, methods: Collection[str]
) -> list[Record]:
    """Return the records that :func:`build` makes tables of.

    Raises:
        UserError: there is none.
    """
    chosen = _only(_only(list(records), "protocol", protocol), "backbone", backbone)
    if not chosen:
        raise UserError("no records to make a table of; make some with: python -m benchmark run")
    places = registry.names("method")
    apart = {name for name, place in places.items() if registry.is_ablation(place)}
    found = []
    for record in chosen:
        name = record.method.partition("[")[0]
        if name in methods if methods else name not in apart and "+" not in name:
            found.append(record)
    if not found:
        held = ",".join(sorted({record.method.partition("[")[0] for record in chosen}))
        raise UserError(f"--methods: these records are of other rows; to see them: --methods {held}")
    return found


def _only(records: list[Record], field: str, wanted: str | None) -> list[Record]:
    if wanted is None or not records:
        return records
    chosen = [record for record in records if getattr(record, field) == wanted]
    if not chosen:
        known = {str(getattr(record, field)) for record in records}
        raise UserError(f"no record of {field} {wanted!r}: {nearest(wanted, known)}")
    return chosen


def _table(records: Sequence[Record], published: Lookup) -> Table:
    runs = Runs.of(records)
    domains = {SOURCE: (SOURCE,), **{target: (target,) for target in runs.targets}, AVERAGE: runs.targets}
    cited = notes.Cited()
    rows = [_row(runs, method, domains, published, cited) for method in runs.finished]
    places = {index: each for index, each in enumerate(domains.values(), start=1)}
    rows, marks = mark(rows, runs.finished, places, Resamples())
    heads = ["Source", *map(notes.spelling, runs.targets), "Avg."]
    columns = [
        Column("Trained (M)", decimals([row.cells[0] for row in rows])),
        *(Column(head, 1) for head in heads),
        Column("Oracle gap", 1),
        Column("CPU-s", 0 if all((row.cells[-2].mean or 100) >= 100 for row in rows) else 1),
        Column("n", 0),
    ]
    return Table(
        f"{runs.all[0].protocol}/{runs.all[0].backbone}",
        notes.caption(runs),
        tuple(columns),
        tuple(rows),
        (*notes.conditions(runs), *notes.of_runs(runs), *filter(None, [marks]), *cited.notes()),
    )


def _row(runs: Runs, method: str, domains: dict[str, tuple[str, ...]], published: Lookup, cited: notes.Cited) -> Row:
    finished = list(runs.finished[method].values())
    cells = {TRAINED: trained_cell(finished)}
    cells |= {name: cell(finished, mean_score(each)) for name, each in domains.items()}
    for name in cells:
        figure: Figure | None = published(runs.all[0].protocol, runs.all[0].backbone, method, name)
        if figure is not None:
            cells[name] = replace(cells[name], published=figure.value)
            cited.cite(figure, runs.label(method))
    gap, seconds = cell(finished, oracle_gap), cell(finished, lambda record: record.cpu_seconds, 1)
    return Row(method, runs.label(method), (*cells.values(), gap, seconds, Cell(len(finished))))
