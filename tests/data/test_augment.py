"""Compare augmentation with mmsegmentation's transforms: exactly where its random draws can be replayed."""

from __future__ import annotations

from dataclasses import dataclass

import mmcv
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmcv.transforms import RandomResize
from mmseg.datasets.transforms import PhotoMetricDistortion, RandomCrop
from scipy.stats import chi2_contingency, ks_2samp

from benchmark.data.augment import Distortion, choose_crop, resized, train_transform
from benchmark.data.labels import Bytes


@dataclass(frozen=True)
class Settings:
    short_edge: tuple[int, int] = (48, 96)
    crop: int = 64
    cat_max_ratio: float = 0.75
    flip: float = 0.5
    photometric: bool = True
    short_edges: tuple[int, ...] | None = None


def photograph(size: tuple[int, int], seed: int = 0) -> Bytes:
    """Return smooth colours with noise, which cover many hues and saturations."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = np.asarray(mmcv.imresize(coarse, size[::-1])).astype(int)
    return (smooth + rng.integers(-9, 10, (*size, 3))).clip(0, 255).astype(np.uint8)


def stripes(size: tuple[int, int]) -> Bytes:
    """Return a label with six classes, one of which fills the left half, and some ignored pixels."""
    label = np.broadcast_to((np.arange(size[1]) * 10 // size[1] - 4).clip(0), size).astype(np.uint8)
    label[: size[0] // 8] = 255
    return label


def replayed(seed: int) -> Distortion:
    """Return the parameters that mmsegmentation's transform draws after ``np.random.seed(seed)``."""
    state = np.random.RandomState(seed)
    brightness = state.uniform(-32, 32) if state.randint(2) else None
    first = bool(state.randint(2))
    contrast = (state.uniform(0.5, 1.5) if state.randint(2) else None) if first else None
    saturation = state.uniform(0.5, 1.5) if state.randint(2) else None
    hue = int(state.randint(-18, 18)) if state.randint(2) else None
    if not first:
        contrast = state.uniform(0.5, 1.5) if state.randint(2) else None
    return Distortion(brightness, contrast, first, saturation, hue)


@pytest.mark.parametrize("seed", range(40))
def test_distortion_equals_mmsegmentation(seed: int) -> None:
    image = photograph((45, 61), seed)
    np.random.seed(seed)
    theirs = PhotoMetricDistortion().transform({"img": image[..., ::-1].copy()})["img"][..., ::-1]
    np.testing.assert_array_equal(replayed(seed)(image.copy()), theirs)


def test_replay_covers_every_step_and_both_orders() -> None:
    drawn = [replayed(seed) for seed in range(40)]
    for step in ("brightness", "contrast", "saturation", "hue"):
        assert {getattr(one, step) is None for one in drawn} == {True, False}
    assert {one.contrast_first for one in drawn if one.contrast is not None} == {True, False}


def test_distortion_parameters_have_mmsegmentations_distribution() -> None:
    rng = np.random.default_rng(5)
    ours = [Distortion.draw(rng) for _ in range(4000)]
    theirs = [replayed(seed) for seed in range(4000)]
    for step in ("brightness", "contrast", "saturation", "hue"):
        a, b = ([getattr(one, step) for one in drawn if getattr(one, step) is not None] for drawn in (ours, theirs))
        assert len(a) == pytest.approx(2000, abs=150)
        assert ks_2samp(a, b).pvalue > 0.01
    hues = {one.hue for one in ours} - {None}
    assert hues == set(range(-18, 18))
    assert np.mean([one.contrast_first for one in ours]) == pytest.approx(0.5, abs=0.03)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 2000))
def test_resized_size_equals_mmcv(height: int, width: int, edge: int) -> None:
    assert resized((height, width), edge) == mmcv.rescale_size((width, height), (10**9, edge))


def test_random_resize_equals_mmcv() -> None:
    image, label = photograph((60, 90)), stripes((60, 90))
    theirs = RandomResize(scale=[(10**6, 40), (10**6, 100)], keep_ratio=True)
    np.random.seed(0)
    edges = [min(theirs._random_scale()) for _ in range(2000)]
    settings = Settings((40, 100), 200, 1.0, 0.0, False)
    found = [train_transform(image, label, np.random.default_rng(seed), settings) for seed in range(2000)]
    heights = [int((crop[:, 0] != 0).any(-1).sum()) for crop, _ in found]
    assert set(heights) == set(range(40, 101))
    assert ks_2samp(heights, edges).pvalue > 0.01
    for crop, marks in found[:20]:
        height = int((crop[:, 0] != 0).any(-1).sum())
        size = resized((60, 90), height)
        np.testing.assert_array_equal(crop[:height, : size[0]], mmcv.imresize(image, size))
        np.testing.assert_array_equal(marks[:height, : size[0]], mmcv.imresize(label, size, interpolation="nearest"))


