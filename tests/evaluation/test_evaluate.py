"""mIoU agrees with mmsegmentation's IoUMetric and the Cityscapes evaluation script to 1e-9."""

from __future__ import annotations

import math
from copy import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmseg.evaluation.metrics import IoUMetric
from PIL import Image

from benchmark.common.statistics import Floats, iou, miou, resampled_miou
from benchmark.data.labels import Bytes
from benchmark.evaluation.evaluate import confusion, merged
from benchmark.labelsets import LabelSet, Merge, merge
from tests.data.trees import SCORED

CLASSES = 19
Images = list[tuple[Bytes, Bytes]]
"""(prediction, label), each (H, W) of train ids."""


def drawn(seed: int) -> Images:
    """Return images of random sizes in which some classes are missing from the label, the prediction or both."""
    rng = np.random.default_rng(seed)
    shown, guessed = (rng.permutation(CLASSES)[: rng.integers(1, CLASSES + 1)] for _ in range(2))
    images: Images = []
    for _ in range(rng.integers(1, 4)):
        size = tuple(rng.integers(1, 40, 2))
        label = rng.choice(np.append(shown, 255), size).astype(np.uint8)
        guess = np.where((rng.random(size) < 0.5) & (label != 255), label, rng.choice(guessed, size))
        images.append((guess.astype(np.uint8), label))
    images[0][1].flat[0] = shown[0]
    return images


def image(prediction: list[int], label: list[int]) -> tuple[Bytes, Bytes]:
    return np.array([prediction], np.uint8), np.array([label], np.uint8)


CASES: dict[str, Images] = {
    **{f"random {seed}": drawn(seed) for seed in range(12)},
    "absent everywhere": [image([0, 0, 1, 1], [0, 0, 1, 0])],
    "absent from the truth": [image([0, 18, 1], [0, 0, 1])],
    "absent from the prediction": [image([0, 0, 0], [0, 5, 18])],
    "nothing right": [image([1, 2], [2, 1])],
    "one pixel, right": [image([7], [7])],
    "one pixel, wrong": [image([7], [8])],
    "an image without labels": [image([3, 4], [255, 255]), image([3, 4], [3, 3])],
}


def ours(images: Images) -> tuple[Floats, float]:
    """Return IoU by class and mIoU; NaN if no pixel is labelled, for which ``miou`` raises an error."""
    each = [confusion(torch.from_numpy(guess), torch.from_numpy(label), CLASSES) for guess, label in images]
    total = np.stack(each).sum(0, dtype=np.int64)
    return iou(total), float(miou(total)) if total.any() else math.nan


@pytest.mark.parametrize("case", CASES)
def test_miou_is_ioumetrics(case: str) -> None:
    pairs = [tuple(torch.from_numpy(part).long() for part in pair) for pair in CASES[case]]
    areas = [IoUMetric.intersect_and_union(*pair, CLASSES, 255) for pair in pairs]
    # Its areas are integers in float32; in double precision the ratios are exact to 1e-9.
    totals = [sum(area[part].double() for area in areas) for part in range(4)]
    expected = IoUMetric.total_area_to_metrics(*totals, ["mIoU"])["IoU"]
    found, mean = ours(CASES[case])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert mean == pytest.approx(np.nanmean(expected), abs=1e-9)

    metric = IoUMetric()
    metric.dataset_meta = {"classes": [str(index) for index in range(CLASSES)]}
    metric.process({}, [{"pred_sem_seg": {"data": p}, "gt_sem_seg": {"data": label}} for p, label in pairs])
    assert 100 * mean == pytest.approx(metric.compute_metrics(metric.results)["mIoU"], abs=0.0051)  # rounded


@pytest.mark.parametrize("case", [*CASES, "all ignored"])
def test_miou_is_cityscapes_own(case: str, tmp_path: Path) -> None:
    theirs = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    images = CASES.get(case, [image([3, 4], [255, 255])])
    # As files of label ids; ignored pixels get all the ids that Cityscapes does not evaluate.
    to_ids = np.zeros(256, np.uint8)
    to_ids[: len(SCORED)] = SCORED
    unscored = np.array([index for index in range(34) if index not in SCORED], np.uint8)
    paths: tuple[list[str], list[str]] = ([], [])
    for number, (prediction, label) in enumerate(images):
        ids = np.where(label == 255, np.resize(unscored, label.shape), to_ids[label])
        for listed, pixels, kind in zip(paths, (to_ids[prediction], ids), ("prediction", "truth"), strict=True):
            listed.append(str(tmp_path / f"{number}_{kind}.png"))
            Image.fromarray(pixels).save(listed[-1])
    args = copy(theirs.args)
    args.evalInstLevelScore, args.JSONOutput, args.quiet = False, False, True
    result = theirs.evaluateImgLists(*paths, args)
    names = [theirs.id2label[index].name for index in SCORED]
    found, mean = ours(images)
    np.testing.assert_allclose(found, [result["classScores"][name] for name in names], rtol=0, atol=1e-9)
    assert mean == pytest.approx(result["averageScoreClasses"], abs=1e-9, nan_ok=True)


def test_miou_is_undefined_if_all_pixels_are_ignored() -> None:
    nothing = confusion(torch.tensor([[3, 4]]), torch.tensor([[255, 255]]), CLASSES)
    assert not nothing.any()
    assert np.isnan(iou(nothing)).all()
    with pytest.raises(ValueError, match="no pixel"):
        miou(nothing)


# -- merged predictions --------------------------------------------------------------------------------

PARTS = LabelSet.model_validate(
    {
        "name": "parts",
        "classes": [{"name": name, "color": [0, 0, 0]} for name in ("a", "b", "c", "d")],
    }
)
PAIR = LabelSet.model_validate(
    {
        "name": "pair",
        "classes": [{"name": name, "color": [0, 0, 0]} for name in ("ab", "c")],
        "merges": {"parts": {"ab": ["a", "b"], "c": ["c"]}},
    }
)
SCORES = torch.tensor([[0.3, 0.1, 0.2], [0.3, 0.2, 0.2], [0.4, 0.1, 0.15], [0.0, 0.6, 0.45]]).log()[:, None]
"""(C, H, W), the logarithms of probabilities."""


def pair() -> Merge:
    found = merge(PARTS, PAIR)
    assert found is not None
    return found


def test_classes_are_merged_after_the_argmax_or_by_adding_probabilities() -> None:
    assert merged(SCORES, pair(), "argmax").argmax(0).tolist() == [[1, 2, 2]]
    found = merged(SCORES, pair(), "probability")
    torch.testing.assert_close(found[:, 0].T, torch.tensor([[0.6, 0.4, 0.0], [0.3, 0.1, 0.6], [0.4, 0.15, 0.45]]))


def test_merging_after_the_argmax_keeps_ties() -> None:
    tied = torch.zeros(4, 2, 2, dtype=torch.bfloat16)
    assert merged(tied, pair(), "argmax").argmax(0).eq(pair().index[int(tied[:, 0, 0].argmax())]).all()


def test_a_prediction_without_counterpart_is_wrong() -> None:
    """Truth: ab ab c c; predictions: ab, none, c, ab."""
    counts = confusion(torch.tensor([[0, 2, 1, 0, 2]]), torch.tensor([[0, 0, 1, 1, 255]]), 2, 3)
    assert counts.tolist() == [[1, 0, 1], [1, 1, 0]]
    np.testing.assert_allclose(iou(counts), [1 / 3, 1 / 2])
    assert float(miou(counts)) == pytest.approx(5 / 12)
    once = resampled_miou(counts[None], np.ones((1, 1)))
    np.testing.assert_allclose(once, [5 / 12])
