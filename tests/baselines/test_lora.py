"""LoRA against merged weights, and detaching removes all of peft."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.lora import LoRA
from tests.backbones import tiny_backbone
from tests.baselines.numerics import attach, close, outputs


@pytest.mark.parametrize("kind", ["plain", "dinov2", "eva02", "eva02-fused", "dinov3", "sam"])
def test_lora_equals_merged_weights(kind: str) -> None:
    tuned, merged = tiny_backbone(kind), tiny_backbone(kind)
    start = outputs(merged.eval())
    made = attach(LoRA(LoRA.Settings(rank=4, alpha=6.0)), tuned)
    assert close(outputs(tuned), start, 1e-6), "B = 0: the function at the start is the pre-trained one"
    for name, layer in made._layers.items():
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        assert 0.9 * 48**-0.5 < a.abs().max() <= 48**-0.5
        with torch.no_grad():
            b.copy_(torch.randn(b.shape, generator=torch.Generator().manual_seed(len(name))))
            merged.get_submodule(name).get_parameter("weight").add_(6.0 / 4 * b @ a)
    found = outputs(tuned)
    assert close(found, outputs(merged), 1e-4)
    assert not close(found, start, 1e-2)


def test_detaching_lora_removes_all_of_peft() -> None:
    backbone = tiny_backbone("eva02-fused")
    made = attach(LoRA(), backbone)
    made.detach()
    assert not any(block.get_submodule("attn").qkv_bias_separate for block in backbone.blocks)
    assert not hasattr(backbone, "peft_config")
    attach(made, backbone)
    assert made.trainable() == 3 * 8 * 4 * 48


def test_lora_has_dropout_only_in_training_and_no_drop_path() -> None:
    backbone = tiny_backbone("dinov2", drop_path_rate=0.5, proj_drop_rate=0.5)
    made = attach(LoRA(LoRA.Settings(dropout=0.5)), backbone)
    made.train_mode()
    assert torch.equal(outputs(backbone)[-1], outputs(backbone)[-1]), "B = 0 hides dropout; drop path would show"
    for layer in made._layers.values():
        nn.init.constant_(layer.lora_B["default"].weight, 0.1)
    assert not torch.equal(outputs(backbone)[-1], outputs(backbone)[-1])
    backbone.eval()
    assert torch.equal(outputs(backbone)[-1], outputs(backbone)[-1])
