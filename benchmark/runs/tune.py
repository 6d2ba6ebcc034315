"""``python -m benchmark tune``: search every method's learning rate equally, on held-out source images.

Each method gets the same rates, one run per rate, and nothing else is searched. The runs use the protocol's variant
``tune``, whose only "target" is a part of the source domain that is used for nothing else; no choice depends on a
target image. The rates found belong in the protocol's section ``searched``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from rich.console import Console

from benchmark import protocol, tables
from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.data.location import place_for
from benchmark.models.catalogue import find_backbone
from benchmark.records import Record, read
from benchmark.runs import request, sweep
from benchmark.runs.job import Job
from benchmark.tables.layout import Cell, Column, Row, Table

VARIANT = "tune"
SEED = 1000  # far from the seeds that results are reported for


def run(
    name: str,
    methods: str,
    rates: str,
    *,
    backbone: str | None,
    weights: Path | None,
    data_root: Path | None,
    records: Path,
    workers: int | None,
) -> None:
    """Execute the pending runs of the search, then print its table and the rates that it found.

    Raises:
        UserError: anything that can be known before training starts.
        SystemExit: code 1 if a run crashed.
    """
    console = Console(stderr=True)
    fixed = protocol.load(name, VARIANT)
    names = request.parse_methods(methods) if methods else tunable()
    jobs = plan(
        fixed, find_backbone(backbone or fixed.backbone).name, names, parse_rates(rates),
        data_root=place_for(fixed, data_root), folder=records, weights=weights,
    )  # fmt: skip
    outcomes = sweep.run_pending(jobs, workers, console, skip_unserved=not methods)
    done = [read(job.record) for job in jobs if job.record.exists()]
    print(tables.markdown(table(done)))
    print(yaml.safe_dump({"searched": choose(done)}, sort_keys=False).rstrip())
    # A rate at which training diverges counts as tried: its record says so, and it is never chosen.
    sweep.report_unfinished([outcome for outcome in outcomes if outcome.state != "failed"], console)


def tunable() -> list[str]:
    """Return the methods of the main comparison that have a learning rate."""
    return [name for name in registry.main_methods() if "lr" in registry.find("method", name).Settings.model_fields]


def parse_rates(text: str) -> list[float]:
    """Read ``1e-4,3e-4``.

    Raises:
        UserError: anything else, or a rate that is not between 0 and 1.
    """
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--rates {text}: must be numbers, such as 1e-4,3e-4,1e-3") from None
    if not all(0 < rate < 1 for rate in rates):
        raise UserError(f"--rates {text}: each must be between 0 and 1")
    return sorted(set(rates))


def plan(
    fixed: protocol.Protocol,
    backbone: str,
    methods: Sequence[str],
    rates: Sequence[float],
    *,
    data_root: Path,
    folder: Path,
    weights: Path | None = None,
) -> list[Job]:
    """Return the runs of the search: every method at every rate.

    Raises:
        UserError: an unknown method, or one without a learning rate.
    """
    for name in methods:
        if "lr" not in registry.find("method", name).Settings.model_fields:
            raise UserError(f"method {name!r} has no learning rate to search for; leave it out of --methods")
    jobs: list[Job] = []
    for rate in rates:
        given = {name: {"lr": rate} for name in methods}
        jobs += request.plan(
            fixed, backbone, methods, [SEED], given, data_root=data_root, folder=folder, weights=weights
        )
    return jobs


def choose(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Return each method's best learning rate by mIoU on the held-out source images; the lower one in a tie."""
    best: dict[str, tuple[float, float]] = {}
    for record in sorted(records, key=_rate):
        if record.average is not None and record.average > best.get(_method(record), (-1.0, 0.0))[0]:
            best[_method(record)] = record.average, _rate(record)
    return {name: {"lr": best[name][1]} for name in sorted(best, key=tables.order)}


def table(records: Sequence[Record]) -> Table:
    """Return methods by rates: mIoU in percent on held-out source images; the cell of a diverged run is empty."""
    if not records:
        raise UserError("the search has no finished run yet; run the same command again")
    tables.check(records)
    found, rates = choose(records), sorted({_rate(record) for record in records})
    rows = {name: dict.fromkeys(rates, Cell()) for name in sorted({_method(r) for r in records}, key=tables.order)}
    for record in records:
        if record.average is not None:
            best = found[_method(record)] == {"lr": _rate(record)}
            rows[_method(record)][_rate(record)] = replace(Cell.over([record.average], 100), best=best)
    labels = {_method(record): record.label.partition("[")[0] for record in records}
    edge = [labels[name] for name, values in found.items() if values["lr"] in (rates[0], rates[-1])]
    first = records[0]
    return Table(
        f"{first.protocol}/{first.backbone}",
        f"Protocol {first.protocol}, backbone {first.backbone}: mIoU in % on held-out images of the source by learning "
        f"rate, seed {SEED}. Fingerprint {first.fingerprint[:12]}.",
        tuple(Column(f"{rate:g}", 1) for rate in rates),
        tuple(Row(name, labels[name], tuple(cells.values())) for name, cells in rows.items()),
        ("Bold: chosen. No target image was used.", *(f"{name}: at an end of the range." for name in edge)),
    )


def _method(record: Record) -> str:
    return record.method.partition("[")[0]


def _rate(record: Record) -> float:
    return float(str(record.settings["lr"]))
