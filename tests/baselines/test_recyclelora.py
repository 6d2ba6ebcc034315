"""RecycleLoRA against a greedy selection of columns, merged weights, and the learning rates of its two adapters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.recyclelora import RecycleLoRA, pivot_components
from benchmark.common.errors import UserError
from benchmark.models.backbone import Backbone
from tests.backbones import KINDS, tiny_backbone
from tests.baselines.numerics import attach, close, images, outputs


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def greedy(weight: Tensor) -> tuple[list[int], Tensor]:
    """Pick the column farthest from the span of those before; return the picks and the unit vectors of their parts."""
    rest, picks, directions = weight.clone(), list[int](), list[Tensor]()
    for _ in range(min(weight.shape)):
        picks.append(int(rest.square().sum(0).argmax()))
        directions.append(rest[:, picks[-1]] / rest[:, picks[-1]].norm())
        for _ in range(2):  # twice, so that rounding errors do not add up
            rest = rest - directions[-1][:, None] * (directions[-1] @ rest)
    return picks, torch.stack(directions, dim=1)


# -- the decomposition -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (24, 24)])
def test_components_are_the_first_and_last_columns_of_a_greedy_selection(shape: tuple[int, int]) -> None:
    weight = random(*shape)
    picks, directions = greedy(weight)
    (a, b), (sub_a, sub_b) = pivot_components(weight, 5, 3)
    for found, columns, place in ((a, b, slice(19, 24)), (sub_a, sub_b, slice(0, 3))):
        assert torch.equal(found, torch.eye(shape[1]).double()[picks[place]])
        assert torch.allclose(columns, directions[:, place], atol=1e-12)
    assert torch.allclose(b.T @ b, torch.eye(5).double(), atol=1e-14)
    assert torch.allclose(sub_b.T @ b, torch.zeros(3, 5).double(), atol=1e-14)


def test_components_of_orthogonal_columns_are_these_columns_by_length() -> None:
    """W = Q diag(d): each component is a column of Q, with its sign, in the order of d."""
    basis = torch.linalg.qr(random(6, 6)).Q
    lengths = torch.tensor([3.0, 0.5, 7.0, 1.0, 9.0, 2.0]).double()
    (a, b), (sub_a, sub_b) = pivot_components(basis * lengths, 2, 3)
    assert a.argmax(1).tolist() == [3, 1]
    assert sub_a.argmax(1).tolist() == [4, 2, 0]
    assert torch.allclose(b, basis[:, [3, 1]], atol=1e-14)
    assert torch.allclose(sub_b, basis[:, [4, 2, 0]], atol=1e-14)


def test_the_result_has_the_type_of_the_weight_and_shapes_on_the_meta_device() -> None:
    for weight in (random(8, 6).float(), torch.empty(8, 6, device="meta")):
        pairs = pivot_components(weight, 3, 2)
        assert [(a.shape, b.shape) for a, b in pairs] == [((3, 6), (8, 3)), ((2, 6), (8, 2))]
        assert all(tensor.dtype == torch.float32 for pair in pairs for tensor in pair)


# -- on vision transformers --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_as_the_pre_trained_model(kind: str) -> None:
    tuned = tiny_backbone(kind)
    start = outputs(tuned.eval())
    attach(RecycleLoRA(), tuned)
    # Calling EVA02's fused projection as a module adds its bias separately, which changes the rounding.
    assert close(outputs(tuned), start, 1e-5 if kind == "eva02-fused" else 0.0)


def merge(tuned: Backbone, plain: Backbone) -> None:
    """Write W_res + s (B A + B′A′) into every linear layer; W_res = W - s (B₀A₀ + B₀′A₀′) is from the greedy picks."""
    adapters: Any = tuned.recyclelora
    for index, block in enumerate(plain.blocks):
        for name, layer in block.named_modules():
            if not isinstance(layer, nn.Linear):
                continue
            pairs = adapters[f"{index}_{name.replace('.', '_')}"]
            picks, directions = greedy(layer.weight.detach())
            chosen = [*range(4), *range(len(picks) - 32, len(picks))]
            residual = layer.weight.detach().clone()
            residual[:, [picks[i] for i in chosen]] -= directions[:, chosen] / 36
            layer.weight.data = residual + sum(pair.b @ pair.a for pair in pairs.children()) / 36


@pytest.mark.parametrize("kind", KINDS)
def test_trained_pairs_equal_merged_weights(kind: str) -> None:
    tuned, merged = tiny_backbone(kind).double(), tiny_backbone(kind).double()
    inputs = images().double()
    with torch.no_grad():
        start = merged.eval()(inputs)
        attach(RecycleLoRA(), tuned)
        for part in tuned.get_submodule("recyclelora").parameters():
            part.add_(0.1 * random(*part.shape))
        merge(tuned, merged)
        found = tuned(inputs)
        assert close(found, merged(inputs), 1e-10)
        assert not close(found, start, 1e-2)


def test_the_sub_adapter_has_half_the_learning_rate() -> None:
    made = attach(RecycleLoRA(), tiny_backbone("dinov2"))
    names = {id(tensor): name.split(".")[-2] for name, tensor in made.backbone.named_parameters()}
    groups = made.optimizer((0.9, 0.999), 1e-8).param_groups
    assert [{names[id(p)] for p in group["params"]} for group in groups] == [{"main"}, {"sub"}]
    assert [group["lr"] for group in groups] == [1e-4, 5e-5]
    searched = attach(RecycleLoRA(RecycleLoRA.Settings(lr=0.01, sub_lr_ratio=0.25)), tiny_backbone("dinov2"))
    assert [group["lr"] for group in searched.parameter_groups()] == [0.01, 0.0025]


def test_ranks_larger_than_a_matrix_are_refused_and_nothing_is_attached() -> None:
    backbone = tiny_backbone("plain").eval()
    start = outputs(backbone)
    with pytest.raises(UserError, match=r"RecycleLoRA: .* = 49 exceeds the 48 components of vit\.blocks\.0.*lower"):
        attach(RecycleLoRA(RecycleLoRA.Settings(rank=40, sub_rank=9)), backbone)
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert close(outputs(backbone), start, 0.0)
