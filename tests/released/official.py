"""Small checkpoints in the layout of the official repositories: names and shapes of their tensors, written out here.

The values follow from the names, so that the official modules could be given the same ones: the expected outputs in
:mod:`tests.released.test_reading` are theirs.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

DIM, DEPTH, PATCH, GRID, QUERIES, CLASSES, RANK = 48, 4, 8, 4, 5, 3, 3
Shapes = dict[str, tuple[int, ...]]


def drawn(shapes: Shapes) -> dict[str, Tensor]:
    """Return a float64 tensor for each name; norms and LayerScale are near one."""
    return {name: torch.from_numpy(np.asarray(_values(name, shape))) for name, shape in shapes.items()}


def _values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("gamma") or (len(shape) == 1 and name.endswith("weight")):
        return 1 + 0.1 * values
    if name.endswith("scale"):
        return 0.3 + 0 * values
    for part, size in (("sampling_offsets.bias", 2.0), ("learnable_tokens", 0.7), ("lora_", 0.3)):
        if part in name:
            return size * values
    return 0.05 * values


def rein(whole: bool = False) -> dict[str, Tensor]:
    """Rein's checkpoint, as released: adapter and head alone; or the whole model."""
    adapter: Shapes = {
        "scale": (), "learnable_tokens_a": (DEPTH, QUERIES, RANK), "learnable_tokens_b": (DEPTH, RANK, DIM),
        **linear("mlp_token2feat", DIM, DIM), **linear("mlp_delta_f", DIM, DIM), **linear("transform", DIM, 256),
        **linear("merge", 768, 256),
    }  # fmt: skip
    shapes = {f"backbone.{name}": shape for name, shape in backbone().items()} if whole else {}
    shapes |= {f"backbone.reins.{name}": shape for name, shape in adapter.items()}
    return drawn(shapes | head() | {f"decode_head.{n}": s for n, s in linear("querys2feat", 256, 256).items()})


def soma(whole: bool = True) -> dict[str, Tensor]:
    """SoMA's and GeCo's checkpoint: the whole model; or what is released: pairs, all biases, mask token and head."""
    shapes: Shapes = {}
    for name, shape in backbone().items():
        if ".qkv." in name:
            rows = (shape[0] // 3, *shape[1:])
            shapes |= {f"backbone.model.{name.replace('qkv', part)}": rows for part in "qkv"}
        else:
            shapes[f"backbone.model.{name}"] = shape
    for name, shape in list(shapes.items()):
        layer = name.removesuffix(".weight")
        if (
            layer != name
            and layer.endswith((".q", ".k", ".v", "attn.proj", ".fc1", ".fc2"))
            and ".blocks.0." not in name
        ):
            shapes |= {f"{layer}.lora_A.weight": (RANK, shape[1]), f"{layer}.lora_B.weight": (shape[0], RANK)}
    if not whole:
        shapes = {n: s for n, s in shapes.items() if n.endswith(("bias", "mask_token")) or "lora_" in n}
    return drawn(shapes | head() | queries())


def plain(whole: bool = True) -> dict[str, Tensor]:
    """The checkpoint of a backbone without adapter: the whole model; or the head alone."""
    shapes = {f"backbone.{name}": shape for name, shape in backbone().items()} if whole else {}
    return drawn(shapes | head() | queries())


def linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, width: int = 256) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def queries() -> Shapes:
    return {f"decode_head.{name}.weight": (QUERIES, 256) for name in ("query_embed", "query_feat")}


def backbone() -> Shapes:
    """DINOv2's tensors."""
    shapes: Shapes = {
        "cls_token": (1, 1, DIM), "pos_embed": (1, 1 + GRID**2, DIM), "mask_token": (1, DIM),
        "patch_embed.proj.weight": (DIM, 3, PATCH, PATCH), "patch_embed.proj.bias": (DIM,),
    }  # fmt: skip
    for block in (f"blocks.{index}" for index in range(DEPTH)):
        shapes |= norm(f"{block}.norm1", DIM) | linear(f"{block}.attn.qkv", DIM, 3 * DIM)
        shapes |= linear(f"{block}.attn.proj", DIM, DIM) | {f"{block}.ls1.gamma": (DIM,)} | norm(f"{block}.norm2", DIM)
        shapes |= linear(f"{block}.mlp.fc1", DIM, 4 * DIM) | linear(f"{block}.mlp.fc2", 4 * DIM, DIM)
        shapes |= {f"{block}.ls2.gamma": (DIM,)}
    return shapes | norm("norm", DIM)


def head() -> Shapes:
    """Mask2Former's tensors without its queries, with one layer in the pixel decoder and two in the decoder."""
    return {f"decode_head.{name}": shape for name, shape in _head()}


def _head() -> Iterator[tuple[str, tuple[int, ...]]]:
    for level in range(3):
        yield f"pixel_decoder.input_convs.{level}.conv.weight", (256, DIM, 1, 1)
        yield f"pixel_decoder.input_convs.{level}.conv.bias", (256,)
        yield from norm(f"pixel_decoder.input_convs.{level}.gn").items()
    layer = "pixel_decoder.encoder.layers.0"
    for name, inputs, outputs in (
        ("self_attn.sampling_offsets", 256, 192), ("self_attn.attention_weights", 256, 96),
        ("self_attn.value_proj", 256, 256), ("self_attn.output_proj", 256, 256), ("ffn.layers.0.0", 256, 1024),
        ("ffn.layers.1", 1024, 256),
    ):  # fmt: skip
        yield from linear(f"{layer}.{name}", inputs, outputs).items()
    yield from (norm(f"{layer}.norms.0") | norm(f"{layer}.norms.1")).items()
    yield "pixel_decoder.level_encoding.weight", (3, 256)
    yield "pixel_decoder.lateral_convs.0.conv.weight", (256, DIM, 1, 1)
    yield from norm("pixel_decoder.lateral_convs.0.gn").items()
    yield "pixel_decoder.output_convs.0.conv.weight", (256, 256, 3, 3)
    yield from norm("pixel_decoder.output_convs.0.gn").items()
    yield "pixel_decoder.mask_feature.weight", (256, 256, 1, 1)
    yield "pixel_decoder.mask_feature.bias", (256,)
    for layer in ("transformer_decoder.layers.0", "transformer_decoder.layers.1"):
        for kind in ("self_attn", "cross_attn"):
            yield f"{layer}.{kind}.attn.in_proj_weight", (768, 256)
            yield f"{layer}.{kind}.attn.in_proj_bias", (768,)
            yield from linear(f"{layer}.{kind}.attn.out_proj", 256, 256).items()
        yield from linear(f"{layer}.ffn.layers.0.0", 256, 2048).items()
        yield from linear(f"{layer}.ffn.layers.1", 2048, 256).items()
        for index in range(3):
            yield from norm(f"{layer}.norms.{index}").items()
    yield from norm("transformer_decoder.post_norm").items()
    yield "level_embed.weight", (3, 256)
    yield from linear("cls_embed", 256, CLASSES + 1).items()
    for index in (0, 2, 4):
        yield from linear(f"mask_embed.{index}", 256, 256).items()


def image() -> Tensor:
    """An image of 32 x 32, (1, 3, 32, 32) float64 in 0..255."""
    return torch.from_numpy(np.random.RandomState(7).uniform(0, 255, (1, 3, GRID * PATCH, GRID * PATCH)))
