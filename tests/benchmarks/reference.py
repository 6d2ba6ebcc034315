"""Plain reference implementations of the papers' formulas: a loop over timm's blocks with standard torch modules.

They have no hooks, phases or records, and no optimisations beyond the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.models.backbone import Backbone
from benchmark.models.decoder import IGNORE, Decoder

Layer = Callable[[int, Any, Tensor], Tensor]
"""Maps (index, block, tokens) to tokens."""
Named = Mapping[str, Tensor]


def plain(index: int, block: Any, x: Tensor) -> Tensor:
    return block(x)


def rein(own: Named, prefix: int) -> Layer:
    def layer(index: int, block: Any, x: Tensor) -> Tensor:
        x = block(x)
        first, f = x[:, :prefix], x[:, prefix:]
        tokens = own["a"][index] @ own["b"][index]
        similarity = torch.softmax(f @ tokens.T / math.sqrt(f.shape[-1]), -1)[..., 1:]
        values = F.linear(tokens[1:], own["token_to_feature.weight"], own["token_to_feature.bias"])
        delta = F.linear(similarity @ values + f, own["feature.weight"], own["feature.bias"])
        return torch.cat([first, f + own["scale"] * delta], 1)

    return layer


def vpt(own: Named, prefix: int) -> Layer:
    def layer(index: int, block: Any, x: Tensor) -> Tensor:
        prompts = own["tokens"][index].expand(len(x), -1, -1)
        x = block(torch.cat([x[:, :prefix], prompts, x[:, prefix:]], 1))
        return torch.cat([x[:, :prefix], x[:, prefix + prompts.shape[1] :]], 1)

    return layer


def adaptformer(own: Named, scale: float, dropout: float) -> Layer:
    def layer(index: int, block: Any, x: Tensor) -> Tensor:
        x = x + block.ls1(block.attn(block.norm1(x)))
        down, up = ([own[f"{index}.{name}.{kind}"] for kind in ("weight", "bias")] for name in ("down", "up"))
        adapted = F.linear(F.dropout(F.relu(F.linear(x, *down)), dropout), *up)
        return x + block.ls2(block.mlp(block.norm2(x))) + scale * adapted

    return layer


def lora(own: Named, scale: float) -> Layer:
    def layer(index: int, block: Any, x: Tensor) -> Tensor:
        attention, h = block.attn, block.norm1(x)
        a, b = (own[f"{index}.{name}"] for name in ("a", "b"))
        qkv = attention.qkv(h) + scale * F.linear(F.linear(h, a), b)
        q, k, v = qkv.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + block.ls1(attention.proj(heads))
        return x + block.ls2(block.mlp(block.norm2(x)))

    return layer


def features(backbone: Backbone, images: Tensor, layer: Layer) -> list[Tensor]:
    """Return the output of :class:`Backbone` for images whose sides are multiples of the patch size."""
    vit, found = backbone.vit, []
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (backbone.mean, backbone.std))
    x = vit.norm_pre(vit._pos_embed(vit.patch_embed((images - mean) / std)))
    size = [side // backbone.patch_size for side in images.shape[-2:]]
    for index, block in enumerate(vit.blocks):
        x = layer(index, block, x)
        if index in backbone.out_indices:
            found.append(x[:, backbone.prefix_tokens :].transpose(1, 2).unflatten(2, size))
    return found


class Training:
    """The standard step: forward, cross-entropy, backward, torch's AdamW for backbone and decoder.

    Args:
        backbone: pre-trained; only its trainable parameters require gradients.
        decoder: fully trainable.
        layer: a block with the method applied.
        groups: optimizer groups without the decoder.
        decoder_group: ``lr`` and ``weight_decay`` of the decoder.
    """

    def __init__(
        self, backbone: Backbone, decoder: Decoder, layer: Layer, groups: list[Any], decoder_group: dict[str, float]
    ) -> None:
        self.backbone, self.decoder, self.layer = backbone, decoder, layer
        groups = [*groups, {"params": list(decoder.parameters()), **decoder_group}]
        self.rates = [group["lr"] for group in groups]
        self.optimizer = torch.optim.AdamW(groups)

    def step(self, images: Tensor, labels: Tensor, factor: float = 1.0) -> float:
        """Do an update with learning rates multiplied by ``factor``; return the loss before it."""
        logits = self.decoder(features(self.backbone, images, self.layer))
        logits = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
        loss = F.cross_entropy(logits, labels, ignore_index=IGNORE)
        loss.backward()
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = factor * rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


def squares_one_by_one(losses: Callable[[Tensor], Tensor], weights: Named, images: Tensor) -> dict[str, Tensor]:
    """Return squared gradients summed over images, with one forward and backward pass per image."""
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for image in images:
        gradients = torch.autograd.grad(losses(image[None]).sum(), list(weights.values()))
        for square, gradient in zip(total.values(), gradients, strict=True):
            square.addcmul_(gradient, gradient)
    return total


def squares_by_vmap(
    losses: Callable[[Tensor], Tensor], module: nn.Module, weights: Named, images: Tensor
) -> dict[str, Tensor]:
    """Return squared gradients summed over images, with per-image gradients from torch.func.vmap."""

    def loss(values: dict[str, Tensor], image: Tensor) -> Tensor:
        with swapped(module, values):
            return losses(image[None]).sum()

    every = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(dict(weights), images)
    return {name: gradient.square().sum(0) for name, gradient in every.items()}


@contextmanager
def swapped(module: nn.Module, values: Named) -> Iterator[None]:
    """Replace some of the module's weights by other values within the context."""
    from torch.nn.utils.stateless import _reparametrize_module

    with _reparametrize_module(module, dict(values)):
        yield


def slide(predict: Callable[[Tensor], Tensor], images: Tensor, crop: int, stride: int) -> Tensor:
    """Return the mean of ``predict`` over windows, one window at a time, as mmsegmentation does."""
    height, width = images.shape[-2:]
    rows, columns = (max(length - crop + stride - 1, 0) // stride + 1 for length in (height, width))
    total, count = torch.zeros(()), images.new_zeros(len(images), 1, height, width)
    for row in range(rows):
        for column in range(columns):
            bottom, right = min(row * stride + crop, height), min(column * stride + crop, width)
            top, left = max(bottom - crop, 0), max(right - crop, 0)
            scores = predict(images[..., top:bottom, left:right])
            total = total + F.pad(scores, (left, width - right, top, height - bottom))
            count[..., top:bottom, left:right] += 1
    return total / count
