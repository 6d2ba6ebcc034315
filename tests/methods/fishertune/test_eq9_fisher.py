"""Eq. 4, 8, 9: the diagonal Fisher information and its estimators."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmark.method import UserError, matrices
from benchmark.models.segmenter import Segmenter
from methods.fishertune.estimators import SquaredGradients, average
from methods.fishertune.fisher import per_batch, per_sample, sample_labels, sample_losses
from tests.methods.fishertune.small_runs import CLASSES, FAMILIES, build, images, labels


def single_sample_loop(segmenter: Segmenter, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The definition: one autograd call per sample, in float64."""
    weights = matrices(segmenter.backbone)
    total = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights.items()}
    for image, label in zip(x, y, strict=True):
        loss = sample_losses_float64(segmenter(image[None]), label[None])
        for name, gradient in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
            total[name] += gradient**2
    return total


def sample_losses_float64(logits: Tensor, label: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, label, ignore_index=255)


@pytest.mark.parametrize("family", FAMILIES)
def test_per_sample_equals_a_loop_over_single_samples(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "float", lambda self: self)  # sample_losses then stays in float64
    segmenter = build(family, torch.float64)
    x, y = images(0, dtype=torch.float64), labels(0)
    found = dict(per_sample(lambda: sample_losses(segmenter(x), y), matrices(segmenter.backbone)))
    for name, expected in single_sample_loop(segmenter, x, y).items():
        assert bool((expected > 0).any()), name
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("family", ["layerscale", "eva-separate"])
def test_per_sample_in_float32_is_accurate_to_float32(family: str) -> None:
    segmenter, exact = build(family), build(family, torch.float64)
    y = labels(0)
    found = dict(per_sample(lambda: sample_losses(segmenter(images(0)), y), matrices(segmenter.backbone)))
    for name, expected in single_sample_loop(exact, images(0, dtype=torch.float64), y).items():
        torch.testing.assert_close(found[name].double(), expected, rtol=1e-3, atol=1e-5 * expected.max().item())


def test_per_sample_adds_up_the_calls_of_a_shared_layer() -> None:
    layer = nn.Linear(3, 3, bias=False).double()
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    found = dict(per_sample(lambda: layer(layer(x).tanh()).pow(2).flatten(1).sum(1), {"w": layer.weight}))
    expected = torch.zeros(3, 3, dtype=torch.float64)
    for sample in x:
        expected += torch.autograd.grad(layer(layer(sample[None]).tanh()).pow(2).sum(), layer.weight)[0] ** 2
    torch.testing.assert_close(found["w"], expected)


def test_per_sample_gives_zero_for_a_weight_that_does_not_contribute() -> None:
    used, unused = nn.Linear(3, 2), nn.Linear(3, 2)
    weights = {"used": used.weight, "unused": unused.weight}
    found = dict(per_sample(lambda: used(torch.ones(4, 1, 3)).flatten(1).sum(1), weights))
    assert bool((found["used"] > 0).all())
    assert not found["unused"].any()


def test_per_sample_refuses_weights_that_no_linear_layer_uses() -> None:
    weight = nn.Parameter(torch.ones(2, 3))
    with pytest.raises(UserError, match="estimator=per-batch"):
        per_sample(lambda: (torch.ones(4, 3) @ weight.T).sum(1), {"w": weight})


def test_per_batch_is_the_squared_gradient_of_the_mean_loss() -> None:
    segmenter = build()
    weights = matrices(segmenter.backbone)
    found = dict(per_batch(lambda: sample_losses(segmenter(images(0)), labels(0)), weights))
    loss = torch.stack([sample_losses(segmenter(images(0)[i : i + 1]), labels(0)[i : i + 1]) for i in range(4)])
    for name, gradient in zip(weights, torch.autograd.grad(loss.mean(), list(weights.values())), strict=True):
        torch.testing.assert_close(found[name], gradient**2, rtol=1e-3, atol=1e-4 * found[name].max().item())


def test_per_batch_and_per_sample_agree_on_a_batch_of_one_and_not_on_more() -> None:
    segmenter = build("layerscale", torch.float64)
    weights = matrices(segmenter.backbone)
    for size, same in ((1, True), (4, False)):
        x, y = images(0, size, torch.float64), labels(0, size)
        one, other = SquaredGradients(weights, "per-sample"), SquaredGradients(weights, "per-batch")
        for estimator in (one, other):
            estimator.update(lambda x=x, y=y: sample_losses(segmenter(x), y), 0)  # type: ignore[misc]
        name = next(iter(weights))
        a, b = one.fisher(name), other.fisher(name)
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6 * a.max().item()) is same


