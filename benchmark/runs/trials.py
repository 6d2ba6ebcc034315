"""The records of a learning-rate search: the rate chosen for each method, flat curves, and the table."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from benchmark import tables
from benchmark.common.errors import UserError
from benchmark.records import Record
from benchmark.records.naming import without
from benchmark.runs import rates
from benchmark.tables.layout import Cell, Column, Row, Table
from benchmark.tables.resamples import Resamples
from benchmark.tables.separation import better_on_images

Trials = Mapping[str, Mapping[float, Record]]
SIGNIFICANCE = 0.05
FLAT = "Flat, chosen rate not significantly better than the worst (paired bootstrap over images, 95 %)"


def by_method(records: Sequence[Record]) -> Trials:
    """Return runs by method, with its other given hyperparameters (``lora[rank=4]``), and by ascending rate."""
    found: dict[str, dict[float, Record]] = defaultdict(dict)
    for record in sorted(records, key=_rate):
        found[without(record.method, "lr")][_rate(record)] = record
    return {name: found[name] for name in sorted(found, key=tables.order)}


def scores(trials: Mapping[float, Record]) -> rates.Tried:
    """Return mIoU on the held-out images (fraction) by rate."""
    return {rate: record.average for rate, record in trials.items()}


def choose(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Return each method's best learning rate; none for a method that diverged at every rate."""
    found = {name: rates.best(scores(trials)) for name, trials in by_method(records).items()}
    return {name: {"lr": rate} for name, rate in found.items() if rate is not None}


def flat_curves(records: Sequence[Record]) -> list[str]:
    """Return the methods whose score hardly depends on the learning rate.

    The best rate is not significantly better than the worst: paired bootstrap over the held-out images, 95 % for all
    pairs of rates together (Bonferroni), since best and worst are picked by their scores. With a single try, or one
    that diverged, a curve is not flat.

    Raises:
        UserError: a confusion file is missing or does not belong to its record.
    """
    resamples, found = Resamples(), []
    for name, trials in by_method(records).items():
        finished = sorted((record for record in trials.values() if record.average is not None), key=_average)
        if len(finished) < max(2, len(trials)):
            continue
        confidence = 1 - SIGNIFICANCE / math.comb(len(finished), 2)
        worst, best = finished[0], finished[-1]
        if not better_on_images(best, worst, list(best.targets), resamples, confidence):
            found.append(name)
    return found


def table(records: Sequence[Record], flat: Collection[str] = ()) -> Table:
    """Return methods by rates: mIoU in percent on held-out source images; the cell of a diverged run is empty.

    Args:
        records: runs of one protocol and backbone at any rates.
        flat: methods to name in a note, see :func:`flat_curves`.

    Raises:
        UserError: no records, or records under different conditions.
    """
    if not records:
        raise UserError("no records of a search; create some with: python -m benchmark tune")
    tables.check(records)
    found, trials, columns = choose(records), by_method(records), sorted({_rate(record) for record in records})
    labels = {name: without(next(iter(each.values())).label, "lr") for name, each in trials.items()}
    rows = []
    for name, tried in trials.items():
        cells = dict.fromkeys(columns, Cell())
        for rate, record in tried.items():
            if record.average is not None:
                best = found[name] == {"lr": rate}
                cells[rate] = replace(Cell.over([record.average], 100), best=best)
        rows.append(Row(name, labels[name], tuple(cells.values())))
    named = {
        "Best at an end of its rates": [n for n in found if rates.at_end(found[n]["lr"], scores(trials[n]))],
        FLAT: [name for name in trials if name in flat],
        "Diverged at every rate": [name for name in trials if name not in found],
    }
    first = records[0]
    fields = first.protocol_fields
    length = f" after {fields['iterations']} iterations" if "iterations" in fields else ""
    return Table(
        f"{first.protocol}/{first.backbone}",
        f"Protocol {first.protocol}, backbone {first.backbone}: mIoU in % on held-out images of the source by learning "
        f"rate{length}, seed {first.seed}. Fingerprint {first.fingerprint[:12]}.",
        tuple(Column(f"{rate:g}", 1) for rate in columns),
        tuple(rows),
        (
            "Bold: best of its row. No target image was used.",
            *(f"{what}: {', '.join(labels[name] for name in each)}." for what, each in named.items() if each),
        ),
    )


def _rate(record: Record) -> float:
    return float(str(record.settings["lr"]))


def _average(record: Record) -> float:
    assert record.average is not None
    return record.average
