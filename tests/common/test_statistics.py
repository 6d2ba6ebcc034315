"""IoU by hand, and the interval against scipy, closed forms and its promised error rate."""

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
    paired_interval,
    pooled_spread,
    resampled_miou,
    student_t,
)


def test_iou_by_hand() -> None:
    matrix = np.array([[6, 2, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]])
    expected = [6 / 10, 3 / 6, math.nan, 0 / 1]  # the third class is nowhere, the fourth is never right
    np.testing.assert_allclose(iou(matrix), expected, rtol=1e-15)
    assert float(miou(matrix)) == pytest.approx((0.6 + 0.5 + 0) / 3, abs=1e-15)


def test_iou_of_many_is_that_of_each() -> None:
    many = np.random.default_rng(0).integers(0, 9, (5, 3, 4, 4)).astype(np.int32)
    for index in np.ndindex(5, 3):
        np.testing.assert_array_equal(iou(many)[index], iou(many[index]))
        assert miou(many)[index] == miou(many[index])


def test_miou_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no pixel"):
        miou(np.zeros((3, 3), np.int64))


def test_resampling_is_summing_the_drawn_images() -> None:
    confusion = np.random.default_rng(0).integers(0, 9, (7, 3, 3)).astype(np.int32)
    confusion[1:, 2, :] = confusion[1:, :, 2] = 0  # so that a class occurs in one image only
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


def test_images_are_drawn_alike_for_every_method_and_apart_for_every_domain() -> None:
    np.testing.assert_array_equal(image_weights("fog", 9, 20), image_weights("fog", 9, 20))
    assert (image_weights("fog", 9, 20) != image_weights("rain", 9, 20)).any()


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 29, 30])
@pytest.mark.parametrize("probability", [0.5, 0.6, 0.95, 0.975, 0.9995])
def test_student_t_is_scipys(freedom: int, probability: float) -> None:
    assert student_t(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-9, abs=1e-9)


def _run(rng: np.random.Generator, shared: Floats, seeds: int, by_seed: float, by_image: float) -> Floats:
    """Return confusions (seeds, images, 2, 2) whose accuracy moves by image, by seed and by both together."""
    moved = rng.normal(0, by_seed, (seeds, 1)) + rng.normal(0, by_image, (seeds, len(shared)))
    hit = np.rint(np.clip(0.7 + shared + moved, 0, 1) * 1000)
    confusion = np.zeros((*hit.shape, 2, 2))
    confusion[..., 0, 0], confusion[..., 0, 1], confusion[..., 1, 1] = hit, 1000 - hit, 1000
    return confusion


def _interval(one: Floats, other: Floats, replicates: int = 400) -> tuple[float, float]:
    weights = image_weights("fog", one.shape[1], replicates)
    scores, rivals = (miou(each.sum(1)) for each in (one, other))
    resampled, rivals_resampled = (np.stack([resampled_miou(run, weights) for run in each]) for each in (one, other))
    return paired_interval(scores, resampled, rivals, rivals_resampled)


def test_the_images_share_of_the_error_is_scipys_bootstrap() -> None:
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
    assert found == pytest.approx(expected, rel=0.06)  # each is itself known to 1 / sqrt(2 * 4000)


@pytest.mark.parametrize("seeds", [2, 3, 5, 8])
def test_where_images_do_not_matter_the_interval_is_the_paired_t_test(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    scores, others = rng.normal(0.4, 0.02, seeds), rng.normal(0.4, 0.02, seeds)
    constant = [np.repeat(each[:, None], 20_000, axis=1) for each in (scores, others)]
    low, high = paired_interval(scores, constant[0], others, constant[1])
    expected = stats.ttest_rel(scores, others).confidence_interval(0.95)
    assert low + high == pytest.approx(expected.low + expected.high, abs=1e-12)
    assert high - low == pytest.approx(expected.high - expected.low, rel=0.03)


def test_one_seed_tells_nothing() -> None:
    one = np.ones((1, 10))
    with pytest.raises(ValueError, match="two"):
        paired_interval(np.ones(1), one, np.zeros(1), one)


@pytest.mark.parametrize(("by_seed", "by_image"), [(0.02, 0.0), (0.02, 0.02), (0.002, 0.1)])
def test_equal_methods_part_in_no_more_than_one_of_twenty(by_seed: float, by_image: float) -> None:
    rng = np.random.default_rng(2)
    parted, trials = 0, 200
    for _ in range(trials):
        shared = rng.normal(0, 0.1, 30)
        one, other = (_run(rng, shared, 3, by_seed, by_image) for _ in range(2))
        low, high = _interval(one, other)
        parted += low > 0 or high < 0
    assert parted <= stats.binom.ppf(0.999, trials, 0.05)


def test_a_real_difference_is_seen_through_images_that_differ_far_more() -> None:
    rng = np.random.default_rng(3)
    shared = rng.normal(0, 0.1, 100)
    better, worse = _run(rng, shared + 0.05, 3, 0.005, 0.02), _run(rng, shared, 3, 0.005, 0.02)
    low, high = _interval(better, worse)
    assert 0 < low < high
    back = _interval(worse, better)
    assert back == pytest.approx((-high, -low))


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
def test_scipys_t_test_finds_the_detectable_effect_as_often_as_promised(
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