def test_labels_are_drawn_from_the_models_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, CLASSES, 1, 1, generator=generator).expand(1, CLASSES, 200, 500)
    drawn = sample_labels(logits, torch.rand(1, 200, 500, generator=generator))
    frequencies = torch.bincount(drawn.flatten(), minlength=CLASSES) / drawn.numel()
    torch.testing.assert_close(frequencies, logits[0, :, 0, 0].softmax(0), atol=0.005, rtol=0)


@pytest.mark.parametrize("certain", [0, 1, 2])
def test_a_class_without_probability_is_never_drawn(certain: int) -> None:
    logits = torch.zeros(1, 3, 1, 4)
    logits[:, certain] = 200.0
    uniforms = torch.tensor([[[0.0, 0.5, 0.999, 1 - 2**-24]]])
    assert sample_labels(logits, uniforms).unique().tolist() == [certain]


def test_equal_uniforms_differ_only_where_the_distributions_do() -> None:
    uniforms = torch.rand(1, 50, 50, generator=torch.Generator().manual_seed(0))
    logits = torch.randn(1, CLASSES, 50, 50, generator=torch.Generator().manual_seed(1))
    near = logits.clone()
    near[..., :25] += torch.randn(1, CLASSES, 50, 25, generator=torch.Generator().manual_seed(2))
    changed = sample_labels(logits, uniforms) != sample_labels(near, uniforms)
    assert not changed[..., 25:].any()
    assert changed[..., :25].any()


def test_sampled_fisher_of_softmax_regression_is_the_known_one() -> None:
    """F for logits W x with one pixel: (p_c - p_c²) x_j², for any ground truth."""
    layer = nn.Linear(3, CLASSES, bias=False)
    x = torch.tensor([1.0, -2.0, 0.5])
    size = 40_000
    uniforms = torch.rand(size, 1, 1, generator=torch.Generator().manual_seed(0))

    def losses() -> Tensor:
        logits = layer(x.expand(size, 1, 3)).transpose(1, 2).unsqueeze(-1)
        return sample_losses(logits, sample_labels(logits, uniforms))

    estimator = SquaredGradients({"w": layer.weight}, "per-sample")
    estimator.update(losses, 0)
    p = layer(x).softmax(0)
    torch.testing.assert_close(estimator.fisher("w"), torch.outer(p - p**2, x**2), rtol=0.05, atol=0)


def test_losses_are_means_over_labelled_pixels() -> None:
    logits = torch.randn(2, CLASSES, 4, 4)
    y = torch.randint(0, CLASSES, (2, 4, 4))
    y[0, :3] = 255
    y[1] = 255
    found = sample_losses(logits, y)
    expected = nn.functional.cross_entropy(logits[:1, :, 3:], y[:1, 3:])
    torch.testing.assert_close(found, torch.stack([expected, torch.tensor(0.0)]))


def test_evidence_is_weighted_by_the_number_of_samples() -> None:
    layer = nn.Linear(3, 2)
    estimators = [SquaredGradients({"w": layer.weight}, "per-sample") for _ in range(3)]
    for estimator, size in zip(estimators, (1, 3), strict=False):
        x = torch.randn(size, 1, 3, generator=torch.Generator().manual_seed(size))
        for each in (estimator, estimators[2]):
            each.update(lambda x=x: layer(x).pow(2).flatten(1).sum(1), 0)  # type: ignore[misc]
    torch.testing.assert_close(average(estimators[:2], "w"), estimators[2].fisher("w"))


@pytest.mark.parametrize("unit", ["per-sample", "per-batch"])
def test_a_non_finite_gradient_is_refused_by_name(unit: str) -> None:
    layer = nn.Linear(3, 2)
    estimator = SquaredGradients({"blocks.0.w": layer.weight}, unit)
    with pytest.raises(UserError, match=r"blocks\.0\.w is not finite"):
        estimator.update(lambda: layer(torch.ones(4, 1, 3)).sub(1e30).pow(3).flatten(1).sum(1), 0)
    assert estimator.count == 0
