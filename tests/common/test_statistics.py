"""IoU against values computed by hand; intervals against SciPy, closed forms and their nominal error rate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmark.common.statistics import (
    Floats,
    detectable,
    image_weights,
    iou,
    miou,
    paired_image_interval,
    paired_interval,
    pooled_spread,
    resampled_miou,
)


def test_iou_by_hand() -> None:
    matrix = np.array([[6, 2, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]])
    expected = [6 / 10, 3 / 6, math.nan, 0 / 1]  # third class absent, fourth never predicted correctly
    np.testing.assert_allclose(iou(matrix), expected, rtol=1e-15)
    assert float(miou(matrix)) == pytest.approx((0.6 + 0.5 + 0) / 3, abs=1e-15)


def test_iou_broadcasts_over_leading_axes() -> None:
    many = np.random.default_rng(0).integers(0, 9, (5, 3, 4, 4)).astype(np.int32)
    for index in np.ndindex(5, 3):
        np.testing.assert_array_equal(iou(many)[index], iou(many[index]))
        assert miou(many)[index] == miou(many[index])


def test_miou_without_pixels_is_an_error() -> None:
    with pytest.raises(ValueError, match="no pixel"):
        miou(np.zeros((3, 3), np.int64))


def test_resampled_miou_is_that_of_the_drawn_images() -> None:
    confusion = np.random.default_rng(0).integers(0, 9, (7, 3, 3)).astype(np.int32)
    confusion[1:, 2, :] = confusion[1:, :, 2] = 0  # one class occurs in a single image
    weights = image_weights("fog", 7, 50)
    assert (weights.sum(1) == 7).all()
    found = resampled_miou(confusion, weights)
    for weight, value in zip(weights.astype(int), found, strict=True):
        drawn = np.repeat(confusion, weight, axis=0)
        assert value == pytest.approx(float(miou(drawn.sum(0))), abs=1e-12)


def test_a_resample_without_pixels_has_no_miou() -> None:
    confusion = np.zeros((2, 2, 2), np.int32)
    confusion[0] = 1
    found = resampled_miou(confusion, np.array([[0.0, 2.0], [1.0, 1.0]]))
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(1 / 3)


def test_image_weights_are_reproducible_and_differ_between_domains() -> None:
    np.testing.assert_array_equal(image_weights("fog", 9, 20), image_weights("fog", 9, 20))
    assert (image_weights("fog", 9, 20) != image_weights("rain", 9, 20)).any()


def _run(rng: np.random.Generator, shared: Floats, seeds: int, by_seed: float, by_image: float) -> Floats:
    """Return confusion matrices (seeds, images, 2, 2) whose accuracy varies by image, by seed and by both together."""
    moved = rng.normal(0, by_seed, (seeds, 1)) + rng.normal(0, by_image, (seeds, len(shared)))
    hit = np.rint(np.clip(0.7 + shared + moved, 0, 1) * 1000)
    confusion = np.zeros((*hit.shape, 2, 2))
    confusion[..., 0, 0], confusion[..., 0, 1], confusion[..., 1, 1] = hit, 1000 - hit, 1000
    return confusion


def _interval(one: Floats, other: Floats, replicates: int = 400) -> tuple[float, float]:
    weights = image_weights("fog", one.shape[1], replicates)
    scores, others = (miou(each.sum(1)) for each in (one, other))
    resampled, others_resampled = (np.stack([resampled_miou(run, weights) for run in each]) for each in (one, other))
    return paired_interval(scores, resampled, others, others_resampled)


def test_the_standard_error_over_images_is_that_of_scipys_bootstrap() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.1, 60)
    one, other = (_run(rng, shared, 1, 0.0, 0.05)[0] for _ in range(2))

    def difference(images: Floats) -> Floats:
        chosen = np.asarray(images, int)
        return np.asarray(miou(one[chosen].sum(-3)) - miou(other[chosen].sum(-3)))

    expected = stats.bootstrap(
        (np.arange(60),), difference, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).standard_error
    weights = image_weights("fog", 60, 4000)
    found = (resampled_miou(one, weights) - resampled_miou(other, weights)).std(ddof=1)
    assert found == pytest.approx(expected, rel=0.06)  # relative error of each estimate: 1 / sqrt(2 * 4000)


@pytest.mark.parametrize("seeds", [2, 3, 5, 8])
def test_without_variation_over_images_the_interval_is_that_of_the_paired_t_test(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    scores, others = rng.normal(0.4, 0.02, seeds), rng.normal(0.4, 0.02, seeds)
    constant = [np.repeat(each[:, None], 20_000, axis=1) for each in (scores, others)]
    low, high = paired_interval(scores, constant[0], others, constant[1])
    expected = stats.ttest_rel(scores, others).confidence_interval(0.95)
    assert low + high == pytest.approx(expected.low + expected.high, abs=1e-12)
    assert high - low == pytest.approx(expected.high - expected.low, rel=0.03)


def test_one_seed_gives_no_interval() -> None:
    one = np.ones((1, 10))
    with pytest.raises(ValueError, match="two"):
        paired_interval(np.ones(1), one, np.zeros(1), one)


@pytest.mark.parametrize(("by_seed", "by_image"), [(0.02, 0.0), (0.02, 0.02), (0.002, 0.1)])
def test_equal_methods_differ_significantly_in_at_most_5_percent(by_seed: float, by_image: float) -> None:
    rng = np.random.default_rng(2)
    significant, trials = 0, 200
    for _ in range(trials):
        shared = rng.normal(0, 0.1, 30)
        one, other = (_run(rng, shared, 3, by_seed, by_image) for _ in range(2))
        low, high = _interval(one, other)
        significant += low > 0 or high < 0
    assert significant <= stats.binom.ppf(0.999, trials, 0.05)


@pytest.mark.parametrize("images", [2, 5, 40])
def test_of_a_mean_over_images_the_interval_is_that_of_the_paired_t_test(images: int) -> None:
    rng = np.random.default_rng(images)
    scores, others = rng.normal(0.4, 0.02, images), rng.normal(0.4, 0.02, images)
    resampled = image_weights("fog", images, 20_000) @ (scores - others) / images
    low, high = paired_image_interval(float((scores - others).mean()), resampled, [images], 0.9)
    expected = stats.ttest_rel(scores, others).confidence_interval(0.9)
    assert low + high == pytest.approx(expected.low + expected.high, abs=1e-12)
    assert high - low == pytest.approx(expected.high - expected.low, rel=0.03)


def test_one_image_per_domain_gives_no_interval() -> None:
    with pytest.raises(ValueError, match="two"):
        paired_image_interval(0.1, np.ones(10), [1, 1])


def test_equal_runs_of_one_seed_differ_significantly_in_at_most_5_percent() -> None:
    rng = np.random.default_rng(5)
    significant, trials, weights = 0, 200, image_weights("fog", 30, 400)
    for _ in range(trials):
        shared = rng.normal(0, 0.1, 30)
        one, other = (_run(rng, shared, 1, 0.0, 0.05)[0] for _ in range(2))
        resampled = resampled_miou(one, weights) - resampled_miou(other, weights)
        low, high = paired_image_interval(float(miou(one.sum(0)) - miou(other.sum(0))), resampled, [30])
        significant += low > 0 or high < 0
    assert significant <= stats.binom.ppf(0.999, trials, 0.05)


def test_a_difference_smaller_than_the_spread_over_images_is_detected() -> None:
    rng = np.random.default_rng(3)
    shared = rng.normal(0, 0.1, 100)
    better, worse = _run(rng, shared + 0.05, 3, 0.005, 0.02), _run(rng, shared, 3, 0.005, 0.02)
    low, high = _interval(better, worse)
    assert 0 < low < high
    reverse = _interval(worse, better)
    assert reverse == pytest.approx((-high, -low))


def test_the_pooled_spread_is_that_of_scipys_t_test() -> None:
    rng = np.random.default_rng(4)
    one, other = rng.normal(0, 1, 3), rng.normal(5, 1, 7)
    spread, freedom = pooled_spread([one.tolist(), other.tolist(), [9.0]])
    expected = stats.ttest_ind(one, other)
    assert freedom == expected.df
    found = float(one.mean() - other.mean()) / (spread * math.sqrt(1 / 3 + 1 / 7))
    assert found == pytest.approx(expected.statistic, rel=1e-12)
    with pytest.raises(ValueError, match="two"):
        pooled_spread([[0.1], [0.2]])


@pytest.mark.parametrize(("seeds", "significance", "power"), [(3, 0.05, 0.8), (5, 0.01, 0.8), (4, 0.05, 0.5)])
def test_scipys_t_test_detects_the_detectable_effect_with_the_given_power(
    seeds: int, significance: float, power: float
) -> None:
    effect = detectable(math.sqrt(2 / seeds), 2 * seeds - 2, significance, power)
    rng = np.random.default_rng(5)
    found = stats.power(
        lambda x, y, axis: stats.ttest_ind(x, y, axis=axis, alternative="greater"),
        (lambda size: rng.normal(effect, 1, size), lambda size: rng.normal(0, 1, size)),
        (seeds, seeds), significance=significance, n_resamples=20_000, vectorized=True,
    )  # fmt: skip
    assert found.power == pytest.approx(power, abs=4 * math.sqrt(power * (1 - power) / 20_000))
