"""Eq. 6: x' from perturbed feature statistics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from benchmark.method import UserError, restyle
from methods.fishertune.domain import UnseenDomain
from tests.methods.fishertune.small_runs import build, images


def features(size: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    offset = torch.randn(size, 1, 4, generator=generator)
    scale = 0.5 + torch.rand(size, 1, 4, generator=generator)
    return offset + scale * torch.randn(size, 50, 4, generator=generator)


def noise(size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 1, 4, generator=generator), torch.randn(size, 1, 4, generator=generator)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("correction", [0, 1])
def test_new_statistics_are_alpha_and_beta(correction: int) -> None:
    x, (e_mean, e_spread) = features().double(), noise()
    shifted = restyle(x, e_mean, e_spread, correction)
    mean, spread = x.mean(1), x.std(1, correction=correction)
    alpha = mean + e_mean[:, 0] * mean.std(0, correction=correction)
    beta = spread + e_spread[:, 0] * spread.std(0, correction=correction)
    torch.testing.assert_close(shifted.mean(1), alpha)
    torch.testing.assert_close(shifted.std(1, correction=correction), beta.abs(), rtol=1e-4, atol=1e-4)


def test_unbiased_deviations_shift_a_batch_of_eight_by_seven_percent_more() -> None:
    x, (e_mean, e_spread) = features(8).double(), noise(8)
    unbiased, population = (restyle(x, e_mean, 0 * e_spread, c).mean(1) - x.mean(1) for c in (1, 0))
    torch.testing.assert_close(unbiased, population * (8 / 7) ** 0.5)


def test_a_batch_of_one_is_unchanged() -> None:
    x = features(1)
    torch.testing.assert_close(restyle(x, *noise(1)), x)


def test_a_constant_channel_is_shifted_and_stays_constant_and_finite() -> None:
    x = features()
    x[..., 2] = torch.arange(6.0).view(6, 1)
    x.requires_grad_(True)
    shifted = restyle(x, *noise())
    assert shifted[..., 2].std(1).max() < 1e-5
    assert (shifted[..., 2] - x[..., 2]).abs().max() > 0.1
    (gradient,) = torch.autograd.grad(shifted.pow(2).sum(), x)
    assert bool(gradient.isfinite().all())


def test_a_samples_gradient_depends_on_no_other_sample() -> None:
    x = features().requires_grad_(True)
    (gradient,) = torch.autograd.grad(restyle(x, *noise())[0].pow(3).sum(), x)
    assert gradient[0].abs().max() > 0
    assert not gradient[1:].any()


@pytest.mark.parametrize("family", ["plain", "layerscale", "sam"])
@pytest.mark.parametrize("place", ["pixels", "embedding", 0, 1])
def test_every_position_changes_the_logits_and_only_within_the_context(family: str, place: str | int) -> None:
    segmenter = build(family)
    domain = UnseenDomain(segmenter.backbone, place, "channel")
    with torch.no_grad():
        before = segmenter(images(0))
        with domain.entered(generator()):
            shifted = segmenter(domain.images(images(0)))
        with domain.entered(generator()):
            again = segmenter(domain.images(images(0)))
        after = segmenter(images(0))
    assert torch.equal(before, after)
    assert torch.equal(shifted, again)
    assert (shifted - before).abs().max() > 1e-3 * before.abs().max()


def test_the_noise_is_drawn_once_for_all_passes() -> None:
    segmenter = build()
    domain = UnseenDomain(segmenter.backbone, "embedding", "channel")
    with torch.no_grad(), domain.entered(generator()):
        assert torch.equal(segmenter(images(0)), segmenter(images(0)))


def test_the_hook_is_removed_even_if_the_model_fails() -> None:
    segmenter = build()
    domain = UnseenDomain(segmenter.backbone, "embedding", "channel")
    with pytest.raises(RuntimeError), domain.entered(generator()):
        segmenter(torch.zeros(1, 7, 32, 32))
    assert not segmenter.backbone.vit.patch_embed._forward_hooks


def test_prefix_tokens_are_unchanged() -> None:
    segmenter = build("layerscale")
    domain = UnseenDomain(segmenter.backbone, 0, "channel")
    seen: list[Tensor] = []
    segmenter.backbone.blocks[1].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        segmenter(images(0))
        with domain.entered(generator()):
            segmenter(images(0))
    prefix = segmenter.backbone.prefix_tokens
    assert prefix == 5
    assert torch.equal(seen[0][:, :prefix], seen[1][:, :prefix])
    assert not torch.allclose(seen[0][:, prefix:], seen[1][:, prefix:])


def test_positions_give_different_domains() -> None:
    segmenter = build()
    found = []
    for place in ("pixels", "embedding", 0):
        domain = UnseenDomain(segmenter.backbone, place, "channel")
        with torch.no_grad(), domain.entered(generator()):
            found.append(segmenter(domain.images(images(0))))
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[1], found[2])


def test_a_position_that_the_decoder_does_not_use_is_refused() -> None:
    with pytest.raises(UserError, match=r"place=2 .*block 1\b"):
        UnseenDomain(build().backbone, 2, "channel")


def test_damping_of_eq_7_in_both_readings() -> None:
    """Batch noise is a single pair, so its damping is known; signed exceeds 1 in half of all draws."""
    domain = UnseenDomain(build().backbone, "pixels", "batch")
    signed = []
    for seed in range(40):
        with domain.entered(generator(seed)):
            domain.images(images(0))
        twin = generator(seed)
        e = torch.randn(2, 1, generator=twin).flatten().tolist()
        assert domain.damping("magnitude") == pytest.approx(math.exp(-abs(e[0]) - abs(e[1])), rel=1e-5)
        assert domain.damping("signed") == pytest.approx(math.exp(-e[0] - e[1]), rel=1e-5)
        signed.append(domain.damping("signed"))
    assert 10 < sum(value > 1 for value in signed) < 30


def test_the_damping_of_a_sample_decreases_with_its_own_shift() -> None:
    """Sample noise is one pair per image; channel noise averages over channels, which leaves nearly a constant."""
    domain = UnseenDomain(build().backbone, "embedding", "sample")
    with torch.no_grad(), domain.entered(generator()):
        build().backbone(images(0))
        domain._shift(torch.randn(4, 6, 24, generator=generator(1)))
        found = domain.dampings("magnitude")
    twin = generator()
    first, second = (torch.randn(4, 1, 1, generator=twin).flatten().abs() for _ in range(2))
    torch.testing.assert_close(found, (-first - second).exp())
    assert found.argsort().tolist() == (first + second).argsort(descending=True).tolist()
    assert found.max() / found.min() > 1.5
    wide = UnseenDomain(build().backbone, "embedding", "channel")
    with wide.entered(generator()):
        wide._shift(torch.randn(4, 6, 4096, generator=generator(1)))
    assert wide.dampings("magnitude").max() / wide.dampings("magnitude").min() < 1.1
    assert wide.damping("magnitude") == pytest.approx(math.exp(-2 * (2 / math.pi) ** 0.5), rel=0.03)


def test_channel_noise_differs_between_samples_and_batch_noise_does_not() -> None:
    backbone = build().backbone
    for kind, count in (("channel", 4 * 3), ("sample", 4), ("batch", 1)):
        domain = UnseenDomain(backbone, "pixels", kind)
        x = images(0)
        with domain.entered(generator()):
            shifted = domain.images(x)
        mean = x.mean((2, 3))
        drawn = (shifted.mean((2, 3)) - mean) / mean.std(0)
        assert len(drawn.flatten().mul(1e3).round().unique()) == count
