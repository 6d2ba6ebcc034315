"""Training positions always have the same pixels, and evaluation keeps labels at their original size."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset

from benchmark.common.errors import UserError
from benchmark.data.loader import EvaluationSet, Frames, TrainingItem, TrainingSet, fitted
from benchmark.protocol import Augmentation

from .trees import Tree, cityscapes_tree, segnet_tree

AUGMENTATION = Augmentation(short_edge=(12, 30), crop=16)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return segnet_tree(tmp_path)


def training(tree: Tree, seed: int = 0, memory: int = 1 << 20) -> TrainingSet:
    samples = tree.reader.samples(tree.root, tree.split)
    return TrainingSet(samples, tree.reader, AUGMENTATION, seed=seed, memory=memory)


def same(a: TrainingItem, b: TrainingItem) -> bool:
    return a["id"] == b["id"] and torch.equal(a["image"], b["image"]) and torch.equal(a["label"], b["label"])


def test_training_item_has_the_documented_shapes_and_types(tree: Tree) -> None:
    item = training(tree)[3]
    assert item["image"].shape == (3, 16, 16)
    assert item["image"].dtype == torch.float32
    assert item["image"].is_contiguous()
    assert 1 < item["image"].max() <= 255
    assert item["label"].shape == (16, 16)
    assert item["label"].dtype == torch.int64
    assert set(item["label"].unique().tolist()) <= {*range(11), 255}


def test_a_position_has_the_same_pixels_in_any_order_and_with_or_without_cache(tree: Tree) -> None:
    forward, backward, unkept = training(tree), training(tree), training(tree, memory=0)
    there = [forward[p] for p in range(40)]
    back = [backward[p] for p in reversed(range(40))][::-1]
    assert all(same(a, b) for a, b in zip(there, back, strict=True))
    assert all(same(there[p], unkept[p]) for p in range(40))
    assert all(same(there[p], forward[p]) for p in range(40)), "a cached frame was modified"


def test_data_workers_and_a_later_start_do_not_change_batches(tree: Tree) -> None:
    alone = [training(tree)[p] for p in range(24)]
    loader = DataLoader(Subset(training(tree), range(8, 24)), batch_size=4, num_workers=2)
    for number, batch in enumerate(loader):
        expected = alone[8 + 4 * number : 12 + 4 * number]
        assert batch["id"] == [item["id"] for item in expected]
        assert torch.equal(batch["image"], torch.stack([item["image"] for item in expected]))
        assert torch.equal(batch["label"], torch.stack([item["label"] for item in expected]))


def test_each_epoch_visits_every_sample_once_in_a_different_order(tree: Tree) -> None:
    data = training(tree)
    epochs = [[data[8 * epoch + step]["id"] for step in range(8)] for epoch in range(3)]
    assert all(sorted(epoch) == sorted(tree.labels) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [data.index(p) for p in range(24)] != [training(tree, seed=1).index(p) for p in range(24)]


def test_a_sample_is_augmented_differently_in_each_epoch_and_seed(tree: Tree) -> None:
    data = training(tree)
    first = [item for item in map(data.__getitem__, range(80)) if item["id"] == "0016E5_07920"]
    assert len({item["image"].numpy().tobytes() for item in first}) == 10
    other = training(tree, seed=1)
    shared = [p for p in range(80) if data.index(p) == other.index(p)]
    assert shared
    assert not any(same(data[p], other[p]) for p in shared)


def test_two_sets_of_one_seed_are_the_same(tree: Tree) -> None:
    assert all(same(training(tree)[p], training(tree)[p]) for p in range(8))


def test_global_rngs_are_not_used(tree: Tree) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    training(tree)[0]
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # type: ignore[index]


def test_small_sets_are_cached_and_large_ones_are_not(tree: Tree) -> None:
    kept, unkept = training(tree), training(tree, memory=100)
    for data in (kept, unkept):
        for p in range(8):
            data[p]
    for sample in tree.reader.samples(tree.root, tree.split):
        sample.image.write_bytes(b"")
    assert kept[8]["image"].shape == (3, 16, 16)
    with pytest.raises(UserError, match="empty"):
        unkept[8]


def test_the_memory_limit_holds_when_the_first_frame_is_small(tmp_path: Path) -> None:
    tree = segnet_tree(tmp_path)
    samples = tree.reader.samples(tree.root, tree.split)
    weights = [4 * tree.labels[sample.id].size for sample in samples]  # 3 bytes per image pixel, 1 per label pixel
    samples = [sample for _, sample in sorted(zip(weights, samples, strict=True), key=lambda pair: pair[0])]
    memory = min(weights) * len(weights)
    assert memory < sum(weights)
    frames = Frames(samples, tree.reader, memory)
    for index in range(len(frames)):
        frames[index]
    for sample in samples:
        sample.image.write_bytes(b"")
    kept = 0
    for index in range(len(frames)):
        with suppress(UserError):
            kept += sum(plane.nbytes for plane in frames[index])
    assert 0.5 * memory < kept <= memory


def test_a_negative_position_is_an_error(tree: Tree) -> None:
    with pytest.raises(IndexError):
        training(tree)[-1]


def test_evaluation_keeps_the_size_of_the_label(tmp_path: Path) -> None:
    tree = cityscapes_tree(tmp_path)
    samples = tree.reader.samples(tree.root, "val")
    for index, sample in enumerate(samples):
        image, label = tree.reader.read(sample)
        plain = EvaluationSet(samples, tree.reader)[index]
        small = EvaluationSet(samples, tree.reader, test_size=(16, 8))[index]
        np.testing.assert_array_equal(plain["image"].numpy(), image.transpose(2, 0, 1))
        size = mmcv.rescale_size(label.shape[::-1], (16, 8))
        np.testing.assert_array_equal(small["image"].numpy(), mmcv.imresize(image, size).transpose(2, 0, 1))
        for item in (plain, small):
            assert item["id"] == sample.id
            assert item["label"].dtype == torch.uint8
            np.testing.assert_array_equal(item["label"].numpy(), label)
    assert len(EvaluationSet(samples, tree.reader)) == 2


@given(*[st.integers(1, 3000)] * 4)
def test_fitted_size_equals_mmcv(height: int, width: int, long: int, short: int) -> None:
    theirs = mmcv.rescale_size((width, height), (long, short))
    # Unlike in mmcv, no side is 0.
    assert fitted((height, width), (long, short)) == (max(theirs[0], 1), max(theirs[1], 1))
