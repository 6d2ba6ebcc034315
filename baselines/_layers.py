"""Helpers for single layers: reproducible initialisation, and projections that are called as modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init


def drawn_linear(inputs: int, outputs: int, rng: torch.Generator) -> nn.Linear:
    """Return a linear layer with torch's initialisation (weight and bias uniform in ±1/√in), drawn from ``rng``."""
    layer = skip_init(nn.Linear, inputs, outputs)
    bound = inputs**-0.5
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=rng)
    return layer


def call_projection(block: Any) -> bool:
    """Make an attention layer call its ``qkv`` module; return whether this changed anything.

    timm's EVA reads ``qkv.weight`` directly if the biases of the fused projection are separate parameters (EVA02-S);
    hooks on the projection and replacements of it would then have no effect. This attribute of timm's turns that off.
    """
    attention = block.attn
    reads_weight = getattr(attention, "q_bias", None) is not None and not attention.qkv_bias_separate
    if reads_weight:
        attention.qkv_bias_separate = True
    return reads_weight


def add_change(state: dict[str, Tensor], layer: str, change: Tensor) -> None:
    """Add a float64 matrix (out, in) to the weight of a layer of the backbone, in a state dict under timm's names."""
    name = f"{layer.removeprefix('vit.')}.weight"
    state[name] = (state[name].double() + change.to(state[name].device)).to(state[name].dtype)
