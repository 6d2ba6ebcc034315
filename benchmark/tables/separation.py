"""Which cells may be called best and second: those that a paired bootstrap parts from every row below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from benchmark.common.statistics import paired_interval
from benchmark.records import Record
from benchmark.tables.resamples import Resamples

Finished = Mapping[str, Mapping[int, Record]]
"""Finished runs by method and seed."""


def leaders(runs: Finished, domains: Sequence[str], resamples: Resamples) -> list[str]:
    """Return the methods that are best, and second, in the mean over ``domains``: as far as that much is sure.

    Each has to be parted at 95 % from every method below it over their common seeds. Since all these tests must
    succeed together, none needs a correction for there being many. Where there is no best, there is no second.

    Args:
        runs: what is compared.
        domains: keys of :meth:`Record.scores`; every run has them.
        resamples: shared between the columns of a table.

    Raises:
        UserError: see :meth:`Resamples.of`.
    """
    means = {method: fmean(_score(run, domains) for run in seeds.values()) for method, seeds in runs.items()}
    ranked = sorted(means, key=lambda method: -means[method])
    found: list[str] = []
    for place, method in enumerate(ranked[:2]):
        below = ranked[place + 1 :]  # the nearest rival first: it spares reading the rest where nothing is sure
        if not below or not all(_parted(runs[method], runs[other], domains, resamples) for other in below):
            break
        found.append(method)
    return found


def _parted(
    one: Mapping[int, Record], other: Mapping[int, Record], domains: Sequence[str], resamples: Resamples
) -> bool:
    common = sorted(set(one) & set(other))
    if len(common) < 2:
        return False
    scores, rivals = (np.array([_score(each[seed], domains) for seed in common]) for each in (one, other))
    resampled, rivals_resampled = (
        np.stack([resamples.of(each[seed], domains) for seed in common]) for each in (one, other)
    )
    return paired_interval(scores, resampled, rivals, rivals_resampled)[0] > 0


def _score(record: Record, domains: Sequence[str]) -> float:
    scores = record.scores()
    return sum(scores[domain].miou for domain in domains) / len(domains)
