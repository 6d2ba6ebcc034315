"""GeCo: geometry of known point sets, perturbations against plain loops, and the loss in training."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from baselines.geco import GeCo, local_geometry, moves, squared_angle
from benchmark.common.rng import torch_rng
from benchmark.method import Decoding
from benchmark.models.decoders import build_decoder
from benchmark.models.mask2former import pyramid as mask2former_pyramid
from benchmark.models.segmenter import Segmenter
from benchmark.training.trainer import Trainer
from tests.backbones import tiny_backbone
from tests.small import Head, OneBatch, protocol

K, D = 8, 4


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plane(count: int = 40, width: int = 30) -> tuple[Tensor, Tensor]:
    """Return tokens (1, n, D) in a three-dimensional subspace (unit tokens are on a 2-sphere), and its basis."""
    basis, _ = torch.linalg.qr(random(width, 3))
    return (random(count, 3, seed=2) @ basis.T)[None], basis


# -- geometry ----------------------------------------------------------------------------------------------


def test_points_on_a_plane_have_no_curvature_and_their_plane_as_tangent_space() -> None:
    tokens, basis = plane()
    axes, kappa = local_geometry(tokens, K, D)
    assert kappa.max() < 1e-4
    projector = axes[0].mT @ axes[0]
    assert torch.allclose(projector, (basis @ basis.T).expand_as(projector), atol=2e-3)


def test_orthogonal_tokens_have_a_quarter_outside_of_four_axes() -> None:
    """Offsets between orthonormal tokens have the Gram matrix I + 11ᵀ: energies 9, 1, ..., 1 for k = 8."""
    axes, kappa = local_geometry(3 * torch.eye(12)[None], K, D)
    assert torch.allclose(kappa, torch.full((1, 12), (K - D) / (2 * K)), atol=1e-5)
    assert torch.allclose(axes @ axes.mT, torch.eye(D).expand(1, 12, D, D), atol=1e-5)
    noise = local_geometry(random(2, 9, 20_000), K, D)[1]
    assert torch.allclose(noise, torch.tensor(0.25), atol=0.02), "isotropic noise is close to it"


def test_each_neighbour_counts_equally_in_the_curvature() -> None:
    """Two neighbours at orthogonal offsets, the far one along the only axis: fractions 0 and 1 at any length."""
    far, near = math.radians(60), math.radians(30)
    turn = math.acos(-math.tan(far / 2) * math.tan(near / 2))  # makes the offsets orthogonal
    a = [math.cos(far), math.sin(far), 0.0]
    b = [math.cos(near), math.sin(near) * math.cos(turn), math.sin(near) * math.sin(turn)]
    tokens = torch.tensor([[[1.0, 0.0, 0.0], a, b]], dtype=torch.float64)
    axes, kappa = local_geometry(tokens, 2, 1)
    assert kappa[0, 0].item() == pytest.approx(0.5, abs=1e-5)
    energy = [2 - 2 * math.cos(angle) for angle in (far, near)]
    assert energy[1] / sum(energy) == pytest.approx(0.211, abs=1e-3), "and the ratio of sums is another number"
    assert torch.allclose((axes[0, 0, 0] @ (tokens[0, 1] - tokens[0, 0])).abs() ** 2, tokens.new_tensor(energy[0]))


def test_a_neighbour_that_equals_the_token_counts_as_no_curvature() -> None:
    """The other seven orthogonal offsets have energies 8, 1, ..., 1, three of them outside of the axes."""
    tokens = torch.eye(12)[[*range(12), 0]][None]
    _, kappa = local_geometry(tokens, K, D)
    assert kappa[0, [0, 12]].tolist() == pytest.approx([(7 - D) / 2 / K] * 2, abs=1e-5)
    many = torch.eye(12)[[*range(12), *[0] * K]][None]
    axes, kappa = local_geometry(many, K, D)
    assert not kappa[0, 0]
    assert not axes[0, 0].any()
    assert torch.isfinite(moves(many, random(*many.shape), K, D, 0.1, 0.2)).all()


def test_offsets_with_fewer_dimensions_than_axes_give_zero_axes_despite_rounding() -> None:
    tokens, _ = plane(count=1000)
    axes, kappa = local_geometry(tokens.reshape(200, 5, 30), K, D)
    assert kappa.max() < 1e-4
    assert axes.norm(dim=-1).max() < 1.01
    assert (axes.norm(dim=-1) > 0.99).sum(-1).max() == 3


def test_equal_tokens_and_a_single_token_give_finite_results() -> None:
    equal = torch.ones(1, 10, 6)
    axes, kappa = local_geometry(equal, K, D)
    assert not kappa.any()
    assert torch.isfinite(axes).all()
    assert torch.isfinite(moves(equal, random(1, 10, 6), K, D, 0.1, 0.2)).all()
    assert not moves(torch.ones(2, 1, 6), random(2, 1, 6), K, D, 0.1, 0.2).any()
    few = moves(random(2, 4, 6), random(2, 4, 6, seed=3), K, D, 0.1, 0.2)
    assert (few.norm(dim=-1) > 0).all()


# -- moves -------------------------------------------------------------------------------------------------


def test_moves_of_points_on_a_plane_stay_in_it_where_they_are_tangent() -> None:
    tokens, basis = plane()
    outside = torch.eye(30) - basis @ basis.T
    noise = random(1, 40, 30, seed=3)
    along = moves(tokens, noise, K, D, 0.1, normal=0.0)
    off = moves(tokens, noise, K, D, 0.1, normal=0.2)
    length = 0.1 * tokens.square().mean(-1).sqrt()
    for found in (along, off):
        assert torch.allclose(found.norm(dim=-1), length, rtol=1e-3)
    assert ((along @ outside).norm(dim=-1) < 0.01 * length).all()
    leaves = (off @ outside).norm(dim=-1) > 0.1 * length
    _, kappa = local_geometry(tokens, K, D)
    assert torch.equal(leaves, kappa < kappa.quantile(0.5))
    assert leaves.sum() == 20


def expected_moves(image: np.ndarray, noise: np.ndarray, k: int, d: int, radius: float, normal: float) -> np.ndarray:
    """The perturbations of one image, token by token, with a singular value decomposition of the offsets."""
    unit = [token / np.linalg.norm(token) for token in image]
    kappas, tangents = [], []
    for i, token in enumerate(unit):
        others = sorted((j for j in range(len(unit)) if j != i), key=lambda j: np.linalg.norm(unit[j] - token))
        offsets = np.array([unit[j] - token for j in others[:k]])
        axes = np.linalg.svd(offsets, full_matrices=False)[2][:d]
        residuals = offsets - offsets @ axes.T @ axes
        ratios = [sum(r * r) / (sum(o * o) + 1e-6) for r, o in zip(residuals, offsets, strict=True)]
        kappas.append(sum(ratios) / len(ratios))
        tangents.append(axes.T @ axes @ noise[i])
    ordered = sorted(kappas)
    median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    result = []
    for token, kappa, tangent, g in zip(image, kappas, tangents, noise, strict=True):
        direction = tangent if kappa >= median else tangent + normal * (g - tangent)
        length = radius / (1 + kappa) * np.sqrt(np.mean(token**2))
        result.append(length * direction / np.linalg.norm(direction))
    return np.array(result)


@pytest.mark.parametrize(
    ("k", "d", "radius", "normal"), [(8, 4, 0.1, 0.2), (5, 4, 0.1, 0.2), (8, 2, 0.1, 0.2), (8, 4, 0.3, 0.7)]
)
def test_moves_equal_plain_loops(k: int, d: int, radius: float, normal: float) -> None:
    tokens, noise = random(3, 20, 16).double(), random(3, 20, 16, seed=2).double()
    found = moves(tokens, noise, k, d, radius, normal)
    pairs = zip(tokens.numpy(), noise.numpy(), strict=True)
    expected = np.stack([expected_moves(image, g, k, d, radius, normal) for image, g in pairs])
    assert np.allclose(found.numpy(), expected, atol=1e-9)


def test_a_move_is_a_third_of_a_percent_of_a_vit_l_token() -> None:
    tokens = random(1, 256, 1024)
    share = moves(tokens, random(1, 256, 1024, seed=2), K, D, 0.1, 0.2).norm(dim=-1) / tokens.norm(dim=-1)
    assert share.min() > 0.1 / 32 / 2
    assert share.max() < 0.1 / 32


# -- the loss ----------------------------------------------------------------------------------------------


def test_squared_angle_equals_the_squared_arc_cosine() -> None:
    clean, moved = random(2, 5, 3, 4).double(), random(2, 5, 3, 4, seed=2).double()
    overlap = (clean.softmax(1) * moved.softmax(1)).sqrt().sum(1)
    assert torch.allclose(squared_angle(clean, moved), overlap.acos().square(), atol=1e-12)


@pytest.mark.parametrize(("distance", "limited"), [(1e-3, True), (1e-1, False)])
def test_small_angles_are_limited_from_below(distance: float, limited: bool) -> None:
    clean = random(2, 5, 3, 4).double()
    moved = (clean + distance * random(2, 5, 3, 4, seed=2)).requires_grad_(True)
    found = squared_angle(clean, moved)
    overlap = (clean.softmax(1) * moved.softmax(1)).sqrt().sum(1)
    assert bool((overlap > 1 - 1e-6).all() if limited else (overlap < 1 - 1e-6).all())
    expected = overlap.clamp(max=1 - 1e-6).acos().square()
    assert torch.allclose(found, expected, rtol=1e-7, atol=1e-15)
    gradient, wanted = (torch.autograd.grad(each.sum(), moved, retain_graph=True)[0] for each in (found, expected))
    assert torch.allclose(gradient, wanted, rtol=1e-5, atol=1e-12)
    assert bool(gradient.any()) != limited


def test_squared_angle_of_equal_predictions_has_zero_gradient() -> None:
    """acos has an infinite gradient there. Confident logits, whose probabilities underflow, have a finite one."""
    logits = (200 * random(1, 5, 2, 2)).requires_grad_(True)
    equal = squared_angle(logits.detach(), logits)
    assert torch.allclose(equal, torch.tensor(math.acos(1 - 1e-6) ** 2), rtol=1e-6, atol=0)
    equal.sum().backward()
    assert not logits.grad.any()  # type: ignore[union-attr]
    logits.grad = None
    squared_angle(logits.detach().flip(1), logits).sum().backward()
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 3)])
def test_moving_the_last_map_moves_the_coarsest_level_by_as_much(size: tuple[int, int]) -> None:
    decoder: Any = build_decoder(SimpleNamespace(name="segformer", channels=8), 16, 5, 0)
    features = [random(2, 16, *size, seed=seed) for seed in range(4)]
    made = GeCo()
    move = made._move(features[-1], torch_rng(0, "test"))
    assert move.abs().max() > 0
    for pyramid in (decoder.pyramid, mask2former_pyramid):
        before, after = pyramid(features), pyramid([*features[:-1], features[-1] + move])
        assert torch.allclose(after[-1], before[-1] + move[..., ::2, ::2], atol=1e-6)
        assert all(torch.equal(one, other) for one, other in zip(before[:-1], after[:-1], strict=True))


def attached(**settings: Any) -> tuple[GeCo, Segmenter]:
    segmenter = Segmenter(tiny_backbone("dinov2"), Head())
    made = GeCo(GeCo.Settings(**settings))
    made.attach(segmenter.backbone, torch_rng(0, "method"))
    return made, segmenter


def confident(segmenter: Segmenter) -> Callable[[list[Tensor]], Tensor]:
    """Return a ``decode`` with larger logits than a random decoder's, so that angles are above the limit."""
    return lambda features: 30 * segmenter.decode(features, OneBatch().images)


