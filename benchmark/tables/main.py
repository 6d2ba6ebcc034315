"""The suite's own table: methods by cost, source score, unseen domains and their average."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmark import registry
from benchmark.errors import UserError, nearest
from benchmark.records import SOURCE, Record
from benchmark.tables.comparable import check
from benchmark.tables.layout import Cell, Column, Row, Table
from benchmark.tables.separation import Resamples, best_row

ORDER = (
    "full", "freeze",
    "lora", "adaptformer", "vpt", "rein", "vqt", "fada", "soma", "soma-as-released", "geco",
    "bitfit", "layernorm", "random", "random-q", "random-k", "random-v", "childtune", "childtune-f", "childtune-d",
    "fim", "fim-variational", "delta-fim", "delta-fim-variational", "dr-fim-variational",
    "fishertune",
)  # fmt: skip
"""Rows: the two ends, what adds parameters, what selects among the backbone's own, the method under study."""
SPELLING = {
    "gta5": "GTA5", "bdd100k": "BDD100K", "acdc": "ACDC", "camvid": "CamVid", "synthia": "SYNTHIA",
    "urbansyn": "UrbanSyn", "foggy-zurich": "Foggy Zurich", "foggy-driving": "Foggy Driving",
    "dark-zurich": "Dark Zurich", "nighttime-driving": "Nighttime Driving",
}  # fmt: skip
BOLD = "Bold: best, and parted from every other row at 95 % by a paired bootstrap over images and seeds."
REASON_LENGTH = 90


def build(records: Iterable[Record], protocol: str | None = None, backbone: str | None = None) -> list[Table]:
    """Return one table per protocol and backbone, sorted by name.

    Args:
        records: of any runs.
        protocol: only this one's (``streets``, ``streets@quick``).
        backbone: only this one's.

    Raises:
        UserError: no such record; records under different conditions; confusions that are not their record's.
    """
    chosen = _only(_only(list(records), "protocol", protocol), "backbone", backbone)
    if not chosen:
        raise UserError("no records to make a table of; make some with: python -m benchmark run")
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in chosen:
        groups[record.protocol, record.backbone].append(record)
    return [_table(groups[key]) for key in sorted(groups)]


def order(method: str) -> tuple[int, str, str]:
    """Return a method's sort key: known ones in :data:`ORDER`, given settings after the defaults, others last.

    A method that carries perturbation follows the plain one.
    """
    name, _, given = method.partition("[")
    known = registry.base(name)
    return (ORDER.index(known) if known in ORDER else len(ORDER), name, given)


@dataclass(frozen=True)
class _Runs:
    """The records of one table, checked to be comparable."""

    all: Sequence[Record]
    finished: dict[str, dict[int, Record]]
    targets: tuple[str, ...]

    @classmethod
    def of(cls, records: Sequence[Record]) -> _Runs:
        check(records)
        finished: dict[str, dict[int, Record]] = {}
        for record in sorted(records, key=lambda record: (order(record.method), record.seed)):
            seeds = finished.setdefault(record.method, {})
            if record.state == "finished":
                seeds[record.seed] = record
        stated = records[0].protocol_fields.get("targets")
        targets = list(stated) if isinstance(stated, dict) else []
        for record in records:
            targets += [name for name in record.targets if name not in targets]
        return cls(records, finished, tuple(targets))

    def label(self, method: str) -> str:
        """A method's name in print, with its given settings."""
        label = next(record.label for record in self.all if record.method == method)
        _, bracket, given = method.partition("[")
        return label if "[" in label else label + bracket + given

    def seeds(self) -> list[int]:
        """Every seed of a finished run."""
        return sorted({seed for runs in self.finished.values() for seed in runs})


def _only(records: list[Record], field: str, wanted: str | None) -> list[Record]:
    if wanted is None or not records:
        return records
    chosen = [record for record in records if getattr(record, field) == wanted]
    if not chosen:
        known = {str(getattr(record, field)) for record in records}
        raise UserError(f"no record of {field} {wanted!r}: {nearest(wanted, known)}")
    return chosen


def _table(records: Sequence[Record]) -> Table:
    runs = _Runs.of(records)
    domains = [(SOURCE,), *((target,) for target in runs.targets), runs.targets]
    rows = [_row(runs, method, domains) for method in runs.finished]
    rows, bold = _mark(runs, rows, domains)
    heads = ["Source", *(_spelling(target) for target in runs.targets), "Avg."]
    columns = [
        Column("Trained (M)", _decimals([row.cells[0] for row in rows])),
        *(Column(head, 1) for head in heads),
        Column("CPU-s", 0 if all((row.cells[-2].mean or 100) >= 100 for row in rows) else 1),
        Column("n", 0),
    ]
    name = f"{records[0].protocol}/{records[0].backbone}"
    return Table(name, _caption(runs), tuple(columns), tuple(rows), (*_notes(runs), *filter(None, [bold])))


def _row(runs: _Runs, method: str, domains: Sequence[tuple[str, ...]]) -> Row:
    finished = list(runs.finished[method].values())
    trained = Cell.over([record.trainable.backbone for record in finished if record.trainable], 1e-6)
    scores = [_score_cell(finished, each) for each in domains]
    seconds = Cell.over([record.cpu_seconds for record in finished])
    return Row(
        method,
        runs.label(method),
        (replace(trained, spread=trained.spread or None), *scores, seconds, Cell(len(finished))),
    )


