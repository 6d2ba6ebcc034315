"""SoMA, as in the paper and as released, against singular value decompositions and merged weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baselines._minor_components import MinorComponents, Pair, minor_components
from baselines.soma import SoMA
from benchmark.common.errors import UserError
from benchmark.common.rng import torch_rng
from benchmark.models.backbone import Backbone, build_backbone
from methods.ablations.soma_as_released import SoMAAsReleased
from tests.backbones import KINDS, tiny_backbone


def attach(made: MinorComponents, backbone: Backbone, seed: int = 0) -> Any:
    made.attach(backbone.eval(), torch_rng(seed, "method"))
    return made


def outputs(backbone: Backbone) -> list[Tensor]:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return backbone(images)


def close(left: list[Tensor], right: list[Tensor], tolerance: float) -> bool:
    return all(torch.allclose(a, b, atol=tolerance, rtol=tolerance) for a, b in zip(left, right, strict=True))


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- the decomposition -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (24, 24)])
def test_a_pair_has_the_smallest_components_and_the_residual_the_others(shape: tuple[int, int]) -> None:
    weight = random(*shape)
    a, b = minor_components(weight, 5)
    assert a.shape == (5, shape[1])
    assert b.shape == (shape[0], 5)
    u, s, vt = np.linalg.svd(weight.double().numpy())
    expected = u[:, 19:24] @ np.diag(s[19:24]) @ vt[19:24]
    assert np.allclose((b @ a).numpy(), expected, atol=1e-6)
    residual = np.linalg.svd((weight - b @ a).double().numpy(), compute_uv=False)
    assert np.allclose(residual, [*s[:19], *[0] * 5], atol=1e-5)
    for factor in (a @ a.T, b.T @ b):  # both contain √S
        assert torch.allclose(factor, torch.tensor(s[19:24]).float().diag(), atol=1e-5)


def test_signs_are_fixed_and_the_global_rng_is_not_used() -> None:
    weight, rng_state = random(30, 20), torch.get_rng_state()
    a, b = minor_components(weight, 20)
    assert torch.equal(torch.get_rng_state(), rng_state)
    assert all(row[row.abs().argmax()] > 0 for row in a)
    opposite_a, opposite_b = minor_components(-weight, 20)
    assert torch.allclose(opposite_a, a, atol=1e-5)
    assert torch.allclose(opposite_b, -b, atol=1e-5)


def test_residual_and_pair_make_up_the_weight_and_share_its_gradients() -> None:
    """Compared with the form in the paper: a stored residual W - B A, and a trained B A."""
    weight, inputs, outer = random(12, 9).double(), random(7, 9, seed=2).double(), random(7, 12, seed=3).double()
    pair = Pair(*minor_components(weight, 4), in_place=True)
    with torch.no_grad():
        residual = weight - pair.b @ pair.a
    assert torch.allclose(residual + pair.b @ pair.a, weight, atol=1e-14)
    assert torch.equal(pair(inputs), torch.zeros(7, 12, dtype=torch.float64))
    pair.a.data += 0.1 * random(4, 9, seed=4)
    pair.b.data += 0.1 * random(12, 4, seed=5)
    found, expected = inputs @ weight.T + pair(inputs), inputs @ (residual + pair.b @ pair.a).T
    assert torch.allclose(found, expected, atol=1e-13)
    parameters = [pair.a, pair.b]
    gradients = [torch.autograd.grad((each * outer).sum(), parameters) for each in (found, expected)]
    assert all(torch.allclose(one, other, atol=1e-13) for one, other in zip(*gradients, strict=True))


# -- on vision transformers --------------------------------------------------------------------------------


def merge(tuned: Backbone, plain: Backbone, in_place: bool) -> None:
    """Merge the pairs into the weights of a plain backbone, as in the papers."""
    pairs: Any = tuned.minor_components
    for index in (1, 2):
        for name, layer in plain.blocks[index].named_modules():
            if not isinstance(layer, nn.Linear):
                continue
            beside = list(pairs[f"{index}_{name.replace('.', '_')}"])
            assert len(beside) == (3 if name == "attn.qkv" else 1)
            for pair, rows in zip(beside, layer.weight.data.chunk(len(beside)), strict=True):
                u, s, vt = torch.linalg.svd(rows.double(), full_matrices=False)
                minor = u[:, -16:] @ s[-16:].diag() @ vt[-16:]
                rows.add_(((pair.b @ pair.a).double() - (minor if in_place else 0)).float())


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_as_the_pre_trained_model(kind: str) -> None:
    tuned = tiny_backbone(kind)
    start = outputs(tuned.eval())
    attach(SoMA(), tuned)
    # Calling EVA02's fused projection as a module adds its bias separately, which changes the rounding.
    tolerance = 1e-5 if kind == "eva02-fused" else 0.0
    assert close(outputs(tuned), start, tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cls", [SoMA, SoMAAsReleased])
def test_trained_pairs_equal_merged_weights(cls: type[MinorComponents], kind: str) -> None:
    tuned, merged = tiny_backbone(kind), tiny_backbone(kind)
    start = outputs(merged.eval())
    made = attach(cls(), tuned)
    with torch.no_grad():
        for part in tuned.get_submodule("minor_components").parameters():
            part.add_(0.1 * random(*part.shape))
        merge(tuned, merged, in_place=cls is SoMA)
        for name, bias in merged.named_parameters():
            if any(tensor is tuned.get_parameter(name) for tensor in made._biases):
                tuned.get_parameter(name).add_(0.1)
                bias.add_(0.1)
    found = outputs(tuned)
    assert close(found, outputs(merged), 1e-4)
    assert torch.equal(found[0], start[0]), "the first third of the blocks is as pre-trained"
    assert not close(found[1:], start[1:], 1e-2)


def test_the_upper_two_thirds_are_blocks_8_to_23_of_a_vit_l() -> None:
    with torch.device("meta"):
        backbone = build_backbone("dinov2-l", pretrained=False)
    made = attach(SoMA(), backbone)
    blocks = {int(name.split("_")[0]) for name, _ in backbone.get_submodule("minor_components").named_children()}
    assert blocks == set(range(8, 24))
    assert sum(p.numel() for p in made._biases) == 147_456
    assert 4_867_072 - made.trainable() == 1_024, "published, and DINOv2's mask token"


def test_eva02_l_has_three_feed_forward_matrices_and_no_key_bias() -> None:
    with torch.device("meta"):
        backbone = build_backbone("eva02-l", pretrained=False)
    pairs = 4 * (1024 + 1024) + 3 * (1024 + 2730)
    biases = 3 * 1024 + 2 * 2730 + 1024
    assert attach(SoMA(), backbone).trainable() == 16 * (16 * pairs + biases) == 5_133_120


def test_a_rank_larger_than_a_matrix_is_refused_and_nothing_is_attached() -> None:
    backbone = tiny_backbone("plain").eval()
    start = outputs(backbone)
    with pytest.raises(UserError, match=r"SoMA: rank 49 exceeds the 48 singular components of vit\.blocks\.1.*lower"):
        attach(SoMA(SoMA.Settings(rank=49)), backbone)
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert close(outputs(backbone), start, 0.0)


# -- weight decay ------------------------------------------------------------------------------------------


def test_weight_decay_follows_a_cosine_and_has_an_effect() -> None:
    backbone = tiny_backbone("plain")
    made = attach(SoMA(SoMA.Settings(lr=0.5, weight_decay=0.4, weight_decay_end=0.1)), backbone)
    optimizer = made.optimizer((0.9, 0.999), 1e-8)
    dummy = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(dummy, T_max=10, eta_min=0.1)
    pair = backbone.get_parameter("minor_components.1_mlp_fc1.0.a")
    bias = backbone.get_parameter("vit.blocks.1.mlp.fc1.bias")
    frozen = backbone.get_parameter("vit.blocks.1.mlp.fc1.weight")
    kept = frozen.clone()
    for step in range(10):
        expected = dummy.param_groups[0]["lr"]
        made.before_step(step, 10)
        assert [group["weight_decay"] for group in optimizer.param_groups] == pytest.approx([expected])
        before = pair.detach().clone(), bias.detach().clone()
        for tensor in (pair, bias):
            tensor.grad = torch.zeros_like(tensor)
        optimizer.step()
        for tensor, value in zip((pair, bias), before, strict=True):
            assert torch.allclose(tensor, value * (1 - 0.5 * expected))
        dummy.step()
        annealing.step()
    assert torch.equal(frozen, kept)


# -- as released -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_as_released_it_does_not_start_as_the_pre_trained_model(kind: str) -> None:
    tuned, again = tiny_backbone(kind), tiny_backbone(kind)
    start = outputs(tuned.eval())
    attach(SoMAAsReleased(), tuned)
    found = outputs(tuned)
    assert not close(found[1:], start[1:], 0.05)
    attach(SoMAAsReleased(), again, seed=1)
    assert not close(outputs(again)[1:], found[1:], 0.05), "the perturbation is random"


@pytest.mark.parametrize(("shape", "norm"), [((4096, 1024), 0.62), ((1024, 4096), 0.31), ((1024, 1024), 0.014)])
def test_as_released_the_perturbation_of_each_matrix_of_a_vit_l_has_this_norm(
    shape: tuple[int, int], norm: float
) -> None:
    pair = SoMAAsReleased().pair(torch.empty(shape), torch_rng(0, "method"))
    a, b = pair.a.detach().double(), pair.b.detach().double()
    largest = math.sqrt(torch.linalg.eigvals(b.T @ b @ a @ a.T).real.max().item())
    assert largest == pytest.approx(norm, rel=0.06)
