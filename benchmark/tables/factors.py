"""Robustness to one changed factor at a time: the area under mIoU by strength, relative to a reference method."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from benchmark.common.errors import UserError
from benchmark.common.statistics import Floats, paired_interval
from benchmark.records import SOURCE, Record
from benchmark.tables import notes
from benchmark.tables.layout import Cell, Column, Row, Table
from benchmark.tables.main import shown
from benchmark.tables.resamples import Resamples
from benchmark.tables.runs import Runs

STEP = re.compile(r"(?P<factor>.+)-(?P<strength>[123])")
"""Name of a target in which one factor is changed: ``texture-2``."""
AREA = {0: 1 / 6, 1: 1 / 3, 2: 1 / 3, 3: 1 / 6}
"""Weights of the strengths, 0 being the unchanged source: trapezoids from 0 to 3, divided by 3."""
COMMAND = "python -m benchmark run --protocol streets@factors --all"
Steps = dict[str, dict[int, str]]
"""Targets by factor and strength."""


def steps(targets: Iterable[str]) -> Steps:
    """Return the factors whose three strengths are all among the targets, in their order, with the source as 0."""
    found: Steps = {}
    for target in targets:
        if step := STEP.fullmatch(target):
            found.setdefault(step["factor"], {0: SOURCE})[int(step["strength"])] = target
    return {factor: places for factor, places in found.items() if set(places) == set(AREA)}


def build(
    records: Sequence[Record], protocol: str | None = None, backbone: str | None = None, reference: str = "freeze"
) -> list[Table]:
    """Return a table per protocol and backbone that has factors: a row per method, a column per factor.

    A cell is the difference of the method's area to that of ``reference`` in mIoU points, with its 95 % interval over
    common seeds (:func:`benchmark.common.statistics.paired_interval`).

    Raises:
        UserError: no such record, or no runs of the reference.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in shown(records, protocol, backbone, ()):
        if steps(record.targets):
            groups.setdefault((record.protocol, record.backbone), []).append(record)
    if not groups:
        raise UserError(f"no record of single factors; create some with: {COMMAND}")
    return [_table(groups[key], reference) for key in sorted(groups)]


def _table(records: Sequence[Record], reference: str) -> Table:
    runs, resamples = Runs.of(records), Resamples()
    if not runs.finished.get(reference):
        raise UserError(f"no finished run of {reference}, the method that others are compared with; run it first")
    found = steps(runs.targets)
    rows = []
    for method, seeds in runs.finished.items():
        if method != reference:
            cells = [_cell(seeds, runs.finished[reference], [places], resamples) for places in found.values()]
            cells.append(_cell(seeds, runs.finished[reference], list(found.values()), resamples))
            rows.append(Row(method, runs.label(method), tuple(cells)))
    columns = [*(Column(notes.spelling(factor), 1) for factor in found), Column("All", 1, spare=0)]
    first = runs.all[0]
    return Table(
        f"{first.protocol}/{first.backbone}/factors",
        f"Protocol {first.protocol}, backbone {first.backbone}: area under mIoU by strength of one changed factor, "
        f"minus that of {runs.label(reference)}, in points. Seeds {', '.join(map(str, runs.seeds()))}. Fingerprint "
        f"{first.fingerprint[:12]}.",
        tuple(columns),
        tuple(rows),
        (
            "The area is the mean mIoU over strengths 0 (source) to 3, by trapezoids. In parentheses: 95% interval "
            "over images and common seeds; none with fewer than two seeds.",
            *notes.of_runs(runs),
        ),
    )


def _cell(
    ours: Mapping[int, Record], theirs: Mapping[int, Record], factors: Sequence[dict[int, str]], resamples: Resamples
) -> Cell:
    """Return the cell of the mean difference of the areas over the factors."""
    common = sorted(set(ours) & set(theirs))
    if not common:
        return Cell()
    scores = [np.array([area(each[seed], factors) for seed in common]) for each in (ours, theirs)]
    difference = 100 * float(np.mean(scores[0] - scores[1]))
    if len(common) < 2:
        return Cell(difference, n=1, text=f"{difference:+.1f}")
    one, two = (np.stack([_resampled(each[seed], factors, resamples) for seed in common]) for each in (ours, theirs))
    low, high = paired_interval(scores[0], one, scores[1], two)
    return Cell(difference, n=len(common), text=f"{difference:+.1f} ({100 * low:+.1f}, {100 * high:+.1f})")


def area(record: Record, factors: Sequence[dict[int, str]]) -> float:
    """Return the mean area over factors: mIoU (fraction), averaged over the strengths 0 to 3."""
    scores = record.scores()
    return sum(AREA[at] * scores[name].miou for places in factors for at, name in places.items()) / len(factors)


def _resampled(record: Record, factors: Sequence[dict[int, str]], resamples: Resamples) -> Floats:
    parts = [AREA[at] * resamples.of(record, [name]) for places in factors for at, name in places.items()]
    return np.asarray(np.sum(parts, 0) / len(factors))
