"""The numbers that tables rest on: IoU from confusion matrices, and how sure a difference is."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def iou(confusion: npt.NDArray[Any]) -> Floats:
    """Return the intersection over union of every class, as mmsegmentation's IoUMetric defines it.

    Args:
        confusion: (..., C, C) pixel counts, [truth, prediction], summed over images.

    Returns:
        (..., C), between 0 and 1; NaN for a class in neither truth nor prediction.
    """
    counts = confusion.astype(np.float64)
    hit = np.diagonal(counts, axis1=-2, axis2=-1)
    return iou_of(hit, counts.sum(-1) + counts.sum(-2) - hit)


def iou_of(intersection: npt.NDArray[Any], union: npt.NDArray[Any]) -> Floats:
    """Return intersection / union, NaN where the union is empty."""
    absent = np.full(np.shape(union), np.nan)
    return np.divide(intersection, union, out=absent, where=np.asarray(union) > 0)


def miou(confusion: npt.NDArray[Any]) -> Floats:
    """Return the mean IoU over the classes that occur: (..., C, C) -> (...).

    Raises:
        ValueError: no pixel was counted, so that no class has an IoU.
    """
    each = iou(confusion)
    if np.isnan(each).all(-1).any():
        raise ValueError("a confusion matrix counts no pixel: mIoU is undefined")
    return np.asarray(np.nanmean(each, axis=-1))


# -- how sure a difference is --------------------------------------------------------------------------


def image_weights(domain: str, images: int, replicates: int) -> Floats:
    """Return how often each image is drawn in each bootstrap replicate: (replicates, images), rows sum to images.

    They depend on the arguments alone: every method is resampled with the same images, which is what pairs
    them, and a table made twice is the same table.
    """
    seed = int.from_bytes(hashlib.sha256(f"{domain}/{images}".encode()).digest()[:8], "big")
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.multinomial(images, np.full(images, 1 / images), size=replicates).astype(np.float64)


def resampled_miou(confusion: npt.NDArray[Any], weights: Floats) -> Floats:
    """Return the mIoU of every resample of a domain's images.

    Args:
        confusion: (images, C, C) pixel counts, [truth, prediction].
        weights: (replicates, images), see :func:`image_weights`.

    Returns:
        (replicates,); NaN where a resample counts no pixel.
    """
    hit = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    intersection, union = weights @ hit, weights @ (confusion.sum(-1) + confusion.sum(-2) - hit)
    occur = np.count_nonzero(union, axis=-1)
    total = (intersection / np.maximum(union, 1)).sum(-1)  # counts are whole: 1 stands in for none, and adds 0
    return np.divide(total, occur, out=np.full(len(total), np.nan), where=occur > 0)


def paired_interval(
    scores: Floats, resampled: Floats, others: Floats, others_resampled: Floats, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the confidence interval of the mean difference between two methods over common seeds.

    A bootstrap over images and seeds at once (Owen, The pigeonhole bootstrap, Ann. Appl. Stat. 2007) gives the
    standard error. Few seeds make a percentile interval far too short (with three, two equal methods would
    part in a quarter of all tables), so the interval is Student's t with that error, widened by
    sqrt(S / (S - 1)) as in Hesterberg (What teachers should know about the bootstrap, Am. Stat. 2015).

    Args:
        scores, others: (S,) what each seed's run scored.
        resampled, others_resampled: (S, replicates) the same on resampled images, in the same replicates.
        confidence: of the two-sided interval.

    Raises:
        ValueError: fewer than two seeds: nothing then tells how far they spread.
    """
    seeds, replicates = resampled.shape
    if seeds < 2:
        raise ValueError("an interval over seeds needs two of them")
    differences = np.einsum("rs,sr->r", _drawn_seeds(seeds, replicates), resampled - others_resampled)
    error = float(np.nanstd(differences, ddof=1)) * math.sqrt(seeds / (seeds - 1))
    reach = student_t((1 + confidence) / 2, seeds - 1) * error
    centre = float(np.mean(scores - others))
    return centre - reach, centre + reach


@cache
def _drawn_seeds(seeds: int, replicates: int) -> Floats:
    """Return each seed's share in every replicate: (replicates, seeds), rows sum to 1."""
    rng = np.random.Generator(np.random.PCG64(seeds))
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=replicates) / seeds


def pooled_spread(rows: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the standard deviation over seeds that several rows of runs share, and its degrees of freedom.

    Args:
        rows: one score per seed for each method; rows may differ in length.

    Raises:
        ValueError: no row has two seeds.
    """
    freedom = sum(len(row) - 1 for row in rows)
    if freedom < 1:
        raise ValueError("a spread over seeds needs a row with two of them")
    squares = sum(float(np.var(row)) * len(row) for row in rows)
    return math.sqrt(squares / freedom), freedom


def detectable(error: float, freedom: int, significance: float, power: float = 0.8) -> float:
    """Return the minimum detectable effect of a one-sided t-test: what it finds with probability ``power``.

    The test statistic of a true effect d follows the noncentral t distribution with parameter d / error (Cohen,
    Statistical Power Analysis, 1988).

    Args:
        error: standard error of the compared difference, itself estimated.
        freedom: degrees of freedom of that estimate.
        significance: probability of an alarm where there is no effect.
        power: probability of one where there is.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct  # here: a table needs neither, and its command does not wait for them

    limit = student_t(1 - significance, freedom)
    return error * float(brentq(lambda shift: nct.sf(limit, freedom, shift) - power, 0, limit + 20))


@cache
def student_t(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t with integer degrees of freedom, for a probability of at least 1/2.

    The distribution function is Abramowitz and Stegun's finite series (26.7.3, 26.7.4), inverted by bisection.
    """
    low, high = 0.0, 1.0
    while _t_within(high, freedom) < 2 * probability - 1:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        if _t_within(middle, freedom) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return high


def _t_within(t: float, freedom: int) -> float:
    """Return the probability that Student's t lies within -t and t."""
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2 == 1
    term = math.cos(angle) if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= (k - 1) / k * math.cos(angle) ** 2
        total += term
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
