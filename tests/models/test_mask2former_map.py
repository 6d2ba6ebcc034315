"""Mask2Former's semantic map: sum over queries, and its memory."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.models.mask2former import log_normalised, semantic
from tests.models.mask2former import CLASSES, QUERIES, drawn, images, model, sigmoid, value_at


def test_the_semantic_map_is_the_sum_over_queries_without_no_object() -> None:
    classes, masks = 2 * drawn(2, QUERIES, CLASSES + 1), 3 * drawn(2, QUERIES, 3, 4)
    found = semantic(classes, masks, (6, 8))
    for image in range(2):
        fields = masks[image].double()
        for y in range(6):
            for x in range(8):
                # upsampling repeats the border, while value_at is zero outside
                u = min(max((x + 0.5) / 8, 0.5 / 4), 3.5 / 4)
                v = min(max((y + 0.5) / 6, 0.5 / 3), 2.5 / 3)
                for c in range(CLASSES):
                    total = 0.0
                    for query in range(QUERIES):
                        weights = [math.exp(value) for value in classes[image, query].tolist()]
                        mask = sigmoid(value_at(fields[query].tolist(), u, v))
                        total += weights[c] / sum(weights) * mask
                    assert found[image, c, y, x].item() == pytest.approx(total, rel=1e-5)


def test_logits_are_log_normalised_scores_and_inference_averages_scores() -> None:
    segmenter = model().eval()
    batch = images(1, 3, 32, 32)
    with torch.no_grad():
        logits, scores = segmenter(batch), segmenter.predict(batch)
    torch.testing.assert_close(logits.softmax(1), scores / scores.sum(1, keepdim=True))
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(1, 32, 32))
    assert torch.equal(logits.argmax(1), scores.argmax(1))
    assert torch.equal(segmenter.decoder.log_probabilities(scores), logits)
    wide = images(1, 3, 32, 48)
    with torch.no_grad():
        left, right = segmenter.predict(wide[..., :32]), segmenter.predict(wide[..., 16:])
    slid = segmenter.predict(wide, "slide", 32, 16)
    torch.testing.assert_close(slid[..., 16:32], (left[..., 16:] + right[..., :16]) / 2)


def test_logits_of_vanishing_scores_are_finite() -> None:
    scores = torch.tensor([0.0, 1e-30, 3e-30]).view(1, 3, 1, 1).requires_grad_(True)
    logits = log_normalised(scores)
    logits.sum().backward()
    assert logits[0, 2].exp().item() == pytest.approx(0.75, rel=1e-4)
    assert torch.isfinite(logits).all()
    assert torch.isfinite(scores.grad).all()  # type: ignore[arg-type]


def test_no_full_size_mask_is_saved_for_the_backward_pass() -> None:
    classes, masks = drawn(3, QUERIES, CLASSES + 1).requires_grad_(True), drawn(3, QUERIES, 4, 4).requires_grad_(True)
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = semantic(classes, masks, (64, 64))
    assert max(kept, default=0) < QUERIES * 64 * 64
    found.square().sum().backward()
    assert classes.grad is not None
    assert masks.grad is not None
    kept.clear()
    large = F.interpolate(masks, (64, 64), mode="bilinear").sigmoid()
    plain = torch.einsum("bqc,bqhw->bchw", classes.softmax(-1)[..., :-1], large)
    torch.testing.assert_close(found, plain)
    wanted = torch.autograd.grad(plain.square().sum(), [classes, masks])
    torch.testing.assert_close([classes.grad, masks.grad], list(wanted))
