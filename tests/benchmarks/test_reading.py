"""Reading training samples and labels, compared with mmsegmentation's pipeline and with pre-converted files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import mmcv.transforms
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmseg.datasets import transforms
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.stats import ks_2samp
from torch import Tensor

from benchmark import protocol as protocols
from benchmark.data import streets
from benchmark.data.decoding import read_ids, read_image
from benchmark.data.labels import FACTS, Bytes, lut
from benchmark.data.loader import TrainingSet
from benchmark.data.readers import gta5, mapillary
from benchmark.data.readers import streets as rendered_streets
from benchmark.data.samples import Reader, Sample
from benchmark.data.streets.files import encode
from benchmark.protocol import Augmentation

pytestmark = pytest.mark.slow

GTA5, VISTAS = (1052, 1914), (1536, 2048)
"""(height, width) of GTA5's frames, and a common size in Mapillary Vistas."""
EPOCHS = 4  # as in the default protocol: 2,400 samples of 600 frames
Sampled = tuple[Tensor, Tensor]
"""An image (3, crop, crop) and its label (crop, crop)."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


def large(pixels: Bytes, size: tuple[int, int]) -> Bytes:
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def converted(reader: Reader, sample: Sample) -> Path:
    """Write the train ids of a sample's label next to it, as conversion scripts do; return the path."""
    path = sample.label.with_name(f"{sample.label.stem}_labelTrainIds.png")
    Image.fromarray(reader.read_label(sample)).save(path)
    return path


def palette(path: Path, ids: Bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(ids)
    picture.putpalette([(7 * value + 3) % 256 for value in range(768)])
    picture.save(path)


# ---------------------------------------------------------------------------------------------------
# labels
# ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["gta5", "mapillary"])
def label(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, Sample]:
    """A label at full size, in the dataset's format."""
    root, frame = tmp_path_factory.mktemp(request.param), streets.render("game", 0)
    if request.param == "gta5":
        path, ids, size = root / "labels/00001.png", frame.label, GTA5
    else:
        trains = FACTS["mapillary_names_hrda"]["train_ids"]  # the classes of v1.2
        values = list(trains.values())
        index = np.array([values.index(train) if train in values else 0 for train in range(256)], np.uint8)
        path, ids, size = root / "training/labels/one.png", index[lut("cityscapes_label_ids")[frame.label]], VISTAS
        entries = [{"readable": name} for name in trains]
        (root / "config.json").write_text(json.dumps({"labels": entries}))
    palette(path, large(ids, size))
    reader = gta5.READER if request.param == "gta5" else mapillary.READER
    return reader, Sample("one", path, path)


@pytest.mark.parametrize("how", ["on the fly", "converted"])
def test_label(benchmark: BenchmarkFixture, label: tuple[Reader, Sample], how: str) -> None:
    reader, sample = label
    path = converted(reader, sample)
    ways: dict[str, Callable[[], Bytes]] = {
        "on the fly": lambda: reader.read_label(sample),
        "converted": lambda: np.array(Image.open(path)),
    }
    found = benchmark.pedantic(ways[how], rounds=15, warmup_rounds=2)
    np.testing.assert_array_equal(found, ways["converted"]())
    assert len(np.unique(found)) > 8


# ---------------------------------------------------------------------------------------------------
# samples
# ---------------------------------------------------------------------------------------------------


def rendered(root: Path, count: int) -> list[Sample]:
    """Write frames of the default protocol in its own format."""
    found = []
    for seed in range(count):
        sample = Sample(f"{seed:05d}", root / f"images/{seed:05d}.png", root / f"labels/{seed:05d}.png")
        for path, content in zip((sample.image, sample.label), encode(streets.render("game", seed)), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        found.append(sample)
    return found


def full_size(root: Path, count: int) -> list[Sample]:
    """Write frames of GTA5's size that compress as poorly as GTA5's own (2 to 3 MB)."""
    found = []
    for seed in range(count):
        frame, noise = streets.render("game", seed), np.random.default_rng(seed).integers(-4, 5, (*GTA5, 3))
        smooth = cv2.resize(frame.image, GTA5[::-1], interpolation=cv2.INTER_CUBIC).astype(int)
        sample = Sample(f"{seed:05d}", root / f"images/{seed:05d}.png", root / f"labels/{seed:05d}.png")
        sample.image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8)).save(sample.image)
        palette(sample.label, large(frame.label, GTA5))
        found.append(sample)
    return found


