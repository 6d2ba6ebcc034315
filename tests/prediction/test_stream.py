"""Predictions in bands equal those of the whole image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmark.models.segmenter import Segmenter
from benchmark.prediction import stream
from benchmark.protocol import Evaluation
from tests.models.test_segmenter import build

WHOLE, SLIDE = Evaluation(), Evaluation(mode="slide", crop=32, stride=20)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return build()


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("to", [(7, 9), (1, 1), (23, 40), (100, 64), (46, 80), (5, 200)])
@pytest.mark.parametrize("rows", [1, 10, 1000])
@pytest.mark.parametrize("heights", [[23], [1, 1, 21], [5, 5, 5, 5, 3]])
def test_bands_are_scaled_as_a_whole_is(
    to: tuple[int, int], heights: list[int], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "ROWS", rows * to[1])
    whole = torch.randn(2, 3, 23, 40, generator=torch.Generator().manual_seed(0))
    bands = list(stream.resized(whole.split(heights, -2), (23, 40), to))
    expected = F.interpolate(whole.double(), to, mode="bilinear", align_corners=False)
    torch.testing.assert_close(torch.cat(bands, -2).double(), expected, rtol=1e-5, atol=1e-5)
    assert max(band.shape[-2] for band in bands) <= rows


@pytest.mark.parametrize("spec", [WHOLE, SLIDE])
@pytest.mark.parametrize("size", [(1, 1), (1, 90), (70, 1), (50, 61)])
def test_classes_confidence_and_entropy_are_those_of_the_scores(
    segmenter: Segmenter, size: tuple[int, int], spec: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "ROWS", 100)
    image = picture(*size)
    ticks: list[int] = []
    (found,) = stream.predict(segmenter, [image], size, spec, ticks.append)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    scores = segmenter.predict(planes, spec.mode, spec.crop or 0, spec.stride or 0)[0].double()
    distribution = scores.softmax(0).flatten(1).T.tolist()
    assert (found.classes == scores.argmax(0).numpy()).mean() > 0.99
    assert found.classes.shape == size
    assert found.confidence == pytest.approx(sum(max(each) for each in distribution) / len(distribution), abs=1e-5)
    entropy = -sum(p * math.log(p) for each in distribution for p in each) / len(distribution)
    assert found.entropy == pytest.approx(entropy, abs=1e-5)
    assert sum(ticks) == size[0] * size[1]


def test_several_images_are_predicted_as_one_by_one_at_another_size(segmenter: Segmenter) -> None:
    images, size = [picture(40, 30), picture(30, 40).transpose(1, 0, 2)], (77, 55)
    together = stream.predict(segmenter, images, size, SLIDE, lambda pixels: None)
    for image, found in zip(images, together, strict=True):
        (alone,) = stream.predict(segmenter, [image], size, SLIDE, lambda pixels: None)
        assert found.classes.shape == size
        assert (found.classes == alone.classes).mean() > 0.99
        assert found.confidence == pytest.approx(alone.confidence, abs=1e-4)


def test_an_image_too_large_for_one_pass_is_predicted_in_windows(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "WHOLE", 60 * 80 - 1)
    monkeypatch.setattr(stream, "AT_ONCE", 1)
    monkeypatch.setattr(stream, "CROP", 48)
    monkeypatch.setattr(stream, "STRIDE", 32)
    planes = torch.from_numpy(picture(60, 80)).permute(2, 0, 1)[None]
    bands = list(stream.scores(segmenter, planes, (60, 80), WHOLE))
    assert max(band.shape[-2] for band in bands) <= 48
    expected = segmenter.predict(planes, "slide", 48, 32)
    torch.testing.assert_close(torch.cat(bands, -2), expected, rtol=1e-4, atol=1e-5)
    (whole,) = stream.scores(segmenter, planes[..., 1:, :], (59, 80), WHOLE)
    assert torch.equal(whole, segmenter.predict(planes[..., 1:, :]))
