"""The main table: per method its cost, source mIoU, and mIoU on each unseen domain and on average."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from benchmark.common import registry
from benchmark.common.errors import UserError, nearest, spelled
from benchmark.records import SOURCE, Record
from benchmark.records.naming import base
from benchmark.tables import checkpoints, executed, notes
from benchmark.tables.beside import Figure, Lookup, nothing
from benchmark.tables.layout import Cell, Column, Row, Table
from benchmark.tables.marks import mark
from benchmark.tables.resamples import Resamples
from benchmark.tables.runs import Runs, any_oracle_gap, cell, decimals, mean_score, oracle_gap, trainable_cell

ORDER = (
    "full", "l2-sp", "lp-ft", "wise-ft", "freeze",
    "lora", "dora", "adaptformer", "vpt", "rein", "vqt", "ssf", "fada", "soma", "soma-as-released", "geco",
    "recyclelora",
    "bitfit", "layernorm", "random", "childtune", "childtune-f", "childtune-d", "gps",
    "parts", "random-all", "random-q", "random-k", "random-v",
    "fim", "fim-variational", "delta-fim", "delta-fim-variational", "fishertune-per-sample", "fishertune",
)  # fmt: skip
"""Row order: full and frozen, methods that add parameters, methods that select among the backbone's, FisherTune."""
AVERAGE, TRAINABLE = "average", "trained"
"""Names of the quantities that are not domains, as in ``published.yaml``."""


def build(
    records: Iterable[Record],
    protocol: str | None = None,
    backbone: str | None = None,
    methods: Collection[str] = (),
    published: Lookup = nothing,
) -> list[Table]:
    """Return one table per protocol and backbone, sorted by name.

    Args:
        records: records of any runs; records of methods that are not shown are ignored.
        protocol: show only this protocol (``streets``, ``streets@quick``).
        backbone: show only this backbone.
        methods: rows, by registered name; by default all except ablations and methods with feature perturbation.
        published: look-up of published figures.

    Raises:
        UserError: no such record; records under different conditions; a confusion file that does not belong to its
            record.
    """
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    chosen = shown(records, protocol, backbone, methods)
    for record in sorted(chosen, key=lambda record: order(record.method)):
        groups[record.protocol, record.backbone].append(record)
    return [_table(groups[key], published) for key in sorted(groups)]


def order(method: str) -> tuple[int, str, str]:
    """Return a method's sort key: known methods in :data:`ORDER`, then others by name.

    Variants with given hyperparameters or feature perturbation follow the plain method.
    """
    name, _, given = method.partition("[")
    known = base(method)
    return (ORDER.index(known) if known in ORDER else len(ORDER), name, given)


def apart(records: Iterable[Record]) -> tuple[list[str], list[str]]:
    """Return the registered names of the methods that have records: those of the main comparison, and the others.

    The others are ablations and methods with feature perturbation.
    """
    places = registry.names("method")
    ablations = {name for name, place in places.items() if registry.is_ablation(place)}
    names = dict.fromkeys(record.method.partition("[")[0] for record in records)
    others = [name for name in names if name in ablations or "+" in name]
    return [name for name in names if name not in others], others


def shown(
    records: Iterable[Record], protocol: str | None, backbone: str | None, methods: Collection[str]
) -> list[Record]:
    """Return the records that :func:`build` shows.

    Raises:
        UserError: there are none.
    """
    chosen = _only(_only(list(records), "protocol", protocol), "backbone", backbone)
    if not chosen:
        raise UserError("no records to show; create some with: python -m benchmark run")
    wanted = methods or apart(chosen)[0]
    found = [record for record in chosen if record.method.partition("[")[0] in wanted]
    if not found:
        held = ",".join(sorted({record.method.partition("[")[0] for record in chosen}))
        raise UserError(f"--methods: no records of the requested rows; available: --methods {held}")
    return found


def _only(records: list[Record], field: str, wanted: str | None) -> list[Record]:
    if wanted is None or not records:
        return records
    known = {str(getattr(record, field)) for record in records}
    name = spelled(wanted, known)
    if name is None:
        raise UserError(f"no record of {field} {wanted!r}: {nearest(wanted, known)}")
    return [record for record in records if getattr(record, field) == name]


def _table(records: Sequence[Record], published: Lookup) -> Table:
    trained, released = checkpoints.split(records)
    runs = Runs.of(trained) if trained else Runs(released, {}, tuple(released[0].targets))
    checkpoints.check(released, runs)
    domains = {SOURCE: (SOURCE,), **{target: (target,) for target in runs.targets}, AVERAGE: runs.targets}
    cited = notes.Cited()
    rows = [_row(runs, method, domains, published, cited) for method in runs.finished]
    comparable = executed.same_hardware(trained)
    if not comparable:
        rows = [replace(row, cells=(*row.cells[:-2], Cell(), row.cells[-1])) for row in rows]
    places = {index: each for index, each in enumerate(domains.values(), start=1)}
    rows, marks = mark(rows, runs.finished, places, Resamples())
    rows += checkpoints.rows(released, domains)
    columns = [
        Column("Trainable (M)", decimals([row.cells[0] for row in rows]), spare=4),
        Column("Source", 1, spare=3),
        *(Column(notes.spelling(name), 1) for name in runs.targets),
        Column("Avg.", 1, spare=0),
        Column("Oracle gap", 1, spare=6),
        Column("CPU-s", 0 if all((row.cells[-2].mean or 100) >= 100 for row in rows) else 1, spare=5),
        Column("n", 0, spare=2),
    ]
    oracle = any_oracle_gap(trained)
    if not oracle:  # every run was evaluated once
        columns, rows = columns[:-3] + columns[-2:], [_without_gap(row) for row in rows]
    return Table(
        f"{runs.all[0].protocol}/{runs.all[0].backbone}",
        notes.caption(runs),
        tuple(columns),
        tuple(rows),
        (
            *notes.conditions(runs, cost=comparable, oracle=oracle),
            *notes.of_runs(runs),
            *executed.differences(runs),
            *filter(None, [marks]),
            *cited.notes(),
            *checkpoints.notes(released),
        ),
    )


def _row(runs: Runs, method: str, domains: dict[str, tuple[str, ...]], published: Lookup, cited: notes.Cited) -> Row:
    finished = list(runs.finished[method].values())
    cells = {TRAINABLE: trainable_cell(finished)}
    cells |= {name: cell(finished, mean_score(each)) for name, each in domains.items()}
    for name in cells:
        figure: Figure | None = published(runs.all[0].protocol, runs.all[0].backbone, method, name)
        if figure is not None:
            cells[name] = replace(cells[name], published=figure.value)
            cited.cite(figure, runs.label(method))
    gap, seconds = cell(finished, oracle_gap), cell(finished, lambda record: record.cpu_seconds, 1)
    doubtful = " *" if any(record.warnings for record in finished) else ""
    return Row(method, runs.label(method) + doubtful, (*cells.values(), gap, seconds, Cell(len(finished))))


def _without_gap(row: Row) -> Row:
    return replace(row, cells=row.cells[:-3] + row.cells[-2:])
