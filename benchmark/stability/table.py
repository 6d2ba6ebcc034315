"""The table of measurements over seeds: overlap by number of images, and at equal cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from benchmark.common.errors import UserError
from benchmark.stability.record import Criterion, Estimator, Stability
from benchmark.tables.executed import same_machine
from benchmark.tables.layout import Cell, Column, Row, Table
from benchmark.tables.notes import spelling

NAMES = {"f": "F", "delta-f": "ΔF", "drf": "DRF"}
SAME = ("protocol", "fingerprint", "data_hash", "backbone", "weights_hash", "settings", "images")


def check(records: Sequence[Stability]) -> None:
    """Check that all seeds were measured under the same conditions.

    Raises:
        UserError: one differs; the message names the seed and the field.
    """
    for record in records[1:]:
        for name in SAME:
            if getattr(record, name) != getattr(records[0], name):
                raise UserError(
                    f"stability of {record.protocol}: seeds {records[0].seed} and {record.seed} differ in {name}; "
                    "repeat them with --force"
                )


def overlaps(records: Sequence[Stability], estimator: Estimator, criterion: Criterion, place: int) -> list[float]:
    """Return each seed's overlap at the number of images with index ``place``."""
    return [record.curves[estimator][place].agreement[criterion].overlap for record in records]


def build(records: Sequence[Stability]) -> Table:
    """Return overlaps in percent by criterion, estimator and number of images: mean and spread over seeds."""
    check(records)
    first = records[0]
    equal = min(
        curve[-1].agreement[name].evaluations for curve in first.curves.values() for name in get_args(Criterion)
    )
    rows = []
    for criterion in get_args(Criterion):
        for estimator in get_args(Estimator):
            points = first.curves[estimator]
            cells = [Cell.over(overlaps(records, estimator, criterion, at), 100) for at in range(len(points))]
            costs = [point.agreement[criterion].evaluations for point in points]
            at_equal = cells[costs.index(equal)] if equal in costs else Cell()
            alike = records if same_machine(record.machine for record in records) else ()
            seconds = Cell.over([record.curves[estimator][-1].cpu_seconds for record in alike])
            each = Cell(costs[-1] / points[-1].images)
            own = (first.settings["criterion"], first.settings["estimator"]) == (criterion, estimator)
            label = f"{NAMES[criterion]}, {estimator}" + " (FisherTune)" * own
            rows.append(Row(f"{criterion}/{estimator}", label, (*cells, each, at_equal, seconds)))
    columns = [Column(f"{count} images", 1) for count in first.images]
    columns += [Column("Evaluations per image", 0), Column(f"{equal} evaluations", 1), Column("CPU-s", 1)]
    seeds = ", ".join(str(record.seed) for record in records)
    return Table(
        f"stability/{first.protocol}/{first.backbone}",
        f"Protocol {first.protocol}, backbone {first.backbone}: overlap in % of the {first.chosen:,} weights selected "
        f"by two independent estimates, mean ± standard deviation over seeds {seeds}. "
        f"Fingerprint {first.fingerprint[:12]}.",
        tuple(columns),
        tuple(rows),
        (
            f"Two random selections overlap by {100 * first.chance:.1f} %.",
            "Evaluations: gradients of single images. F needs gradients on x only, ΔF and DRF also on x'; variational "
            "uses an antithetic pair for each.",
            f"{equal} evaluations: the largest number that every row reaches. CPU-s: CPU time of one estimate from "
            f"{first.images[-1]} images, on x and x', in seconds.",
        ),
    )


def of_targets(records: Sequence[Stability]) -> Table | None:
    """Return the overlap of selections on the source with those by F on each target; None without such targets."""
    check(records)
    first = records[0]
    if not all(record.targets for record in records):
        return None
    rows = []
    for target in first.targets:
        each = [record.targets[target] for record in records]
        cells = [Cell.over([one.source[criterion] for one in each], 100) for criterion in get_args(Criterion)]
        rows.append(Row(target, spelling(target), (*cells, Cell.over([one.itself for one in each], 100))))
    heads = [f"{NAMES[criterion]} on the source" for criterion in get_args(Criterion)]
    return Table(
        f"stability/{first.protocol}/{first.backbone}/targets",
        f"Protocol {first.protocol}, backbone {first.backbone}: overlap in % of the weights with the largest F on each "
        f"target's own images and labels with those selected on the source, mean ± standard deviation over seeds "
        f"{', '.join(str(record.seed) for record in records)}. Fingerprint {first.fingerprint[:12]}.",
        tuple(Column(head, 1) for head in (*heads, "F on the target, again")),
        tuple(rows),
        (
            f"Two random selections overlap by {100 * first.chance:.1f} %. Estimated per sample from "
            f"{first.images[-1]} images each; the last column compares two estimates from other images of the target.",
        ),
    )
