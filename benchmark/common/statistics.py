"""Statistics of tables and checks: IoU from confusion matrices, confidence intervals, detectable effects."""

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
        confusion: (..., C, C) pixel counts, [truth, prediction], summed over images; or (..., C, C + 1), whose last
            column counts predictions that are none of these classes.

    Returns:
        (..., C), between 0 and 1; NaN for a class in neither truth nor prediction.
    """
    counts = confusion.astype(np.float64)
    hit = np.diagonal(counts, axis1=-2, axis2=-1)
    return iou_of(hit, counts.sum(-1) + counts.sum(-2)[..., : hit.shape[-1]] - hit)


def iou_of(intersection: npt.NDArray[Any], union: npt.NDArray[Any]) -> Floats:
    """Return intersection / union, NaN where the union is empty."""
    absent = np.full(np.shape(union), np.nan)
    return np.divide(intersection, union, out=absent, where=np.asarray(union) > 0)


def miou(confusion: npt.NDArray[Any]) -> Floats:
    """Return the mean IoU over the classes that occur: (..., C, C) or (..., C, C + 1) -> (...).

    Raises:
        ValueError: a matrix counts no pixel, so no class has an IoU.
    """
    each = iou(confusion)
    if np.isnan(each).all(-1).any():
        raise ValueError("a confusion matrix counts no pixel: mIoU is undefined")
    return np.asarray(np.nanmean(each, axis=-1))


# -- confidence intervals and detectable effects -------------------------------------------------------


def image_weights(domain: str, images: int, replicates: int) -> Floats:
    """Return how often each image is drawn in each bootstrap replicate: (replicates, images), rows sum to ``images``.

    The result depends on the arguments alone. All methods are therefore resampled with the same images, which makes
    their comparison paired, and tables are reproducible.
    """
    seed = int.from_bytes(hashlib.sha256(f"{domain}/{images}".encode()).digest()[:8], "big")
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.multinomial(images, np.full(images, 1 / images), size=replicates).astype(np.float64)


def resampled_miou(confusion: npt.NDArray[Any], weights: Floats) -> Floats:
    """Return the mIoU of every bootstrap replicate of a domain's images.

    Args:
        confusion: (images, C, C) or (images, C, C + 1) pixel counts, see :func:`iou`.
        weights: (replicates, images), see :func:`image_weights`.

    Returns:
        (replicates,); NaN where a replicate counts no pixel.
    """
    hit = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    intersection, union = weights @ hit, weights @ (confusion.sum(-1) + confusion.sum(-2)[:, : hit.shape[-1]] - hit)
    occur = np.count_nonzero(union, axis=-1)
    total = (intersection / np.maximum(union, 1)).sum(-1)  # an empty union adds 0 / 1
    return np.divide(total, occur, out=np.full(len(total), np.nan), where=occur > 0)


def paired_interval(
    scores: Floats, resampled: Floats, others: Floats, others_resampled: Floats, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the confidence interval of the mean difference between two methods over common seeds.

    The standard error is that of a bootstrap over images and seeds together (Owen, The pigeonhole bootstrap, Ann.
    Appl. Stat. 2007). With few seeds a percentile interval is far too short: with three, two equal methods would be
    significantly different in a quarter of all tables. So the interval is Student's t with that standard error,
    multiplied by sqrt(S / (S - 1)) as in Hesterberg (What teachers should know about the bootstrap, Am. Stat. 2015).

    Args:
        scores, others: (S,) scores of the two methods, one per seed.
        resampled, others_resampled: (S, replicates) their scores on the same bootstrap replicates of the images.
        confidence: level of the two-sided interval.

    Raises:
        ValueError: fewer than two seeds, from which no spread can be estimated.
    """
    seeds, replicates = resampled.shape
    if seeds < 2:
        raise ValueError("an interval over seeds needs at least two seeds")
    differences = np.einsum("rs,sr->r", _seed_weights(seeds, replicates), resampled - others_resampled)
    error = float(np.nanstd(differences, ddof=1)) * math.sqrt(seeds / (seeds - 1))
    margin = student_t((1 + confidence) / 2, seeds - 1) * error
    centre = float(np.mean(scores - others))
    return centre - margin, centre + margin


def paired_image_interval(
    difference: float, resampled: Floats, images: Sequence[int], confidence: float = 0.95
) -> tuple[float, float]:
    """Return the confidence interval of the difference between two runs of one seed: over images, not over seeds.

    As :func:`paired_interval`: Student's t with the standard error of a bootstrap, here over images alone.

    Args:
        difference: of the two runs' scores.
        resampled: (replicates,) the same difference on bootstrap replicates of the images.
        images: number of images of each domain that the scores average.
        confidence: level of the two-sided interval.

    Raises:
        ValueError: no domain has two images, so no spread can be estimated.
    """
    freedom = sum(images) - len(images)
    if freedom < 1:
        raise ValueError("an interval over images needs a domain with at least two")
    error = float(np.nanstd(resampled, ddof=1)) * math.sqrt(sum(images) / freedom)
    margin = student_t((1 + confidence) / 2, freedom) * error
    return difference - margin, difference + margin


@cache
def _seed_weights(seeds: int, replicates: int) -> Floats:
    """Return the weight of each seed in each bootstrap replicate: (replicates, seeds), rows sum to 1."""
    rng = np.random.Generator(np.random.PCG64(seeds))
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=replicates) / seeds


def pooled_spread(rows: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the pooled standard deviation over seeds of several methods, and its degrees of freedom.

    Args:
        rows: one score per seed for each method; rows may differ in length.

    Raises:
        ValueError: no row has two seeds.
    """
    freedom = sum(len(row) - 1 for row in rows)
    if freedom < 1:
        raise ValueError("a spread over seeds needs a row with at least two seeds")
    squares = sum(float(np.var(row)) * len(row) for row in rows)
    return math.sqrt(squares / freedom), freedom


def detectable(error: float, freedom: int, significance: float, power: float = 0.8) -> float:
    """Return the minimum detectable effect of a one-sided t-test: detected with probability ``power``.

    The test statistic of a true effect d follows the noncentral t distribution with parameter d / error (Cohen,
    Statistical Power Analysis, 1988).

    Args:
        error: estimated standard error of the difference.
        freedom: degrees of freedom of that estimate.
        significance: probability of a false alarm.
        power: probability of detecting the effect.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct  # slow to import, and tables need neither

    limit = student_t(1 - significance, freedom)
    return error * float(brentq(lambda shift: nct.sf(limit, freedom, shift) - power, 0, limit + 20))


@cache
def student_t(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t distribution with ``freedom`` degrees of freedom."""
    from scipy.special import stdtrit  # as scipy.stats.t.ppf, which takes seconds to import

    return float(stdtrit(freedom, probability))