def test_short_edges_are_drawn_uniformly_and_resize_as_mmcv() -> None:
    image, label = photograph((60, 90)), stripes((60, 90))
    edges = (40, 47, 100)
    settings = Settings((1, 1), 200, 1.0, 0.0, False, short_edges=edges)
    crops = [train_transform(image, label, np.random.default_rng(seed), settings)[0] for seed in range(900)]
    heights = [int((crop[:, 0] != 0).any(-1).sum()) for crop in crops]
    for edge in edges:
        assert heights.count(edge) == pytest.approx(300, abs=60)
        crop = crops[heights.index(edge)]
        size = mmcv.rescale_size((90, 60), (10**9, edge))  # as RandomChoiceResize with ResizeShortestEdge
        np.testing.assert_array_equal(crop[: size[1], : size[0]], mmcv.imresize(image, size))
    assert set(heights) == set(edges)


def test_crop_corners_have_mmsegmentations_distribution() -> None:
    label = stripes((80, 120))
    theirs = RandomCrop((40, 40), cat_max_ratio=0.75)
    np.random.seed(1)
    a = np.array([theirs.crop_bbox({"img": label, "gt_seg_map": label})[::2] for _ in range(3000)])
    b = np.array([choose_crop(label, np.random.default_rng(seed), 40, 0.75) for seed in range(3000)])
    # The left half is one class, so crops on the far left are rare, but occur after ten rejections.
    histograms = [np.histogram(corners[:, 1], bins=9, range=(0, 81))[0] for corners in (a, b)]
    assert chi2_contingency(np.array(histograms) + 1).pvalue > 0.01
    assert histograms[1][0] < 0.3 * histograms[1][-1]
    assert ks_2samp(a[:, 0], b[:, 0]).pvalue > 0.01


@pytest.mark.parametrize("label", [np.zeros((50, 50), np.uint8), np.full((50, 50), 255, np.uint8)])
def test_crop_after_ten_rejections_is_unchecked(label: Bytes) -> None:
    rng, copy = np.random.default_rng(3), np.random.default_rng(3)
    last = [(int(copy.integers(11)), int(copy.integers(11))) for _ in range(10 + 1)][-1]
    assert choose_crop(label, rng, 40, 0.75) == last


def test_cat_max_ratio_excludes_ignored_pixels() -> None:
    label = np.full((10, 40), 255, np.uint8)
    label[0, :20], label[1, :10] = 1, 2  # class 1 is two thirds of the labelled pixels in every crop
    rng, copy = np.random.default_rng(0), np.random.default_rng(0)
    choose_crop(label[:, :20], rng, 10, 0.9)
    copy.integers(1), copy.integers(11)
    first = choose_crop(label, np.random.default_rng(1), 40, 0.7)
    assert first == (0, 0)
    once = np.random.default_rng(2)
    choose_crop(label, once, 40, 0.7)
    fresh = np.random.default_rng(2)
    fresh.integers(1), fresh.integers(1)
    assert once.integers(2**40) == fresh.integers(2**40)  # accepted on the first draw


def test_flip_moves_image_and_label_together() -> None:
    label = np.random.default_rng(0).integers(0, 19, (64, 64), dtype=np.uint8)
    image = np.stack([label] * 3, -1)
    flipped = 0
    for seed in range(400):
        crop, marks = train_transform(image, label, np.random.default_rng(seed), Settings((64, 64), 64, 1, 0.5, False))
        np.testing.assert_array_equal(crop[..., 0], marks)
        flipped += np.array_equal(marks, label[:, ::-1])
    assert flipped == pytest.approx(200, abs=40)


def test_padding_is_at_bottom_and_right_and_not_distorted() -> None:
    image, label = photograph((40, 50)), stripes((40, 50))
    for seed in range(20):
        crop, marks = train_transform(image, label, np.random.default_rng(seed), Settings((40, 40)))
        assert crop.shape == (64, 64, 3)
        assert crop.dtype == marks.dtype == np.uint8
        for plane, value in ((crop, 0), (marks, 255)):
            assert (plane[40:] == value).all()
            assert (plane[:, 50:] == value).all()


def test_inputs_are_not_modified() -> None:
    image, label = photograph((64, 64)), stripes((64, 64))
    kept = image.copy(), label.copy()
    for seed in range(30):
        crop, marks = train_transform(image, label, np.random.default_rng(seed), Settings((64, 64), 64, 1.0))
        crop[:], marks[:] = 7, 7
        np.testing.assert_array_equal(image, kept[0])
        np.testing.assert_array_equal(label, kept[1])