def regulariser(
    made: GeCo, segmenter: Segmenter, decode: Any = None, seed: int = 0, step: int = 9
) -> dict[str, Tensor]:
    segmenter(OneBatch().images)
    return made.losses(Decoding(decode or confident(segmenter), torch_rng(seed, "test"), step, 10))


def test_the_target_is_detached_and_the_rest_gets_gradients() -> None:
    made, segmenter = attached()
    calls: list[bool] = []

    def decode(features: list[Tensor]) -> Tensor:
        calls.append(torch.is_grad_enabled())
        return segmenter.decoder(features)

    regulariser(made, segmenter, decode)["geometry"].backward()
    assert calls == [False, True]
    tensors = [tensor for tensor in segmenter.parameters() if tensor.requires_grad]
    assert len(tensors) == len(made.parameter_groups()[0]["params"]) + len(list(segmenter.decoder.parameters()))
    assert all(tensor.grad is not None and tensor.grad.any() for tensor in tensors)


class Seen(GeCo):
    """Stores what the training loop passes."""

    def losses(self, decoding: Decoding) -> dict[str, Tensor]:
        self.features, self.decoding = self._features, decoding
        self.found = super().losses(decoding)
        return self.found


def test_predictions_are_compared_at_the_size_of_the_images() -> None:
    """The logits are resized first; the backbone's padding of odd sizes is not compared."""
    data, made = OneBatch(size=(37, 51)), Seen(GeCo.Settings(warmup=0.0))
    segmenter = Segmenter(tiny_backbone("dinov2"), Head())
    trainer = Trainer(protocol(1, 2), 0, segmenter, made, data, Accelerator(cpu=True))
    trainer.run(lambda step: {})
    features = [level.detach() for level in made.features]
    with torch.no_grad():
        move = made._move(features[-1], torch_rng(0, "decoding", 0, 0))
        small = [segmenter.decoder([*features[:-1], last]) for last in (features[-1], features[-1] + move)]
    large = [F.interpolate(each, size=(40, 56), mode="bilinear")[..., :37, :51] for each in small]
    assert torch.allclose(made.decoding.decode(features), large[0], atol=1e-6)
    expected, coarse = (0.1 * squared_angle(*each).mean().item() for each in (large, small))
    assert made.found["geometry"].item() == pytest.approx(expected, rel=1e-4)
    assert coarse != pytest.approx(expected, rel=1e-2)


