"""The runs in a table, checked to be comparable, and the cells computed from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from benchmark.records import Record
from benchmark.tables.comparable import check
from benchmark.tables.layout import Cell

Finished = dict[str, dict[int, Record]]


@dataclass(frozen=True)
class Runs:
    """The runs of one protocol and backbone.

    Attributes:
        all: every record, including those of failed runs.
        finished: finished runs by method and seed; empty for a method without one.
        targets: target domains, in the protocol's order.
    """

    all: Sequence[Record]
    finished: Finished
    targets: tuple[str, ...]

    @classmethod
    def of(cls, records: Iterable[Record]) -> Runs:
        """Group records by method, in the given order, and by ascending seed.

        Raises:
            UserError: records under different conditions.
        """
        found = list(records)
        check(found)
        finished: Finished = {}
        for record in sorted(found, key=lambda record: record.seed):
            seeds = finished.setdefault(record.method, {})
            if record.state == "finished":
                seeds[record.seed] = record
        methods = dict.fromkeys(record.method for record in found)
        stated = found[0].protocol_fields.get("targets") if found else None
        targets = list(stated) if isinstance(stated, dict) else []
        for record in found:
            targets += [name for name in record.targets if name not in targets]
        return cls(found, {method: finished[method] for method in methods}, tuple(targets))

    def label(self, method: str) -> str:
        """Return a method's printed name, with its given hyperparameters."""
        label = next(record.label for record in self.all if record.method == method)
        _, bracket, given = method.partition("[")
        return label if "[" in label else label + bracket + given

    def seeds(self) -> list[int]:
        """Return the seeds of all finished runs."""
        return sorted({seed for runs in self.finished.values() for seed in runs})


def mean_score(domains: Sequence[str]) -> Callable[[Record], float | None]:
    """Return a function from a run to its mean mIoU over ``domains``, or to None if it lacks one of them."""

    def read(record: Record) -> float | None:
        scores = record.scores()
        if not domains or not all(domain in scores for domain in domains):
            return None
        return sum(scores[domain].miou for domain in domains) / len(domains)

    return read


def oracle_gap(record: Record) -> float | None:
    """Return the best minus the final evaluation on the targets: mIoU as a fraction.

    None for a run with a single evaluation.
    """
    if record.oracle is None or record.average is None or len(record.evaluations) < 2:
        return None
    return record.oracle.average - record.average


def any_oracle_gap(records: Iterable[Record]) -> bool:
    """Return whether any of the runs was evaluated more than once, so that there is an oracle gap to show."""
    return any(oracle_gap(record) is not None for record in records)


def cell(runs: Iterable[Record], read: Callable[[Record], float | None], scale: float = 100) -> Cell:
    """Return the cell of the values that ``read`` returns for finished runs; empty if one of them is None."""
    values = [read(record) for record in runs]
    return Cell() if None in values else Cell.over([value for value in values if value is not None], scale)


def trainable_cell(runs: Iterable[Record]) -> Cell:
    """Return the cell of parameters with a gradient in millions, decoder excluded, with a spread if seeds differ."""
    found = cell(runs, lambda record: record.trainable.backbone if record.trainable else None, 1e-6)
    return replace(found, spread=found.spread or None)


def decimals(cells: Sequence[Cell]) -> int:
    """Return enough decimals to show the smallest non-zero number of millions."""
    smallest = min((cell.mean for cell in cells if cell.mean), default=1.0)
    return 2 if smallest >= 0.1 else 3