def _score_cell(finished: Sequence[Record], domains: Sequence[str]) -> Cell:
    """Return the mean over ``domains`` in percent; empty unless every run has every one of them."""
    if not all(domain in record.scores() for record in finished for domain in domains):
        return Cell()
    means = [sum(record.scores()[domain].miou for domain in domains) / len(domains) for record in finished]
    return Cell.over(means, 100)


def _mark(runs: _Runs, rows: list[Row], domains: Sequence[tuple[str, ...]]) -> tuple[list[Row], str]:
    """Return the rows with their best cells marked, and the note that says what marks mean, or why none is."""
    scored = {method: seeds for method, seeds in runs.finished.items() if seeds}
    if len(scored) < 2:
        return rows, ""
    hindrance = _hindrance(runs, scored)
    if hindrance:
        return rows, f"Nothing is bold: {hindrance}."
    resamples, best = Resamples(), {}
    for index, each in enumerate(domains, start=1):
        if all(row.cells[index].mean is not None for row in rows if row.method in scored):
            best[index] = best_row(scored, each, resamples)
    marked = []
    for row in rows:
        cells = [replace(cell, best=best.get(i) == row.method) for i, cell in enumerate(row.cells)]
        marked.append(replace(row, cells=tuple(cells)))
    return marked, BOLD if any(best.values()) else "Nothing is bold: no best is parted from every other row."


def _hindrance(runs: _Runs, scored: Mapping[str, Mapping[int, Record]]) -> str:
    """Return what keeps the rows from being told apart; empty if nothing does."""
    if any(len(seeds) < 2 for seeds in scored.values()):
        return "to tell a difference from chance takes at least two seeds of every method"
    for seeds in scored.values():
        for record in seeds.values():
            if not _has_confusions(record):
                return f"{runs.label(record.method)}, seed {record.seed}, has no per-image confusions beside it"
    return ""


def _has_confusions(record: Record) -> bool:
    return record.path is not None and record.path.with_suffix(".npz").is_file()


def _caption(runs: _Runs) -> str:
    first = runs.all[0]
    fields = first.protocol_fields
    sources = " + ".join(_spelling(str(part["dataset"])) for part in _sources(fields))
    trained = f" on {sources}" if sources else ""
    length = f" after {fields['iterations']} iterations" if "iterations" in fields else ""
    seeds = runs.seeds()
    over = f"mean ± standard deviation over n of the seeds {_list(seeds)}" if len(seeds) > 1 else f"seed {_list(seeds)}"
    return (
        f"Protocol {first.protocol}, backbone {first.backbone}: mIoU in %{length}{trained}, "
        f"{over if seeds else 'no run has finished'}. Fingerprint {first.fingerprint[:12]}."
    )


def _notes(runs: _Runs) -> list[str]:
    counts = sorted({r.trainable.decoder for r in runs.all if r.trainable is not None and r.trainable.decoder})
    # A method that offers its own queries trains a few more or fewer of the decoder's weights.
    span = " to ".join(dict.fromkeys(f"{count / 1e6:.2f}" for count in (*counts[:1], *counts[-1:])))
    also = f"; the decoder's {span} M train in every row" if counts else ""
    notes = [
        f"Trained: parameters of the backbone's side, in millions{also}.",
        f"Source: {_scored(runs.all[0].protocol_fields)} images of the source. Avg.: of the unseen domains. "
        "CPU-s: processor time of one run.",
    ]
    notes += _effort(runs)
    everyone = runs.seeds()
    for method, seeds in runs.finished.items():
        if seeds and sorted(seeds) != everyone:
            notes.append(f"{runs.label(method)}: seed{'s' if len(seeds) > 1 else ''} {_list(sorted(seeds))} only.")
    for record in sorted(runs.all, key=lambda record: (order(record.method), record.seed)):
        if record.state == "failed":
            notes.append(
                f"{runs.label(record.method)}, seed {record.seed}, failed and is not averaged: {_reason(record)}."
            )
    return notes


def _sources(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    stated = fields.get("source")
    parts = stated if isinstance(stated, list) else [stated]
    return [part for part in parts if isinstance(part, dict) and "dataset" in part]


def _scored(fields: Mapping[str, Any]) -> str:
    """Return which images of the source are scored: a protocol that trains on all of them holds none out."""
    scored = fields.get("validation") or {}
    among = any(all(part.get(key) == scored.get(key) for key in ("dataset", "split")) for part in _sources(fields))
    return "trained-on" if among else "held-out"


def _effort(runs: _Runs) -> list[str]:
    """Say so where the learning rates of some rows were searched and those of others were not."""
    rates = {runs.label(r.method): r.origins["lr"] for r in runs.all if r.state == "finished" and "lr" in r.origins}
    without = [label for label, origin in rates.items() if origin != "search"]
    if not without or len(without) == len(rates):
        return []
    return [f"Learning rate not searched, unlike the others': {', '.join(without)}."]


def _reason(record: Record) -> str:
    reason = " ".join((record.error or "").split()).rstrip(".")
    return reason if len(reason) <= REASON_LENGTH else reason[: REASON_LENGTH - 1] + "…"


def _decimals(cells: Sequence[Cell]) -> int:
    """Return how many decimals tell the smallest of some numbers of millions from nothing."""
    smallest = min((cell.mean for cell in cells if cell.mean), default=1.0)
    return 2 if smallest >= 0.1 else 3


def _spelling(name: Any) -> str:
    return SPELLING.get(name, str(name)[:1].upper() + str(name)[1:])


def _list(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
