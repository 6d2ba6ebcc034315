"""Which cells may be called best: those that a paired bootstrap parts from every other row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmark.errors import UserError
from benchmark.records import Record, confusions
from benchmark.statistics import Floats, image_weights, paired_interval, resampled_miou

REPLICATES = 1000


class Resamples:
    """Every run's mIoU on resampled images, computed once and only when asked for."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Floats]] = {}
        self._ids: dict[str, tuple[Record, list[str]]] = {}
        self._weights: dict[str, Floats] = {}

    def of(self, record: Record, domains: Sequence[str]) -> Floats:
        """Return the mean over ``domains`` of a run's mIoU, in each of the replicates.

        Raises:
            UserError: the run's confusions are gone, or not of the same images as another's.
        """
        if record.name not in self._known:
            self._known[record.name] = self._resample(record)
        return np.asarray(np.mean([self._known[record.name][domain] for domain in domains], axis=0))

    def _resample(self, record: Record) -> dict[str, Floats]:
        matrices, ids = confusions(record)
        found = {}
        for domain, each in matrices.items():
            other, names = self._ids.setdefault(domain, (record, ids[domain]))
            if names != ids[domain]:
                raise UserError(f"{record.path} and {other.path}: scored on different images of {domain}")
            if domain not in self._weights:
                self._weights[domain] = image_weights(domain, len(each), REPLICATES)
            found[domain] = resampled_miou(each, self._weights[domain])
        return found


def best_row(runs: Mapping[str, Mapping[int, Record]], domains: Sequence[str], resamples: Resamples) -> str | None:
    """Return the method that is best in the mean over ``domains``, if that much is sure.

    It has to be parted at 95 % from each other method over their common seeds. Since all these tests must
    succeed together, none needs a correction for there being many.

    Args:
        runs: finished runs by method and seed.
        domains: keys of :meth:`Record.scores`.
        resamples: shared between the columns of a table.

    Raises:
        UserError: see :meth:`Resamples.of`.
    """
    means = {method: float(np.mean([_score(run, domains) for run in seeds.values()])) for method, seeds in runs.items()}
    first, *others = sorted(means, key=lambda method: -means[method])
    for other in others:  # the nearest rival first: it spares reading the rest where nothing is sure
        common = sorted(set(runs[first]) & set(runs[other]))
        if len(common) < 2:
            return None
        scores, rivals = (np.array([_score(runs[each][seed], domains) for seed in common]) for each in (first, other))
        resampled, rivals_resampled = (
            np.stack([resamples.of(runs[each][seed], domains) for seed in common]) for each in (first, other)
        )
        if paired_interval(scores, resampled, rivals, rivals_resampled)[0] <= 0:
            return None
    return first if others else None


def _score(record: Record, domains: Sequence[str]) -> float:
    scores = record.scores()
    return float(np.mean([scores[domain].miou for domain in domains]))
