"""Significance of the best and second-best methods, by a paired bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from benchmark.common.statistics import paired_image_interval, paired_interval
from benchmark.records import Record
from benchmark.tables.resamples import Resamples

Finished = Mapping[str, Mapping[int, Record]]
"""Finished runs by method and seed."""


def leaders(runs: Finished, domains: Sequence[str], resamples: Resamples) -> list[str]:
    """Return the best and the second-best method in the mean over ``domains``, as far as they are significant.

    Each must be significantly better (95 %) than every method below it over their common seeds. All these tests must
    succeed, so no correction for multiple testing is needed. Without a best there is no second.

    Args:
        runs: the runs to compare.
        domains: keys of :meth:`Record.scores` that every run has.
        resamples: shared between the columns of a table.

    Raises:
        UserError: see :meth:`Resamples.of`.
    """
    means = {method: fmean(_score(run, domains) for run in seeds.values()) for method, seeds in runs.items()}
    ranked = sorted(means, key=lambda method: -means[method])
    found: list[str] = []
    for place, method in enumerate(ranked[:2]):
        below = ranked[place + 1 :]  # the closest first: if it fails, the other confusion files are not read
        if not below or not all(_better(runs[method], runs[other], domains, resamples) for other in below):
            break
        found.append(method)
    return found


def groups(runs: Finished, domains: Sequence[str], resamples: Resamples) -> dict[str, int]:
    """Return, for each method, one plus the number of methods that are significantly better (95 %).

    Every pair is tested as in :func:`leaders`, without correction for multiple testing. Methods with fewer than two
    seeds are left out; if fewer than two methods remain, the result is empty.

    Args:
        runs: the runs to compare.
        domains: keys of :meth:`Record.scores` that every run has.
        resamples: shared between the columns of a table.

    Raises:
        UserError: see :meth:`Resamples.of`.
    """
    tested = {method: seeds for method, seeds in runs.items() if len(seeds) > 1}
    if len(tested) < 2:
        return {}
    return {
        method: 1 + sum(_better(tested[other], seeds, domains, resamples) for other in tested if other != method)
        for method, seeds in tested.items()
    }


def better_on_images(
    one: Record, other: Record, domains: Sequence[str], resamples: Resamples, confidence: float = 0.95
) -> bool:
    """Return whether a run is significantly better than another of the same seed, by a paired bootstrap over images.

    With a single image per domain no difference is significant.

    Raises:
        UserError: see :meth:`Resamples.of`.
    """
    images = [one.scores()[domain].images for domain in domains]
    if max(images) < 2:
        return False
    difference = _score(one, domains) - _score(other, domains)
    resampled = resamples.of(one, domains) - resamples.of(other, domains)
    return paired_image_interval(difference, resampled, images, confidence)[0] > 0


def _better(
    one: Mapping[int, Record], other: Mapping[int, Record], domains: Sequence[str], resamples: Resamples
) -> bool:
    common = sorted(set(one) & set(other))
    if len(common) < 2:
        return False
    ours, theirs = (np.array([_score(each[seed], domains) for seed in common]) for each in (one, other))
    ours_resampled, theirs_resampled = (
        np.stack([resamples.of(each[seed], domains) for seed in common]) for each in (one, other)
    )
    return paired_interval(ours, ours_resampled, theirs, theirs_resampled)[0] > 0


def _score(record: Record, domains: Sequence[str]) -> float:
    scores = record.scores()
    return sum(scores[domain].miou for domain in domains) / len(domains)
