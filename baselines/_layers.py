"""What several methods need of single layers: drawn from a method's own stream, or called as modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils import skip_init


def drawn_linear(inputs: int, outputs: int, rng: torch.Generator) -> nn.Linear:
    """Return a linear layer as torch initialises it, weight and bias uniform in ±1/√in, drawn from ``rng``."""
    layer = skip_init(nn.Linear, inputs, outputs)
    bound = inputs**-0.5
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=rng)
    return layer


def call_projection(block: Any) -> bool:
    """Make an attention that reads ``qkv.weight`` itself call the module; return whether it did not before.

    timm's EVA reads it where a fused projection's biases stand apart (EVA02-S), and has this switch. Hooks on
    the projection, or a module in its place, are without effect otherwise.
    """
    attention = block.attn
    reads_weight = getattr(attention, "q_bias", None) is not None and not attention.qkv_bias_separate
    if reads_weight:
        attention.qkv_bias_separate = True
    return reads_weight
