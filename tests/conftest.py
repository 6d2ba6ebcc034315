"""A small protocol for tests, on real files: CamVid's layout, synthetic frames, a ViT with random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.chromium import chromium

SLOW = ("baselines", "benchmarks", "methods", "models", "pretrain", "released", "sharing", "stability", "training")
"""Folders whose tests build or train models throughout; ``tox -e quick`` leaves them out."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of these folders as slow, and run the longest test first, beside the others."""
    items.sort(key=lambda item: item.path.name != "test_types.py")
    root = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(root) and item.path.relative_to(root).parts[0] in SLOW:
            item.add_marker(pytest.mark.slow)


TINY: dict[str, Any] = {
    "title": "tiny",
    "classes": "camvid",
    "source": {"dataset": "camvid", "split": "train:0016E5"},
    "validation": {"dataset": "camvid", "split": "val:0016E5"},
    "targets": {
        "dusk": {"dataset": "camvid", "split": "test:0001TP"},
        "elsewhere": {"dataset": "camvid", "split": "test:Seq05VD"},
    },
    "iterations": 12,
    "batch": 2,
    "augmentation": {"short_edge": [32, 64], "crop": 32},
    "decoder": {"channels": 8, "lr": 1.0e-3, "warmup": 3, "class_weights": "inverse-sqrt"},
    "evaluation": {"times": 2},
    "backbone": "vit-tiny-random",
    "settings": {name: {"images": 8} for name in ("childtune-d", "fishertune", "fishertune-per-sample", "gps")},
}


def draw(folder: Path, split: str, sequence: str, count: int, seed: int) -> None:
    """Write frames of coloured rectangles, one colour per class."""
    rng = np.random.default_rng(seed)
    colours = np.random.default_rng(7).integers(0, 256, (12, 3))
    images, labels = folder / split, folder / f"{split}annot"
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        label = np.zeros((48, 64), np.uint8)
        for _ in range(8):
            top, left = rng.integers(0, 40), rng.integers(0, 56)
            label[top : top + 16, left : left + 20] = rng.integers(0, 12)
        noise = rng.integers(-20, 20, (48, 64, 3))
        image = (colours[label] + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(images / f"{sequence}_{index:05d}.png")
        Image.fromarray(label).save(labels / f"{sequence}_{index:05d}.png")


@pytest.fixture(scope="session")
def driver() -> Iterator[Any]:
    """A headless Chromium."""
    yield from chromium()


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a small dataset in CamVid's layout."""
    root = tmp_path_factory.mktemp("data")
    for split, sequence, count in (
        ("train", "0016E5", 7),
        ("val", "0016E5", 2),
        ("test", "0001TP", 2),
        ("test", "Seq05VD", 3),
    ):
        draw(root / "camvid", split, sequence, count, len(sequence) + count)
    return root


@pytest.fixture
def tiny_protocol(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes the tiny protocol with changes and returns its path."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(TINY | changes), encoding="utf-8")
        return path

    return write
