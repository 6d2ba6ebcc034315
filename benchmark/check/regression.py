"""What a change of the code did to runs: whether it costs mIoU, and whether they still compute what they did.

Three questions are asked of the same runs (methods, seeds) made by two states of the code.

*mIoU.* A row's mean over seeds may fall by as much as chance allows: a one-sided t-test whose error is the spread
over seeds in the reference records, pooled over methods, as if every random number had been drawn anew, and what
rounding adds on another machine. All rows together raise a false alarm once in twenty times where rows are
independent; methods of one seed see the same batches and move together, which with four rows and three seeds can
make that once in twelve.

*What they compute.* Half a learning rate hides in that spread. But a seed fixes data, order and initial weights, so
what is left between two runs of one seed is rounding, which the reference records were repeated to measure: with two
threads and narrower vector instructions, as on another processor. Losses and scores that leave it by far have
another cause. Conditions (settings, hashes, true pixels by class) have to be equal.

*What they moved.* A little weight decay on frozen weights hides even there. But a run counts the pre-trained values
that it changed, and there are no more of them than the reference trains; none where the reference moved none.
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
"""So many times what rounding did in a few repetitions must be left before it is no longer called rounding."""
FLOOR = 1e-6
AGAIN = "make the references again: tox -e check-reference"
SCORES = (SOURCE, UNSEEN)
CONDITIONS = ("trainable", "weights_hash", "classes")
LIBRARIES = ("data_hash", "batches_hash", "decoder_hash")
"""Equal wherever libraries and processor are; elsewhere a pixel or an initial weight may be another."""


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
        """Whether the drop is more than chance allows."""
        return self.before - self.now > self.tolerance


@dataclass(frozen=True)
class Comparison:
    """What was found.

    Attributes:
        rows: mIoU by method and score.
        failures: runs that broke off now, in a line each.
        changes: runs that compute something else now, in a line each.
        notes: what could not be compared, in a line each.
    """

    rows: tuple[Row, ...]
    failures: tuple[str, ...]
    changes: tuple[str, ...]
    notes: tuple[str, ...]


class Reference:
    """What the committed records tell about chance: the spread over seeds, and what rounding moves.

    Args:
        runs: the committed records.
        moved: what other rounding moves in each of them.

    Raises:
        UserError: a run that did not finish.
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
    """Return a finished run's mIoU (a fraction) on one of :data:`SCORES`."""
    return numbers(record)[miou_on(score)]


def compare(reference: Reference, before: Runs, now: Runs) -> Comparison:
    """Compare runs by two states of the code.

    Args:
        reference: what chance is measured by.
        before: finished runs by the older state; those in ``now`` are compared.
        now: the same runs by the newer one.

    Raises:
        UserError: runs under different protocols, or confusions that are not their record's.
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
            notes.append(f"{title}: mIoU alone is compared, since other libraries or another processor made {found[0]}")
    return Comparison(_rows(reference, before, now, finished), tuple(failures), tuple(changes), tuple(notes))


def _require_one_protocol(before: Record, now: Record) -> None:
    if before.fingerprint != now.fingerprint:
        found = tables.difference(before.protocol_fields, now.protocol_fields)
        place, old, new = found or ("fingerprint", before.fingerprint, now.fingerprint)
        raise UserError(
            f"protocol {now.protocol}: field {place} is {new}, and was {old} at commit {before.commit}: runs under "
            "other conditions cannot be compared; give --against a commit since the protocol changed"
        )


def _conditions(before: Record, now: Record) -> tuple[list[str], bool]:
    """Return in which conditions two runs differ, and whether what they computed can be compared."""
    old, new = before.settings, now.settings  # one that is new or gone is judged by what it does
    found = [f"setting {name} is {new[name]}, was {old[name]}" for name in old if new.get(name, old[name]) != old[name]]
    found += [f"{name} differs" for name in CONDITIONS if getattr(before, name) != getattr(now, name)]
    moved = [name for name in LIBRARIES if getattr(before, name) != getattr(now, name)]
    if moved and _stack(before) != _stack(now):
        return ["another " + " and ".join(moved), *found], False
    found += [f"{name} differs" for name in moved]
    if "data_hash" not in moved:
        found += _other_truth(before, now)
    return found, True


def _overstepped(reference: Record, now: Record) -> list[str]:
    """Return by how much a run moved more pre-trained values than the reference trains, in a line; else nothing."""
    if reference.moved is None or reference.trainable is None:
        return []
    allowed = reference.trainable.backbone if reference.moved else 0
    if now.moved is not None and now.moved <= allowed:
        return []
    found = "an unknown number" if now.moved is None else f"{now.moved:,}"
    return [f"{found} of the backbone's pre-trained values moved; {allowed:,} may"]


def _stack(record: Record) -> dict[str, Any]:
    """Return the libraries and the processor that a run's numbers come from."""
    versions = {name: version for name, version in record.versions.items() if name != "dgss-benchmark"}
    return versions | {name: record.machine.get(name) for name in ("system", "processor")}


def _other_truth(before: Record, now: Record) -> list[str]:
    """Return the domains whose labels were not read alike: other images, or other pixel counts by true class."""
    (old, old_ids), (new, new_ids) = confusions(before), confusions(now)
    return [
        f"the labels of {domain} are other ones"
        for domain in new
        if old_ids.get(domain) != new_ids[domain] or not np.array_equal(old[domain].sum(-1), new[domain].sum(-1))
    ]


def _beyond(limits: Mapping[str, float], before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """Return the first loss and the first score that left the reach of rounding, and how many did."""
    left = [name for name in before if name not in now or not abs(now[name] - before[name]) <= limits[name]]
    left += [name for name in now if name not in before]
    if not left:
        return []
    name = left[0]
    limit = f"{limits[name]:.1g}" if name in limits else "nothing"
    more = f" (and {len(left) - 1} more of {len(now)})" if len(left) > 1 else ""
    old, new = (f"{values[name]:.6f}" if name in values else "absent" for values in (before, now))
    return [f"{name} is {new}, was {old}; rounding is allowed {limit}{more}"]


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
