"""Compare runs of two versions of the code: did mIoU drop, did losses or scores change, did frozen weights change?

The same runs (methods, seeds) of both versions are compared in three ways.

*mIoU.* The mean over seeds of each row may drop within chance: a one-sided t-test. Its standard error is the spread
over seeds in the reference records, pooled over methods, as if all random numbers were drawn again, plus the effect
of rounding on another machine. For independent rows, the probability of a false alarm over all rows is 1/20. Methods
with the same seed see the same batches and are correlated; with four rows and three seeds, the probability can rise
to 1/12.

*Losses and scores.* A halved learning rate is within that spread. But a seed fixes data, order and initial weights,
so two runs of one seed differ by rounding only. The reference records include a measurement of rounding: the same
runs with two threads and narrower vector instructions, as on another CPU. Losses and scores that differ by far more
have another cause. Conditions (hyperparameters, hashes, true pixels by class) must be equal.

*Changed weights.* A small weight decay on frozen weights is within rounding. But each run counts the pre-trained values
that it changed; there may be no more than the reference trains, and none if the reference changed none.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark import tables
from benchmark.check.rounding import UNSEEN, Moved, Runs, numbers
from benchmark.check.rounding import score as miou_on
from benchmark.common.errors import UserError
from benchmark.common.statistics import detectable, pooled_spread, student_t
from benchmark.records import SOURCE, Record, confusions

FALSE_ALARMS = 0.05
FACTOR = 10.0
"""Differences up to this multiple of the measured effect of rounding count as rounding."""
FLOOR = 1e-6
AGAIN = "compute the references again: tox -e check-reference"
SCORES = (SOURCE, UNSEEN)
CONDITIONS = ("weights_hash", "classes", "scored_in")
LIBRARIES = ("data_hash", "batches_hash", "decoder_hash")
"""Equal for equal libraries and CPU; otherwise single pixels or initial weights may differ."""


@dataclass(frozen=True)
class Row:
    """One method's mIoU (fractions, means over the common seeds) on one of :data:`SCORES`, before and now."""

    label: str
    score: str
    before: float
    now: float
    tolerance: float
    detectable: float

    @property
    def regressed(self) -> bool:
        """Whether the drop exceeds the tolerance."""
        return self.before - self.now > self.tolerance


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison.

    Attributes:
        rows: mIoU by method and score.
        failures: runs that fail now, one line each.
        changes: runs with other conditions, losses or scores, or too many changed weights, one line each.
        notes: comparisons that were not possible, one line each.
    """

    rows: tuple[Row, ...]
    failures: tuple[str, ...]
    changes: tuple[str, ...]
    notes: tuple[str, ...]


class Reference:
    """Committed records that measure chance: the spread over seeds and the effect of rounding.

    Args:
        runs: the committed records.
        moved: effect of different rounding on each of them.

    Raises:
        UserError: a run did not finish.
    """

    def __init__(self, runs: Runs, moved: Moved) -> None:
        self.runs, self.moved = runs, moved
        self.limits: dict[str, dict[str, float]] = defaultdict(dict)
        for (method, seed), record in runs.items():
            if record.state != "finished":
                raise UserError(f"{record.path or record.name}: not finished; {AGAIN}")
            for name, difference in moved[method, seed].items():
                limit = FACTOR * abs(difference) + FLOOR
                self.limits[method][name] = max(limit, self.limits[method].get(name, 0.0))

    def error(self, score: str, seeds: int) -> tuple[float, int]:
        """Return the standard error of a difference between two means over ``seeds``, and its degrees of freedom.

        Raises:
            UserError: no method has two seeds.
        """
        rows: dict[str, list[float]] = defaultdict(list)
        for (method, _), record in self.runs.items():
            rows[method].append(value(record, score))
        try:
            spread, freedom = pooled_spread(list(rows.values()))
        except ValueError as error:
            raise UserError(f"the reference records: {error}; {AGAIN}") from None
        moved = [each[miou_on(score)] for each in self.moved.values()]
        return math.sqrt((2 * spread**2 + float(np.mean(np.square(moved)))) / seeds), freedom


def value(record: Record, score: str) -> float:
    """Return the mIoU (fraction) of a finished run on one of :data:`SCORES`."""
    return numbers(record)[miou_on(score)]


def compare(reference: Reference, before: Runs, now: Runs) -> Comparison:
    """Compare runs of two versions of the code.

    Args:
        reference: measures chance.
        before: finished runs of the older version; those in ``now`` are compared.
        now: the same runs of the newer version.

    Raises:
        UserError: runs of different protocols, or confusion matrices that do not match their record.
    """
    failures, changes, notes, finished = [], [], [], []
    for key, record in now.items():
        title = f"{record.label}, seed {record.seed}"
        if record.state == "failed":
            failures.append(f"{title}: {record.error}")
            continue
        finished.append(key)
        _require_one_protocol(before[key], record)
        changes += [f"{title}: {line}" for line in _overstepped(reference.runs[key], record)]
        found, comparable = _conditions(before[key], record)
        if comparable:
            found += _beyond(reference.limits[record.method], numbers(before[key]), numbers(record))
            changes += [f"{title}: {line}" for line in found]
        else:
            notes.append(f"{title}: only mIoU is compared: libraries or CPU differ, and so do {found[0]}")
    return Comparison(_rows(reference, before, now, finished), tuple(failures), tuple(changes), tuple(notes))


def _require_one_protocol(before: Record, now: Record) -> None:
    if before.fingerprint != now.fingerprint:
        found = tables.difference(before.protocol_fields, now.protocol_fields)
        place, old, new = found or ("fingerprint", before.fingerprint, now.fingerprint)
        raise UserError(
            f"protocol {now.protocol}: field {place} is {new}, was {old} at commit {before.commit}; runs of different "
            "protocols cannot be compared; give --against a commit after the protocol changed"
        )


def _conditions(before: Record, now: Record) -> tuple[list[str], bool]:
    """Return the conditions in which two runs differ, and whether losses and scores can be compared."""
    old, new = before.settings, now.settings  # an added or removed one counts only by its effect
    found = [f"setting {name} is {new[name]}, was {old[name]}" for name in old if new.get(name, old[name]) != old[name]]
    found += [f"{name} differs" for name in CONDITIONS if getattr(before, name) != getattr(now, name)]
    if _parameters(before) != _parameters(now):
        found.append("trainable differs")
    moved = [name for name in LIBRARIES if getattr(before, name) != getattr(now, name)]
    if moved and _stack(before) != _stack(now):
        return [" and ".join(moved), *found], False
    found += [f"{name} differs" for name in moved]
    if "data_hash" not in moved:
        found += _other_truth(before, now)
    return found, True


def _parameters(record: Record) -> tuple[int, int] | None:
    """Return the parameters of method and decoder, with or without a gradient: older records count both as one."""
    count = record.trainable
    return None if count is None else (count.backbone + count.unreached, count.decoder)


def _overstepped(reference: Record, now: Record) -> list[str]:
    """Return a line if a run changed more pre-trained values than the reference trains."""
    if reference.moved is None or reference.trainable is None:
        return []
    allowed = reference.trainable.backbone if reference.moved else 0
    if now.moved is not None and now.moved <= allowed:
        return []
    found = "an unknown number" if now.moved is None else f"{now.moved:,}"
    return [f"{found} of the backbone's pre-trained values changed; {allowed:,} may change"]


def _stack(record: Record) -> dict[str, Any]:
    """Return the libraries, system and CPU of a run, which determine rounding."""
    versions = {name: version for name, version in record.versions.items() if name != "dgss-benchmark"}
    return versions | {name: record.machine.get(name) for name in ("system", "processor")}


def _other_truth(before: Record, now: Record) -> list[str]:
    """Return a line per domain whose labels differ: other images, or other pixel counts by true class."""
    (old, old_ids), (new, new_ids) = confusions(before), confusions(now)
    return [
        f"the labels of {domain} differ"
        for domain in new
        if old_ids.get(domain) != new_ids[domain] or not np.array_equal(old[domain].sum(-1), new[domain].sum(-1))
    ]


def _beyond(limits: Mapping[str, float], before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """Return a line with the first loss or score that differs by more than rounding, and how many do."""
    left = [name for name in before if name not in now or not abs(now[name] - before[name]) <= limits[name]]
    left += [name for name in now if name not in before]
    if not left:
        return []
    name = left[0]
    limit = f"{limits[name]:.1g}" if name in limits else "0"
    more = f" (and {len(left) - 1} more of {len(now)})" if len(left) > 1 else ""
    old, new = (f"{values[name]:.6f}" if name in values else "absent" for values in (before, now))
    return [f"{name} is {new}, was {old}; tolerance {limit}{more}"]


def _rows(reference: Reference, before: Runs, now: Runs, finished: Sequence[tuple[str, int]]) -> tuple[Row, ...]:
    seeds: dict[str, list[int]] = defaultdict(list)
    for method, seed in finished:
        seeds[method].append(seed)
    significance = FALSE_ALARMS / max(1, len(seeds) * len(SCORES))
    rows = []
    for method in sorted(seeds, key=tables.order):
        keys = [(method, seed) for seed in seeds[method]]
        for score in SCORES:
            error, freedom = reference.error(score, len(keys))
            old, new = (float(np.mean([value(runs[key], score) for key in keys])) for runs in (before, now))
            tolerance = student_t(1 - significance, freedom) * error
            least = detectable(error, freedom, significance)
            rows.append(Row(now[keys[0]].label, score, old, new, tolerance, least))
    return tuple(rows)
