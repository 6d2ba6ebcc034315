"""AdaptFormer against a reference implementation of its blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.models.vision_transformer import ParallelScalingBlock, ResPostBlock
from torch import Tensor, nn

from baselines.adaptformer import AdaptFormer
from benchmark.common.errors import UserError
from benchmark.common.rng import torch_rng
from benchmark.models.backbone import Backbone, build_backbone
from tests.backbones import KINDS, tiny_backbone
from tests.baselines.reference import after_attention, as_map, attached, embed, feed_forward, images


def disturb(backbone: Backbone) -> None:
    """Set all weights and biases of the adapters to non-zero values."""
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in backbone.get_submodule("adaptformer").parameters():
            parameter.add_(torch.randn(parameter.shape, generator=rng))


def adapter_output(adapter: Any, x: Tensor, scale: float) -> Tensor:
    """Compute the adapter token by token and unit by unit."""
    tokens = x.reshape(-1, x.shape[-1])
    result = torch.zeros_like(tokens)
    for token, place in zip(tokens, result, strict=True):
        place += adapter.up.bias
        for weights, bias, column in zip(adapter.down.weight, adapter.down.bias, adapter.up.weight.T, strict=True):
            place += max(0.0, float(weights @ token + bias)) * column
    return scale * result.view(x.shape)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_it_equals_its_formula_in_every_block(kind: str, batch: int) -> None:
    options = {"window_size": 3} if kind == "sam" else {}  # 4 x 4 tokens, so that SAM's windows are padded
    settings = AdaptFormer.Settings(bottleneck=5, scale=0.7)
    backbone = attached(AdaptFormer(settings), kind, drop_path_rate=0.5, **options)
    disturb(backbone)
    found = backbone(images(batch))
    x, rope = embed(backbone, images(batch))
    expected, without = [], []
    for block, adapter in zip(backbone.blocks, backbone.get_submodule("adaptformer").children(), strict=True):
        x = after_attention(block, x, rope)
        without.append(as_map(backbone, x + feed_forward(block, x)))
        x = x + feed_forward(block, x) + adapter_output(adapter, x, 0.7)
        expected.append(as_map(backbone, x))
    for left, right, bare in zip(found, expected, without, strict=True):
        assert torch.allclose(left, right, rtol=1e-9, atol=1e-9)
        assert not torch.allclose(left, bare, rtol=1e-1, atol=1e-1)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_it_starts_as_the_pretrained_model(kind: str) -> None:
    backbone = tiny_backbone(kind).eval()
    batch = images().float()
    start = backbone(batch)
    made = AdaptFormer()
    made.attach(backbone, torch_rng(0, "method"))
    made.train_mode()
    assert all(torch.equal(left, right) for left, right in zip(backbone(batch), start, strict=True))


@torch.no_grad()
def test_dropout_is_between_the_layers_and_only_in_training() -> None:
    made = AdaptFormer(AdaptFormer.Settings(dropout=0.5))
    backbone = attached(made, "dinov2")
    disturb(backbone)
    adapter = backbone.get_submodule("adaptformer.0")
    x = torch.randn(1, 48, dtype=torch.float64)
    made.train_mode()
    total = sum(adapter(x.expand(20_000, -1)).split(1000)).sum(0) / 20_000
    assert not torch.equal(adapter(x), adapter(x))
    backbone.eval()
    assert torch.allclose(adapter(x)[0], total, atol=0.1 * float(adapter(x).abs().mean()))
    assert torch.equal(backbone(images())[-1], backbone(images())[-1])


def test_initial_weights() -> None:
    adapters: Any = attached(AdaptFormer(), "plain").get_submodule("adaptformer")
    for adapter in adapters:
        assert 0.999 * 48**-0.5 < adapter.down.weight.abs().max() <= 48**-0.5
        assert not any(p.any() for p in (adapter.down.bias, adapter.up.weight, adapter.up.bias))
    assert not torch.equal(adapters[0].down.weight, adapters[1].down.weight)


def test_parameters_of_sam_h_are_the_published_number() -> None:
    with torch.device("meta"):
        backbone = build_backbone("sam-h", pretrained=False)
    made = AdaptFormer()
    made.attach(backbone, torch_rng(0, "method"))
    assert made.trainable() == 5_285_888


@pytest.mark.parametrize("block", [ParallelScalingBlock, ResPostBlock])
def test_blocks_that_are_not_pre_norm_are_refused(block: type[nn.Module]) -> None:
    with pytest.raises(UserError, match=r"adaptformer .*'tiny-plain'.*block 0 has no norm2"):
        AdaptFormer().attach(tiny_backbone("plain", block_fn=block), torch_rng(0, "method"))
