"""Names of the tensors of DINOv2: those of Hugging Face's transformers, and prefixes of training programs.

Meta's names, which :func:`upstream` returns, are timm's but for the mask token and registers; timm converts these.
:func:`hugging_face` is the inverse, for files that transformers reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from benchmark.common.errors import UserError

OWN, HUGGING_FACE = "patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight"
PREFIX = re.compile(rf"((?:(?:module|teacher|backbone|dinov2)\.)*)(?:{re.escape(OWN)}|{re.escape(HUGGING_FACE)})")
CHUNK = re.compile(r"blocks\.\d+\.(\d+\.)")
"""DINOv2's training program groups blocks in chunks, in which they keep their number."""
BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(\w+)")
LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)\.(\w+)")
EMBEDDINGS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.mask_token": "mask_token",
    "embeddings.register_tokens": "register_tokens",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
MODULES = {
    "norm1": "norm1", "norm2": "norm2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2", "layer_scale1": "ls1",
    "layer_scale2": "ls2", "attention.output.dense": "attn.proj", "attention.o_proj": "attn.proj",
}  # fmt: skip
"""Modules of a block under both sets of names that transformers has used: of published files, and since version 5."""
FUSED = (
    ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
    ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
)


def upstream(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a DINOv2's tensors under Meta's names; tensors that are named otherwise are returned as they are.

    Accepted are the names of transformers' ``Dinov2Model``, and prefixes that wrapping modules add; where student and
    teacher are in one file, the teacher's tensors are returned. Nothing is checked.
    """
    matches = filter(None, map(PREFIX.fullmatch, tensors))
    prefix = max((match[1] for match in matches), key=lambda each: ("teacher" in each, each), default=None)
    if prefix is None:
        return dict(tensors)
    found = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    if HUGGING_FACE not in found:
        return {CHUNK.sub(r"blocks.\1", name): value for name, value in found.items()}
    return _renamed(found)


def hugging_face(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a DINOv2's tensors, given under timm's names, under those of transformers' published files.

    A mask token of zeros is added: ``Dinov2Model`` has one, which it only uses for masked images, and timm's has none.

    Raises:
        UserError: a tensor that ``Dinov2Model`` does not have, as in any other architecture.
    """
    whole = {own: name for name, own in EMBEDDINGS.items()}
    modules = {own: name for name, own in reversed(MODULES.items())}  # the first of two names is that of the files
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        block, module, kind = _placed(name)
        if name in whole:
            found[whole[name]] = value
        elif module == "attn.qkv":
            parts = zip(FUSED[0], value.chunk(3), strict=True)
            found |= {f"encoder.layer.{block}.{part}.{kind}": rows.clone() for part, rows in parts}
        elif module in modules:
            found[f"encoder.layer.{block}.{modules[module]}.{'lambda1' if kind == 'gamma' else kind}"] = value
        else:
            raise UserError(f"transformers' Dinov2Model has no counterpart of {name!r}; use timm's names")
    for name in ("cls_token", "blocks.0.ls1.gamma"):
        if name not in tensors:
            raise UserError(f"transformers' Dinov2Model needs {name!r}, which this backbone lacks; use timm's names")
    return {"embeddings.mask_token": torch.zeros_like(tensors["cls_token"][0]), **found}


def _placed(name: str) -> tuple[str, str, str]:
    """Return the number of the block, the module and the kind of a tensor; empty outside the blocks."""
    matched = BLOCK.fullmatch(name)
    return (matched[1], matched[2], matched[3]) if matched else ("", "", "")


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return transformers' tensors under Meta's names, with the projections of each attention as one tensor."""
    left = dict(tensors)
    result: dict[str, Tensor] = {}
    for name in tensors:
        matched = LAYER.fullmatch(name)
        if matched is None:
            if name in EMBEDDINGS:
                result[EMBEDDINGS[name]] = left.pop(name)
            continue
        block, module, kind = f"blocks.{matched[1]}", matched[2], matched[3]
        if module in MODULES:
            result[f"{block}.{MODULES[module]}.{'gamma' if kind == 'lambda1' else kind}"] = left.pop(name)
        for fused in FUSED:
            names = [f"encoder.layer.{matched[1]}.{each}.{kind}" for each in fused]
            if module == fused[0] and all(each in left for each in names):
                parts = [left[each] for each in names]
                if _alike(parts):  # if not, they keep their names, and the check of names reports them
                    result[f"{block}.attn.qkv.{kind}"] = torch.cat(parts)
                    for each in names:
                        del left[each]
    return result | left


def _alike(parts: list[Tensor]) -> bool:
    return parts[0].ndim > 0 and all((each.shape, each.dtype) == (parts[0].shape, parts[0].dtype) for each in parts)