def test_strength_radius_and_rng_matter_and_precision_does_not() -> None:
    made, segmenter = attached()
    one = regulariser(made, segmenter)["geometry"].item()
    assert one > 0
    assert regulariser(made, segmenter)["geometry"].item() == one
    assert regulariser(made, segmenter, seed=1)["geometry"].item() != pytest.approx(one, rel=1e-3)
    made, segmenter = attached(strength=0.3)
    assert regulariser(made, segmenter)["geometry"].item() == pytest.approx(3 * one, rel=1e-4)
    made, segmenter = attached(radius=0.2)
    assert regulariser(made, segmenter)["geometry"].item() == pytest.approx(4 * one, rel=0.1)
    made, segmenter = attached()
    segmenter(OneBatch().images)
    with torch.autocast("cpu", torch.bfloat16):
        half = made.losses(Decoding(confident(segmenter), torch_rng(0, "test"), 9, 10))
    assert half["geometry"].item() == pytest.approx(one, rel=1e-4)


def test_in_training_it_starts_after_its_warm_up() -> None:
    data, made = OneBatch(), GeCo(GeCo.Settings(warmup=0.5))
    segmenter = Segmenter(tiny_backbone("dinov2"), Head())
    trainer = Trainer(protocol(6, 2), 0, segmenter, made, data, Accelerator(cpu=True))
    seen: list[dict[str, float]] = []
    trainer.run(lambda step: {}, tick=lambda step, losses: seen.append(losses))
    warmup = protocol(6, 2).decoder.warmup
    begin = warmup + (6 - warmup + 1) // 2
    assert [set(losses) for losses in seen] == [{"ce"}] * begin + [{"ce", "geometry"}] * (6 - begin)
    assert all(losses["geometry"] > 0 for losses in seen[begin:])
