"""Weight initialisation of Mask2Former as in mmdetection, which the literature uses.

The transformers library initialises these weights only in its complete models and leaves one parameter uninitialised.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn


def draw_initial(pixels: Any, transformer: Any) -> None:
    """Initialise the parameters that mmdetection's head initialises; the others keep torch's default.

    Args:
        pixels: a Mask2FormerPixelDecoder.
        transformer: a Mask2FormerTransformerModule without level projections (equal widths).
    """
    encoder, decoder = pixels.encoder.layers, transformer.decoder.layers
    for projection in pixels.input_projections:
        nn.init.xavier_uniform_(projection[0].weight)
        nn.init.zeros_(projection[0].bias)
    for convolution in (pixels.adapter_1[0], pixels.layer_1[0], pixels.mask_projection):
        nn.init.kaiming_uniform_(convolution.weight, a=1)
    nn.init.zeros_(pixels.mask_projection.bias)
    nn.init.normal_(pixels.level_embed)
    for parameter in (*encoder.parameters(), *decoder.parameters()):
        if parameter.dim() > 1:
            nn.init.xavier_normal_(parameter)
    for layer in encoder:
        _draw_deformable(layer.self_attn)
    for layer in decoder:
        attention = layer.self_attn
        for part in (attention.q_proj, attention.k_proj, attention.v_proj):
            nn.init.xavier_normal_(part.weight, gain=math.sqrt(0.5))  # as for parts of one (3D, D) matrix
        for part in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
            nn.init.zeros_(part.bias)


def _draw_deformable(attention: Any) -> None:
    """Initialise each head's sampling offsets to its own direction, one to four positions away, with equal weights."""
    for layer in (attention.sampling_offsets, attention.attention_weights):
        nn.init.zeros_(layer.weight)
    nn.init.zeros_(attention.attention_weights.bias)
    for layer in (attention.value_proj, attention.output_proj):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    angles = torch.arange(attention.n_heads) * (2 * math.pi / attention.n_heads)
    directions = torch.stack([angles.cos(), angles.sin()], -1)
    directions = directions / directions.abs().amax(-1, keepdim=True)
    steps = torch.arange(1, attention.n_points + 1)
    offsets = directions[:, None, None, :] * steps[None, None, :, None]
    with torch.no_grad():
        attention.sampling_offsets.bias.copy_(offsets.expand(-1, attention.n_levels, -1, -1).flatten())
