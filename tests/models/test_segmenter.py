"""Decoder, loss and inference."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmark.models.backbone import build_backbone
from benchmark.models.decoders import build_decoder
from benchmark.models.segmenter import Segmenter, inverse_frequency_weights, windows
from benchmark.models.weights import weight_hash

SPEC = SimpleNamespace(name="segformer", channels=16)


def build(class_weights: Tensor | None = None) -> Segmenter:
    backbone = build_backbone("vit-tiny-random")
    return Segmenter(backbone, build_decoder(SPEC, backbone.embed_dim, 5, seed=0), class_weights).eval()


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 255


def test_initial_weights_of_the_decoder_do_not_depend_on_earlier_draws() -> None:
    first = build_decoder(SPEC, 192, 5, seed=0)
    torch.manual_seed(7)
    torch.rand(3)
    state = torch.get_rng_state()
    second = build_decoder(SPEC, 192, 5, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert weight_hash(first) == weight_hash(second)
    assert weight_hash(first) != weight_hash(build_decoder(SPEC, 192, 5, seed=1))


def test_decoder_has_a_quarter_of_the_patch_stride_and_no_batch_statistics() -> None:
    decoder = build_decoder(SPEC, 64, 5, seed=0)
    assert decoder([torch.randn(2, 64, 4, 6)] * 4).shape == (2, 5, 16, 24)
    assert not list(decoder.buffers())
    assert not [m for m in decoder.modules() if isinstance(m, nn.Dropout | nn.Dropout2d)]
    features = [torch.randn(3, 64, 4, 6) for _ in range(4)]
    alone = decoder([f[:1] for f in features])
    torch.testing.assert_close(decoder(features)[:1], alone, rtol=1e-4, atol=1e-6)


def test_the_segmenter_normalises_images() -> None:
    model = build()
    batch = images(1, 3, 32, 32)
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    logits = model.decoder(model.backbone((batch - mean) / std))
    torch.testing.assert_close(model(batch), F.interpolate(logits, scale_factor=4, mode="bilinear"))


@pytest.mark.parametrize("size", [(32, 48), (33, 50), (7, 5)])
def test_logits_have_the_images_size_and_ignore_the_padding(size: tuple[int, int]) -> None:
    model = build()
    batch = images(2, 3, *size)
    height, width = size[0] + -size[0] % 16, size[1] + -size[1] % 16
    grey = model.mean.expand(2, 3, height, width).clone()
    grey[..., : size[0], : size[1]] = batch
    assert model(batch).shape == (2, 5, *size)
    torch.testing.assert_close(model(batch), model(grey)[..., : size[0], : size[1]])


def test_predictions_do_not_depend_on_other_images_of_the_batch() -> None:
    model = build()
    batch = images(3, 3, 32, 48)
    torch.testing.assert_close(model.predict(batch[1:2]), model.predict(batch)[1:2], rtol=1e-4, atol=1e-6)
    assert not model.predict(batch).requires_grad


@pytest.mark.parametrize("together", [1, 3, 100])
@pytest.mark.parametrize(("crop", "stride"), [(32, 20), (32, 32), (64, 48), (200, 100)])
def test_sliding_equals_a_naive_average(crop: int, stride: int, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For any number of windows per forward pass."""
    monkeypatch.setattr("benchmark.models.segmenter.AT_ONCE", together * 2 * crop**2)
    model = build().double()
    batch = images(2, 3, 50, 83).double()
    tops = [*range(0, max(50 - crop, 0), stride), max(50 - crop, 0)]
    lefts = [*range(0, max(83 - crop, 0), stride), max(83 - crop, 0)]
    votes: dict[tuple[int, int], list[Tensor]] = {}
    with torch.no_grad():
        for top in tops:
            for left in lefts:
                logits = model(batch[..., top : top + crop, left : left + crop])
                for y in range(logits.shape[2]):
                    for x in range(logits.shape[3]):
                        votes.setdefault((top + y, left + x), []).append(logits[..., y, x])
    predicted = model.predict(batch, "slide", crop, stride)
    assert len(votes) == 50 * 83
    for (y, x), several in votes.items():
        torch.testing.assert_close(predicted[..., y, x], torch.stack(several).mean(0), rtol=1e-12, atol=1e-12)


@given(st.integers(1, 300), st.integers(1, 100), st.integers(1, 100))
def test_windows_cover_the_side_and_are_as_many_as_in_mmsegmentation(length: int, crop: int, stride: int) -> None:
    stride = min(stride, crop)
    found = windows(length, crop, stride)
    assert {i for window in found for i in range(window.start, window.stop)} == set(range(length))
    assert {window.stop - window.start for window in found} == {min(crop, length)}
    assert found[-1].stop == length
    assert len(found) == max(length - crop + stride - 1, 0) // stride + 1


