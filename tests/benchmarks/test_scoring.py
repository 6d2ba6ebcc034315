"""Evaluation compared with other libraries (confusion matrices), and with a loop over windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmark import protocol as protocols
from benchmark.evaluation.evaluate import confusion
from benchmark.models.backbone import build_backbone
from benchmark.models.decoders import build_decoder
from benchmark.models.segmenter import Segmenter
from tests.benchmarks.counting import operations
from tests.benchmarks.reference import slide

CLASSES, IGNORE = 19, 255
Pair = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def pair() -> Pair:
    """A prediction (1024, 2048), int64 as from argmax, 80 % correct, and a label made of patches."""
    rng = np.random.default_rng(0)
    label = np.kron(rng.integers(0, CLASSES + 1, (64, 128)), np.ones((16, 16), int))
    guess = np.where(rng.random(label.shape) < 0.8, label % CLASSES, rng.integers(0, CLASSES, label.shape))
    label[label == CLASSES] = IGNORE
    return torch.from_numpy(guess), torch.from_numpy(label.astype(np.uint8))


def ours(pair: Pair) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
    return lambda: confusion(*pair, CLASSES), lambda: confusion(*pair, CLASSES)


def mmsegmentation(pair: Pair) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
    from mmseg.evaluation.metrics import IoUMetric

    metric = IoUMetric()
    metric.dataset_meta = {"classes": [str(index) for index in range(CLASSES)]}
    sample = {"pred_sem_seg": {"data": pair[0][None]}, "gt_sem_seg": {"data": pair[1][None]}}

    def areas() -> np.ndarray:
        """Return by class the intersection and the numbers of predicted and of labelled pixels."""
        shared, _, guessed, labelled = metric.results[-1]
        return np.stack([shared, guessed, labelled])

    return lambda: metric.process({}, [sample]), areas


def torchmetrics(pair: Pair) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
    from torchmetrics.classification import MulticlassConfusionMatrix

    metric = MulticlassConfusionMatrix(CLASSES, ignore_index=IGNORE, validate_args=False)

    def count() -> None:
        metric.reset()
        metric.update(*pair)

    return count, lambda: metric.compute().numpy()


def detectron2(pair: Pair) -> tuple[Callable[[], Any], Callable[[], np.ndarray]]:
    evaluation = pytest.importorskip("detectron2.evaluation", reason="needs detectron2, built from its repository")
    from detectron2.data import MetadataCatalog

    MetadataCatalog.get("speed").set(stuff_classes=[str(index) for index in range(CLASSES)], ignore_label=IGNORE)
    label = pair[1].numpy().astype(int)
    evaluator = evaluation.SemSegEvaluator("speed", distributed=False, sem_seg_loading_fn=lambda *_, **__: label)
    evaluator.input_file_to_gt_file = {"": ""}
    evaluator.encode_json_sem_seg = lambda *_: []  # skips the output file
    guess: Any = pair[0]
    scores: Any = torch.empty(0)
    scores.argmax = lambda dim: guess  # only counting is timed

    def count() -> None:
        evaluator.reset()
        evaluator.process([{"file_name": ""}], [{"sem_seg": scores}])

    return count, lambda: evaluator._conf_matrix[:CLASSES, :CLASSES].T


COUNTERS = {"ours": ours, "mmsegmentation": mmsegmentation, "torchmetrics": torchmetrics, "detectron2": detectron2}


@pytest.mark.parametrize("who", COUNTERS)
def test_confusion(benchmark: BenchmarkFixture, pair: Pair, who: str) -> None:
    count, counted = COUNTERS[who](pair)
    benchmark.extra_info["bytes"] = sum(part.nbytes for part in pair)
    benchmark.pedantic(count, rounds=15, warmup_rounds=2)
    expected = np.zeros((CLASSES, CLASSES), int)
    valid = pair[1] != IGNORE
    np.add.at(expected, (pair[1][valid].numpy(), pair[0][valid].numpy()), 1)
    if who == "mmsegmentation":
        expected = np.stack([expected.diagonal(), expected.sum(0), expected.sum(1)])
    np.testing.assert_array_equal(counted(), expected)


@pytest.mark.parametrize("way", ["ours", "loop"])
@pytest.mark.parametrize(("backbone", "size", "crop", "stride"), [
    ("vit-tiny-random", (128, 256), 64, 43),
    ("vit-tiny-random", (512, 1024), 512, 341),
    ("dinov2-s", (512, 1024), 512, 341),
])  # fmt: skip
def test_sliding_windows(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest,
    backbone: str, size: tuple[int, int], crop: int, stride: int, way: str,
) -> None:  # fmt: skip
    if crop == 512:
        request.getfixturevalue("asked_for")
    vfm = build_backbone(backbone, pretrained=False)
    segmenter = Segmenter(vfm, build_decoder(protocols.load("streets").decoder, vfm.embed_dim, CLASSES, 0)).eval()
    image = 255 * torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    ways = {
        "ours": lambda: segmenter.predict(image, "slide", crop, stride),
        "loop": lambda: slide(segmenter, image, crop, stride),
    }
    with torch.no_grad():
        benchmark.extra_info["operations"] = operations(ways[way])
        found = benchmark.pedantic(ways[way], rounds=5)
        other = ways["loop" if way == "ours" else "ours"]() if crop < 512 else found
    assert (found - other).abs().max() <= 1e-5
