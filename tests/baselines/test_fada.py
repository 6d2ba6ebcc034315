"""FADA's Haar transform and refinement against plain loops in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baselines.fada import FADA, Frequencies, haar, inverse_haar
from benchmark.common.rng import torch_rng
from benchmark.models.backbone import Backbone
from tests.backbones import KINDS, tiny_backbone

DIM, TOKENS = 5, 4


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def made() -> Frequencies:
    made = Frequencies(2, TOKENS, 3, DIM, patch=2, rng=torch_rng(0, "method")).double()
    with torch.no_grad():
        for index, parameter in enumerate(made.parameters()):
            parameter.copy_(random(*parameter.shape, seed=index) / 2)
    return made


def attach(backbone: Backbone, **settings: Any) -> FADA:
    method = FADA(FADA.Settings(**settings))
    method.attach(backbone.eval(), torch_rng(0, "method"))
    return method


def outputs(backbone: Backbone, height: int = 32, width: int = 32) -> list[Tensor]:
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return backbone(images)


# -- the transform -----------------------------------------------------------------------------------------


def test_haar_is_sums_and_differences_of_rows_then_columns() -> None:
    """Separable reference: the 1-D transform (x + y, x - y) / √2 along columns, then along rows."""
    tokens = random(2, 6, 8, DIM)
    pairs = tokens[:, :, ::2], tokens[:, :, 1::2]
    smooth, detail = ((pairs[0] + sign * pairs[1]) / math.sqrt(2) for sign in (1, -1))
    bands = [
        (part[:, ::2] + sign * part[:, 1::2]) / math.sqrt(2)
        for part, sign in ((smooth, 1), (detail, 1), (smooth, -1), (detail, -1))
    ]
    assert torch.allclose(haar(tokens), torch.stack(bands, 1), atol=1e-14)


def test_haar_preserves_energy_and_is_invertible() -> None:
    tokens = random(2, 6, 8, DIM)
    bands = haar(tokens)
    assert bands.square().sum().item() == pytest.approx(tokens.square().sum().item(), rel=1e-12)
    assert torch.allclose(inverse_haar(bands), tokens, atol=1e-14)
    constant = haar(torch.ones(1, 4, 4, 1))
    assert torch.equal(constant[:, 0], torch.full((1, 2, 2, 1), 2.0))
    assert not constant[:, 1:].any()


# -- the refinement ----------------------------------------------------------------------------------------


def affine(layer: nn.Linear, rows: np.ndarray) -> np.ndarray:
    return rows @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def softmax(rows: np.ndarray) -> np.ndarray:
    powers = np.exp(rows)
    return powers / powers.sum(1, keepdims=True)


def refined(made: Frequencies, image: np.ndarray, block: int) -> np.ndarray:
    """Refine the map (h, w, D) of one image, square by square, as the docstring describes."""
    height, width, _ = image.shape
    image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    squares = [(y, x) for y in range(0, len(image), 2) for x in range(0, image.shape[1], 2)]
    low: list[np.ndarray] = []
    high: dict[str, list[np.ndarray]] = {"lh": [], "hl": [], "hh": []}
    for y, x in squares:
        a, b, c, d = image[y, x], image[y, x + 1], image[y + 1, x], image[y + 1, x + 1]
        low.append((a + b + c + d) / 2)
        high["lh"].append((a - b + c - d) / 2)
        high["hl"].append((a + b - c - d) / 2)
        high["hh"].append((a - b - c + d) / 2)
    ll, rest = np.array(low), np.concatenate([np.array(high[band]) for band in ("lh", "hl", "hh")])
    t_low = (made.low_a[block] @ made.low_b[block]).detach().numpy()
    t_high = (made.high_a[block] @ made.high_b[block]).detach().numpy()
    assert len(t_high) == 3 * len(t_low)
    s = softmax(ll @ t_low.T / math.sqrt(DIM))
    ll = ll + affine(made.low, s[:, 1:] @ affine(made.low_tokens, t_low)[1:] + ll)
    s = softmax(rest @ t_high.T / math.sqrt(DIM))
    s = (s - s.mean(0)) / np.sqrt(s.var(0) + 1e-5)
    rest = rest + affine(made.high, s[:, 1:] @ affine(made.high_tokens, t_high)[1:] + rest)
    lh, hl, hh = np.split(rest, 3)
    result = np.empty_like(image)
    for index, (y, x) in enumerate(squares):
        p, q, r, t = ll[index], lh[index], hl[index], hh[index]
        result[y, x], result[y, x + 1] = (p + q + r + t) / 2, (p - q + r - t) / 2
        result[y + 1, x], result[y + 1, x + 1] = (p + q - r - t) / 2, (p - q - r + t) / 2
    return result[:height, :width]


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 1)])
def test_the_refinement_equals_its_formula_in_plain_loops(made: Frequencies, size: tuple[int, int]) -> None:
    grid = random(3, *size, DIM)
    for block in range(2):
        expected = np.stack([refined(made, image.numpy(), block) for image in grid])
        assert np.allclose(made(grid, block).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_as_the_pre_trained_model(kind: str) -> None:
    backbone = tiny_backbone(kind)
    start = outputs(backbone.eval())
    attach(backbone)
    assert all(torch.equal(one, other) for one, other in zip(outputs(backbone), start, strict=True))


@pytest.mark.parametrize("size", [(32, 32), (37, 51)])
@pytest.mark.parametrize("kind", ["plain", "dinov3", "sam"])
def test_patch_maps_are_refined_in_every_block_and_prefix_tokens_are_not(kind: str, size: tuple[int, int]) -> None:
    backbone = tiny_backbone(kind)
    method = attach(backbone, tokens=7, rank=4)
    frequencies: Any = backbone.get_submodule("fada")
    for layer in (frequencies.low, frequencies.high):
        nn.init.normal_(layer.weight, std=0.05, generator=torch_rng(1, "test"))
    found = outputs(backbone, *size)
    for hook in method._hooks:
        hook.remove()
    prefix, rows, columns = backbone.prefix_tokens, -(-size[0] // 8), -(-size[1] // 8)
    expected: list[Tensor] = []

    def follow(block: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        grid = output if kind == "sam" else output[:, prefix:].reshape(2, rows, columns, -1)
        grid = frequencies(grid, len(expected))
        expected.append(grid.permute(0, 3, 1, 2))
        return grid if kind == "sam" else torch.cat([output[:, :prefix], grid.reshape(2, rows * columns, -1)], 1)

    for block in backbone.blocks:
        block.register_forward_hook(follow)
    start = outputs(tiny_backbone(kind).eval(), *size)
    outputs(backbone, *size)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, expected, strict=True))
    assert not torch.allclose(found[0], start[0], atol=1e-2)


def test_tokens_are_exempt_from_weight_decay() -> None:
    backbone = tiny_backbone("plain")
    method = attach(backbone)
    decayed, exempt = method.parameter_groups()
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.05, 0.0)
    assert sum(p.numel() for p in exempt["params"]) == 3 * 16 * (4 * 100 + 2 * 48)
    assert sum(p.numel() for p in decayed["params"]) == 4 * (48 * 48 + 48)


def test_initial_tokens_are_uniform_in_their_range() -> None:
    made = Frequencies(24, 100, 16, 1024, patch=16, rng=torch_rng(0, "method"))
    bound = math.sqrt(6 / (3 * 16 * 16 + math.sqrt(16 * 1024)))
    for tensor in (made.low_a, made.low_b, made.high_a, made.high_b):
        assert 0.999 * bound < tensor.abs().max() <= bound
    assert not made.low.weight.any()
    assert not made.high.weight.any()
