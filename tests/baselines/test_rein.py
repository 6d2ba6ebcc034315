"""Rein against plain loops: refinement, queries, initial tokens, and hooks between blocks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.rein import Rein, Reins
from benchmark.common.rng import torch_rng
from tests.backbones import tiny_backbone
from tests.baselines.numerics import attach, close, outputs

DEPTH, TOKENS, RANK, DIM = 2, 5, 3, 6


@pytest.fixture
def reins() -> Reins:
    made = Reins(DEPTH, TOKENS, RANK, DIM, patch=2, scale=0.5, rng=torch_rng(0, "method")).double()
    with torch.no_grad():
        made.a.mul_(4)  # so that the softmax is far from uniform
    return made


def plain(tensor: Tensor) -> Any:
    return tensor.tolist()


def product(left: Any, right: Any) -> list[list[float]]:
    return [
        [sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*right, strict=True)] for row in left
    ]


def affine(layer: nn.Linear, vector: list[float]) -> list[float]:
    rows, bias = plain(layer.weight), plain(layer.bias)
    return [sum(w * x for w, x in zip(row, vector, strict=True)) + b for row, b in zip(rows, bias, strict=True)]


def test_rein_equals_its_formula_in_plain_loops(reins: Reins) -> None:
    features = torch.randn(7, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for block in range(DEPTH):
        tokens = product(plain(reins.a[block]), plain(reins.b[block]))
        values = [affine(reins.token_to_feature, token) for token in tokens]
        refined = []
        for f in plain(features):
            scores = [math.exp(sum(x * t for x, t in zip(f, token, strict=True)) / math.sqrt(DIM)) for token in tokens]
            shares = [score / sum(scores) for score in scores]
            mixed = list(f)
            for token in range(1, TOKENS):  # the first takes part in the softmax but its value is dropped
                mixed = [x + shares[token] * v for x, v in zip(mixed, values[token], strict=True)]
            delta = affine(reins.feature, mixed)
            refined.append([x + reins.scale.item() * d for x, d in zip(f, delta, strict=True)])
        expected = torch.tensor(refined, dtype=torch.float64)
        assert torch.allclose(reins(features, block), expected, atol=1e-12)


def test_rein_queries_interleave_maximum_mean_and_last(reins: Reins) -> None:
    each = []
    for block in range(DEPTH):
        tokens = product(plain(reins.a[block]), plain(reins.b[block]))
        each.append([affine(reins.query, token) for token in tokens])
    for token, query in enumerate(reins.queries()):
        summary = []
        for values in zip(*(block[token] for block in each), strict=True):
            summary += [max(values), sum(values) / DEPTH, values[-1]]
        assert torch.allclose(query, torch.tensor(affine(reins.merge, summary), dtype=torch.float64), atol=1e-12)


def test_rein_initial_tokens_are_uniform_in_their_range() -> None:
    made = Reins(24, 100, 16, 1024, patch=16, scale=0.001, rng=torch_rng(0, "method"))
    bound = math.sqrt(6 / (3 * 16 * 16 + math.sqrt(16 * 1024)))
    for tensor in (made.a, made.b):
        assert 0.999 * bound < tensor.abs().max() <= bound
        assert tensor.mean().abs() < 0.01 * bound
    assert made.feature.weight.abs().max() <= 1 / 32
    assert made.scale.item() == pytest.approx(0.001)


@pytest.mark.parametrize("kind", ["plain", "dinov2", "dinov3", "sam"])
def test_rein_refines_patch_tokens_in_every_block(kind: str) -> None:
    backbone = tiny_backbone(kind)
    made = attach(Rein(Rein.Settings(tokens=7, rank=4, scale=0.3)), backbone)
    expected = []

    def follow(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        index = list(backbone.blocks).index(block)
        tokens = output.clone()
        places = tokens if kind == "sam" else tokens[:, backbone.prefix_tokens :]
        places.copy_(made.backbone.rein(places.clone(), index))
        grid = tokens if kind == "sam" else places.unflatten(1, (4, 4))
        expected.append(grid.permute(0, 3, 1, 2))
        return tokens

    found = outputs(backbone)
    for hook in made._hooks:
        hook.remove()
    for block in backbone.blocks:
        block.register_forward_hook(follow, with_kwargs=True)
    outputs(backbone)
    assert close(found, expected)