def mmsegmentations(samples: list[Sample], reader: Reader, augmentation: Augmentation) -> Callable[[int], Sampled]:
    """Return mmsegmentation's pipeline in Rein's configuration."""
    crop = (augmentation.crop, augmentation.crop)
    if augmentation.short_edges is not None:
        resize = mmcv.transforms.RandomChoiceResize(
            scales=list(augmentation.short_edges), resize_type=transforms.ResizeShortestEdge, max_size=2048
        )
    else:
        assert augmentation.short_edge is not None
        low, high = augmentation.short_edge
        resize = mmcv.transforms.RandomResize(scale=[(10**6, low), (10**6, high)], keep_ratio=True)
    pipeline = Compose([
        mmcv.transforms.LoadImageFromFile(), transforms.LoadAnnotations(), resize,
        transforms.RandomCrop(crop, cat_max_ratio=augmentation.cat_max_ratio),
        mmcv.transforms.RandomFlip(prob=augmentation.flip), transforms.PhotoMetricDistortion(),
        transforms.PackSegInputs(),
    ])  # fmt: skip
    labels = {sample.id: converted(reader, sample) for sample in samples}
    np.random.seed(0)

    def sampled(position: int) -> Sampled:
        sample = samples[position % len(samples)]
        facts: dict[str, Any] = {"reduce_zero_label": False, "label_map": None, "seg_fields": []}
        packed = pipeline({**facts, "img_path": str(sample.image), "seg_map_path": str(labels[sample.id])})
        # Done by its data preprocessor: RGB, floating point, padding.
        image, label = packed["inputs"].flip(0).float(), packed["data_samples"].gt_sem_seg.data[0].long()
        padding = (0, crop[1] - image.shape[-1], 0, crop[0] - image.shape[-2])
        pad = torch.nn.functional.pad
        return pad(image, padding), pad(label, padding, value=255)

    return sampled


def trainingsets(samples: list[Sample], reader: Reader, augmentation: Augmentation) -> Callable[[int], Sampled]:
    # The few frames here would fit into memory, but the full GTA5 would not.
    memory = 0 if augmentation.crop == 512 else 2 << 30
    data = TrainingSet(samples, reader, augmentation, seed=0, memory=memory)

    def sampled(position: int) -> Sampled:
        item = data[position]
        return item["image"], item["label"]

    return sampled


def decoded(samples: list[Sample], reader: Reader, augmentation: Augmentation) -> Callable[[int], Sampled]:
    """Return a pipeline that only decodes a sample's two files: a lower bound for pipelines without a cache."""
    crop = (slice(augmentation.crop), slice(augmentation.crop))

    def sampled(position: int) -> Sampled:
        sample = samples[position % len(samples)]
        image, ids = read_image(sample.image), read_ids(sample.label)
        return torch.from_numpy(image[crop]).permute(2, 0, 1).float(), torch.from_numpy(ids[crop])

    return sampled


STREETS = rendered_streets.READER
SOURCES = {
    "embedded default": (rendered, STREETS, "streets", 20),
    "GTA5's size": (full_size, gta5.READER, "gtav-to-cbm", 4),
}
WAYS = {"ours": trainingsets, "mmsegmentation": mmsegmentations, "decoding": decoded}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("way", WAYS)
def test_samples(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest, tmp_path: Path, source: str, way: str
) -> None:
    """All samples of several epochs; in the first one, nothing is cached in memory."""
    if source == "GTA5's size":
        request.getfixturevalue("asked_for")
    write, reader, protocol, count = SOURCES[source]
    samples, augmentation = write(tmp_path, count), protocols.load(protocol).augmentation

    def fresh() -> tuple[tuple[Callable[[int], Sampled]], dict[str, Any]]:
        return (WAYS[way](samples, reader, augmentation),), {}

    def epochs(sampled: Callable[[int], Sampled]) -> Sampled:
        for position in range(EPOCHS * count):
            found = sampled(position)
        return found

    image, target = benchmark.pedantic(epochs, setup=fresh, rounds=5, warmup_rounds=1)
    assert image.shape == (3, augmentation.crop, augmentation.crop)
    assert image.dtype == torch.float32
    assert target.shape == image.shape[1:]
    benchmark.extra_info["samples"] = EPOCHS * count


def test_both_pipelines_have_the_same_distribution(tmp_path: Path) -> None:
    """Of brightness, colour, classes and padding; tests/data/test_augment.py checks every step."""
    samples, augmentation = rendered(tmp_path, 3), protocols.load("streets").augmentation

    def facts(image: Tensor, target: Tensor) -> list[float]:
        fractions = [float((target == index).float().mean()) for index in (0, 2, 8, 13, 255)]
        return [float(image.mean()), float(image.std()), float((image[0] - image[2]).mean()), *fractions]

    found = [
        np.array([facts(*sampled(position)) for position in range(300)])
        for sampled in (WAYS[way](samples, STREETS, augmentation) for way in ("ours", "mmsegmentation"))
    ]
    for one, other in zip(found[0].T, found[1].T, strict=True):
        assert ks_2samp(one, other).pvalue > 0.002
