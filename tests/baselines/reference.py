"""Reference transformer blocks: computed from their weights, image by image and head by head, without timm's forward.

What methods do to timm's blocks by hooks is held against this, in float64.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.common.rng import torch_rng
from benchmark.method import Method
from benchmark.models.backbone import Backbone
from tests.backbones import tiny_backbone


def attached(made: Method, kind: str, **options: Any) -> Backbone:
    """Return a tiny backbone in float64 and eval mode, with the method attached."""
    backbone = tiny_backbone(kind, **options).double().eval()
    made.attach(backbone, torch_rng(0, "method"))
    return backbone.double()


def images(batch: int = 2, size: int = 32) -> Tensor:
    """Return noise (B, 3, size, size) in float64."""
    return torch.randn(batch, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def embed(backbone: Backbone, batch: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the input of the first block, tokens (B, N, D) or SAM's map (B, h, w, D), and the rotary embedding."""
    vit = backbone.vit
    tokens = vit.patch_embed(batch)
    if hasattr(backbone.blocks[0], "window_size"):
        return tokens + vit.pos_embed, None
    embedded = vit._pos_embed(tokens)
    return embedded if isinstance(embedded, tuple) else (embedded, None)


def rotated(x: Tensor, rope: Tensor, half: bool) -> Tensor:
    """Rotate pairs of channels by the given angles: (x, y) to (x cos - y sin, y cos + x sin)."""
    sine, cosine = rope.chunk(2, -1)
    if half:
        first, second = x.chunk(2, -1)
        turned = torch.cat([-second, first], -1)
    else:
        turned = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
    return x * cosine + turned * sine


def projections(attn: Any) -> list[tuple[Tensor, Tensor | float]]:
    """Return weight and bias of query, key and value."""
    if attn.qkv is None:
        return [(layer.weight, 0.0 if layer.bias is None else layer.bias) for layer in _separate(attn)]
    biases = attn.qkv.bias
    if getattr(attn, "q_bias", None) is not None:
        biases = torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])
    weights = attn.qkv.weight.chunk(3)
    return list(zip(weights, [0.0] * 3 if biases is None else biases.chunk(3), strict=True))


def _separate(attn: Any) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    return attn.q_proj, attn.k_proj, attn.v_proj


def attend(attn: Any, queries: Tensor, tokens: Tensor, rope: Tensor | None, queries_have_place: bool) -> Tensor:
    """Return (B, T, D): normed ``queries`` attending to normed ``tokens`` over the whole image.

    With a rotary embedding, tokens after the prefix are rotated as keys, and as queries if they have a position.
    """
    (wq, bq), (wk, bk), (wv, bv) = projections(attn)
    width = wq.shape[0] // attn.num_heads
    prefix = getattr(attn, "num_prefix_tokens", 0)
    results = []
    for asking, answering in zip(queries, tokens, strict=True):
        heads = []
        for head in range(attn.num_heads):
            part = slice(head * width, (head + 1) * width)
            q, k, v = (asking @ wq.T + bq)[:, part], (answering @ wk.T + bk)[:, part], (answering @ wv.T + bv)[:, part]
            q, k = attn.q_norm(q), attn.k_norm(k)
            if rope is not None:
                k = torch.cat([k[:prefix], rotated(k[prefix:], rope, attn.rotate_half)])
                if queries_have_place:
                    q = torch.cat([q[:prefix], rotated(q[prefix:], rope, attn.rotate_half)])
            powers = (q @ k.T / math.sqrt(width)).exp()
            heads.append(powers / powers.sum(1, keepdim=True) @ v)
        results.append(attn.proj(getattr(attn, "norm", nn.Identity())(torch.cat(heads, 1))))
    return torch.stack(results)


def attend_in_windows(block: Any, x: Tensor, further: Tensor | None = None) -> Tensor:
    """Return SAM's attention of a normed map (B, h, w, D): zero-padded windows, relative positions in each.

    Normed ``further`` tokens (P, D) without a position are added to each window; their outputs are dropped.
    """
    height, width = x.shape[1:3]
    side = block.window_size or height
    padded = nn.functional.pad(x, (0, 0, 0, -width % side, 0, -height % side))
    result = torch.zeros_like(padded)
    for image in range(len(x)):
        for top in range(0, padded.shape[1], side):
            for left in range(0, padded.shape[2], side):
                window = padded[image, top : top + side, left : left + side]
                result[image, top : top + side, left : left + side] = _in_window(block.attn, window, further)
    return result[:, :height, :width]


def _in_window(attn: Any, window: Tensor, further: Tensor | None) -> Tensor:
    side, extra = len(window), 0 if further is None else len(further)
    places = [(row, column) for row in range(side) for column in range(side)]
    tokens = torch.stack([*(() if further is None else further), *(window[place] for place in places)])
    (wq, bq), (wk, bk), (wv, bv) = projections(attn)
    wide = len(wq) // attn.num_heads
    heads = []
    for head in range(attn.num_heads):
        part = slice(head * wide, (head + 1) * wide)
        q, k, v = (tokens @ wq.T + bq)[:, part], (tokens @ wk.T + bk)[:, part], (tokens @ wv.T + bv)[:, part]
        q, k = attn.q_norm(q), attn.k_norm(k)
        scores = q @ k.T / math.sqrt(wide)
        for i, (row, column) in enumerate(places):
            for j, (other_row, other_column) in enumerate(places):
                asking = q[extra + i]
                scores[extra + i, extra + j] += asking @ attn.rel_pos_h[row - other_row + side - 1]
                scores[extra + i, extra + j] += asking @ attn.rel_pos_w[column - other_column + side - 1]
        powers = scores.exp()
        heads.append(powers / powers.sum(1, keepdim=True) @ v)
    return attn.proj(torch.cat(heads, 1))[extra:].view(window.shape)


def layer_scale(block: Any, branch: int) -> Tensor | float:
    """Return the LayerScale factors (D,) of a branch: 1 is attention, 2 is feed-forward."""
    module = getattr(block, f"ls{branch}", None)
    gamma = getattr(block, f"gamma_{branch}", None) if module is None else getattr(module, "gamma", None)
    return 1.0 if gamma is None else gamma


def after_attention(block: Any, x: Tensor, rope: Tensor | None) -> Tensor:
    """Return the tokens of a block between attention and feed-forward layers."""
    normed = block.norm1(x)
    windowed = hasattr(block, "window_size")
    attention = attend_in_windows(block, normed) if windowed else attend(block.attn, normed, normed, rope, True)
    return x + layer_scale(block, 1) * attention


def feed_forward(block: Any, x: Tensor) -> Tensor:
    """Return the output of the feed-forward branch of a block."""
    return layer_scale(block, 2) * block.mlp(block.norm2(x))


def as_map(backbone: Backbone, x: Tensor) -> Tensor:
    """Return the output of a block as the decoder gets it, (B, D, h, w), for a square image."""
    if x.ndim == 3:
        x = x[:, backbone.prefix_tokens :]
        x = x.unflatten(1, (math.isqrt(x.shape[1]), -1))
    return x.permute(0, 3, 1, 2)
