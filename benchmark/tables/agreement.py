"""Whether protocols, foundation models and the paper order methods alike: Spearman's rank correlation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean

from benchmark.common.errors import UserError
from benchmark.common.statistics import student_t
from benchmark.records import Record
from benchmark.tables import published as papers
from benchmark.tables.layout import Cell, Column, Row, Table
from benchmark.tables.main import shown
from benchmark.tables.paper import AVERAGE

FEWEST = 4
"""Methods in common without which no interval exists."""
Order = Mapping[str, float]
"""Mean mIoU over unseen domains, by method."""
Scores = Mapping[str, Mapping[int, float]]
"""Mean mIoU over unseen domains, by method and seed; published values have the seed 0."""


def build(records: Sequence[Record], backbone: str | None = None) -> Table:
    """Return a row for each two of: measured protocols with a backbone, and the paper's Table 1.

    Methods are those of the main comparison that both have, each with its mean over the seeds that all of them have.
    Variants of protocols (``streets@quick``) are left out.

    Raises:
        UserError: no two orders have :data:`FEWEST` methods in common.
    """
    measured = _measured([record for record in shown(records, None, backbone, ()) if "@" not in record.protocol])
    scores = {**measured, **_published()}
    rows = []
    for one, other in combinations(scores, 2):
        common = sorted(set(scores[one]) & set(scores[other]))
        if (one in measured or other in measured) and len(common) >= FEWEST:
            ours, theirs = means(scores[one], common), means(scores[other], common)
            if not ours or not theirs:
                continue
            rho = spearman(ours, theirs)
            low, high = interval(rho, len(common))
            cells = (Cell(rho), Cell(text=f"{low:+.2f} to {high:+.2f}"), Cell(len(common)))
            rows.append(Row("", f"{one} – {other}", cells))
    if not rows:
        raise UserError(
            f"no two protocols or foundation models with finished runs of the same {FEWEST} methods and seeds; "
            "create more with: python -m benchmark run --all"
        )
    return Table(
        "agreement",
        "Agreement of the order of methods by mean mIoU over unseen domains: Spearman's rank correlation.",
        (Column("ρ", 2), Column("95% interval", 2), Column("methods", 0)),
        tuple(rows),
        (
            "Interval over methods by Fisher's transformation (Bonett and Wright, 2000); it does not include the "
            "noise of each mean, so a low correlation may also mean that methods do not differ.",
            "Means over the seeds that all methods of a comparison have. Published: Table 1 of FisherTune.",
        ),
    )


def _measured(records: Sequence[Record]) -> dict[str, Scores]:
    found: dict[str, dict[str, dict[int, float]]] = {}
    for record in records:
        if record.average is not None and "[" not in record.method:
            place = found.setdefault(f"{record.protocol} ({record.backbone})", {})
            place.setdefault(record.method, {})[record.seed] = record.average
    return dict(sorted(found.items()))


def means(scores: Scores, methods: Sequence[str]) -> list[float]:
    """Return each method's mean over the seeds that all of them have; nothing if they have none in common.

    Seeds differ more than methods do, so means over different seeds would order seeds.
    """
    seeds = sorted(set.intersection(*(set(scores[method]) for method in methods)))
    return [fmean(scores[method][seed] for seed in seeds) for method in methods if seeds]


def _published() -> dict[str, Scores]:
    """Return the orders of the paper's Table 1: with DINOv2-L, and averaged over its foundation models."""
    layout = papers.layout(1)
    at = next(place for place, column in enumerate(layout.columns) if column.scored == AVERAGE) + layout.trained
    doubled = set(papers.twins().values())
    by_model = {
        group.backbone: {
            method: value
            for method, row in group.rows.items()
            if method not in doubled and (value := row[at]) is not None
        }
        for group in layout.groups
    }
    common = set.intersection(*(set(each) for each in by_model.values()))
    averages = {method: fmean(each[method] for each in by_model.values()) for method in sorted(common)}
    orders: dict[str, Order] = {
        "published (dinov2-l)": by_model["dinov2-l"],
        "published (mean of its models)": averages,
    }
    return {name: {method: {0: value} for method, value in order.items()} for name, order in orders.items()}


def spearman(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return Spearman's rank correlation; ties share their mean rank. NaN if all values of one side are equal."""
    from scipy.stats import spearmanr  # slow to import

    return float(spearmanr(ours, theirs).statistic)


def interval(rho: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of a rank correlation over ``count`` pairs (Bonett and Wright, 2000)."""
    centre = math.atanh(max(min(rho, 1 - 1e-9), -1 + 1e-9))
    margin = student_t((1 + confidence) / 2, 10**6) * math.sqrt((1 + rho**2 / 2) / (count - 3))
    return math.tanh(centre - margin), math.tanh(centre + margin)
