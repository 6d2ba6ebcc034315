"""Rare-class sampling: DAFormer's formula, drawn frequencies, positions, and the protocol's option."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader, Subset

from benchmark.common.errors import UserError
from benchmark.common.rng import numpy_rng
from benchmark.data import location, rare
from benchmark.data.loader import TrainingSet
from benchmark.data.rare import RareClasses
from benchmark.protocol import Augmentation
from benchmark.runs.experiment import Experiment
from tests.training.test_trainer import job_of

from .trees import Tree, segnet_tree

PIXELS = np.array([[80, 15, 5, 0], [90, 0, 10, 0], [85, 15, 0, 0], [95, 0, 0, 0], [0, 5, 0, 0]])
"""Class 3 is in no image."""
TEMPERATURES = [0.01, 0.2, 3.0]


def formula(temperature: float) -> list[float]:
    total = PIXELS.sum()
    weights = [math.exp((1 - PIXELS[:, c].sum() / total) / temperature) for c in range(3)]
    return [*(weight / math.fsum(weights) for weight in weights), 0.0]


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_probabilities_are_those_of_the_formula(temperature: float) -> None:
    found = RareClasses.of(PIXELS, temperature)
    assert found.probability == pytest.approx(formula(temperature), rel=1e-12)
    assert [each.tolist() for each in found.images] == [[0, 1, 2, 3], [0, 2, 4], [0, 1], []]


def test_the_limits_are_the_rarest_class_and_all_classes_alike() -> None:
    assert RareClasses.of(PIXELS, 1e-6).probability.tolist() == [0, 0, 1, 0]
    assert RareClasses.of(PIXELS, 1e9).probability == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_images_are_drawn_as_often_as_class_frequencies_imply(temperature: float) -> None:
    found, rng, draws = RareClasses.of(PIXELS, temperature), numpy_rng(0, "test"), 8000
    counts = Counter(found.draw(rng) for _ in range(draws))
    containing = PIXELS > 0
    for image in range(len(PIXELS)):
        expected = sum(
            probability / containing[:, c].sum()
            for c, probability in enumerate(formula(temperature))
            if containing[image, c]
        )
        spread = math.sqrt(expected * (1 - expected) / draws)
        assert abs(counts[image] / draws - expected) <= 4 * spread + 1e-12


def test_an_image_with_too_few_pixels_of_a_class_does_not_contain_it() -> None:
    found = RareClasses.of(PIXELS, 0.01, min_pixels=10)
    assert [each.tolist() for each in found.images] == [[0, 1, 2, 3], [0, 2], [1], []]
    with pytest.raises(ValueError, match="no image has 100 pixels"):
        RareClasses.of(PIXELS, 0.01, min_pixels=100)


def test_positions_are_reproducible_and_differ_between_seeds(tmp_path: Path) -> None:
    tree = segnet_tree(tmp_path)

    def indices(seed: int) -> list[int]:
        data = training(tree, seed)
        return [data.index(position) for position in range(200)]

    assert indices(0) == indices(0) != indices(1)
    alone = [training(tree, 0)[position]["id"] for position in range(12)]
    loaded = DataLoader(Subset(training(tree, 0), range(4, 12)), 4, num_workers=2)
    assert [name for batch in loaded for name in batch["id"]] == alone[4:], "workers, and a later start"


def training(tree: Tree, seed: int) -> TrainingSet:
    samples = tree.reader.samples(tree.root, tree.split)
    augmentation = Augmentation(short_edge=(12, 30), crop=16)
    data = TrainingSet(samples, tree.reader, augmentation, seed=seed)
    data.sampling = RareClasses.of(rare.pixels(data.frames, 11), 0.1)
    return data


def test_the_protocols_option_samples_the_source(
    tiny_data: Path, tiny_protocol: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DGSS_BENCHMARK_CACHE", str(tmp_path / "cache"))
    plain = Experiment(job_of(tiny_protocol(), tiny_data, tmp_path, "freeze"))
    assert plain.data.sampling is None
    job = job_of(tiny_protocol(rare_classes={"temperature": 0.05}), tiny_data, tmp_path, "freeze")
    used = Experiment(job)
    counts = np.stack([np.bincount(used.data.frames[i][1].ravel(), minlength=256)[:11] for i in range(7)])
    assert isinstance(used.data.sampling, RareClasses)
    assert used.data.sampling.probability.tolist() == RareClasses.of(counts, 0.05).probability.tolist()
    assert used.batches_hash() != plain.batches_hash()
    assert used.data_hash() == plain.data_hash()
    # Counts are read from the cache, and made again if it is damaged.
    (kept,) = (location.cache() / "pixels").iterdir()
    np.save(kept, counts[::-1].copy())
    again = Experiment(job).data.sampling
    assert isinstance(again, RareClasses)
    first = [images.tolist() for images in again.images]
    assert first == [sorted(6 - each for each in images) for images in used.data.sampling.images]
    kept.write_bytes(b"damaged")
    assert Experiment(job).batches_hash() == used.batches_hash()
    with pytest.raises(UserError, match=r"rare_classes\.min_pixels: no image has 1000000 pixels"):
        Experiment(job_of(tiny_protocol(rare_classes={"min_pixels": 10**6}), tiny_data, tmp_path, "freeze"))