def test_loss_is_the_weighted_cross_entropy_of_labelled_pixels() -> None:
    weights = torch.tensor([0.5, 1.0, 1.5, 2.0, 0.0])
    model = build(weights)
    batch = images(2, 3, 32, 32)
    labels = torch.randint(0, 5, (2, 32, 32), generator=torch.Generator().manual_seed(1))
    labels[0, :10] = 255
    log = model(batch).log_softmax(1)
    total = normaliser = torch.zeros(())
    for b, y, x in (labels != 255).nonzero().tolist():
        weight = weights[labels[b, y, x]]
        total, normaliser = total - weight * log[b, labels[b, y, x], y, x], normaliser + weight
    torch.testing.assert_close(model.losses(batch, labels)["ce"], total / normaliser)


def test_loss_of_an_unlabelled_batch_is_zero_with_gradients() -> None:
    for model in (build(), build(torch.ones(5))):
        loss = model.losses(images(1, 3, 32, 32), torch.full((1, 32, 32), 255))["ce"]
        loss.backward()
        assert loss == 0
        assert all(torch.isfinite(p.grad).all() for p in model.decoder.parameters() if p.grad is not None)


def test_class_weights_are_inverse_roots_of_frequency_with_mean_one() -> None:
    weights = inverse_frequency_weights(torch.tensor([100, 400, 0, 900]))
    assert weights[0] / weights[1] == pytest.approx(2)
    assert weights[0] / weights[3] == pytest.approx(3)
    assert weights[2] == 0
    assert weights.sum() == pytest.approx(3)


@pytest.mark.parametrize(("crop", "stride"), [(32, 20), (16, 16), (200, 100)])
def test_bands_are_the_prediction_and_no_higher_than_the_windows_of_a_pass(crop: int, stride: int) -> None:
    model = build()
    batch = images(2, 3, 150, 83).round()
    bands = list(model.bands(batch.byte(), crop, stride, at_once=1))
    assert torch.equal(torch.cat(bands, -2), torch.cat(list(model.bands(batch, crop, stride, at_once=1)), -2))
    torch.testing.assert_close(torch.cat(bands, -2), model.predict(batch, "slide", crop, stride), rtol=1e-4, atol=1e-5)
    assert max(band.shape[-2] for band in bands) <= min(crop, 150)


@pytest.mark.parametrize(
    ("shape", "factor", "options", "text"),
    [
        ((1, 3, 32, 32), 1, {"mode": "slide", "crop": 16, "stride": 24}, "stride 24 and crop 16"),
        ((1, 3, 32, 32), 1, {"mode": "slide", "crop": 16, "stride": 0}, "stride 0"),
        ((1, 3, 32, 32), 1, {"mode": "slide"}, "crop 0"),
        ((1, 3, 32, 32), 1, {"mode": "sliding"}, "'sliding'"),
        ((1, 3, 32, 32), 1 / 255, {}, r"not in 0\.\.1"),
        ((1, 3, 32, 32), -1, {}, r"0\.\.255 and not normalised"),
        ((1, 3, 32, 32), 2, {}, r"0\.\.255"),
        ((1, 3, 32, 32), float("nan"), {}, "nan"),
        ((3, 32, 32), 1, {}, r"\(3, 32, 32\)"),
        ((1, 32, 32, 3), 1, {}, r"\(B, 3, H, W\)"),
        ((1, 4, 32, 32), 1, {}, r"\(1, 4, 32, 32\)"),
        ((0, 3, 32, 32), 1, {}, r"\(0, 3, 32, 32\)"),
    ],
)  # fmt: skip
def test_unsound_arguments_are_refused(shape: tuple[int, ...], factor: float, options: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        build().predict(images(*shape) * factor, **options)


def test_black_images_and_bytes_are_predicted() -> None:
    model = build()
    for dark in (torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)):
        assert torch.equal(model.predict(dark), model.predict(dark.byte()))
    with pytest.raises(ValueError, match="int64"):
        model.predict(torch.zeros(1, 3, 16, 16, dtype=torch.int64))


def test_probabilities_of_scores_are_the_class_distribution_of_logits() -> None:
    model = build()
    batch = images(1, 3, 32, 48)
    torch.testing.assert_close(model.decoder.log_probabilities(model.predict(batch)), model(batch).log_softmax(1))
