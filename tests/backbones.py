"""Small random vision transformers, one for each architecture among the benchmark's foundation models."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_sam import VisionTransformerSAM

from benchmark.models.backbone import Backbone
from benchmark.models.catalogue import BackboneSpec

COMMON: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "num_heads": 3}
ROTARY: dict[str, Any] = {"dynamic_img_size": True, "use_rot_pos_emb": True, "mlp_ratio": 8 / 3}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    # vit-tiny-streets: patch tokens only
    "plain": (VisionTransformer, {"class_token": False, "global_pool": "", "dynamic_img_size": True}),
    # DINOv2: class token, LayerScale
    "dinov2": (VisionTransformer, {"init_values": 0.5, "dynamic_img_size": True}),
    # EVA02-B and -L: rotary, separate q, k, v without key bias, SwiGLU with a norm
    "eva02": (Eva, {**ROTARY, "qkv_fused": False, "swiglu_mlp": True, "scale_mlp": True}),
    # EVA02-S: rotary, fused qkv with separate biases
    "eva02-fused": (Eva, {**ROTARY, "swiglu_mlp": True}),
    # DINOv3: rotary, register tokens, fused qkv without biases
    "dinov3": (
        Eva,
        {**ROTARY, "rope_type": "dinov3", "rope_rotate_half": True, "qkv_bias": False}
        | {"num_reg_tokens": 4, "init_values": 0.5, "use_abs_pos_emb": False},
    ),
    # SAM: tokens as a 2-D map, windows, relative positions
    "sam": (
        VisionTransformerSAM,
        {"window_size": 2, "global_attn_indexes": (2,), "use_rel_pos": True, "neck_chans": 0},
    ),
}


def tiny_backbone(kind: str, depth: int = 3, **options: Any) -> Backbone:
    """Return a backbone with 8-pixel patches, 48 dimensions and features from every block; the same one each time.

    All weights are random, including LayerScale, biases and norms, so that each of them has an effect.
    """
    model, more = KINDS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vit = model(**{**COMMON, "num_classes": 0, "depth": depth, **more, **options})
        for parameter in vit.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    return Backbone(vit, BackboneSpec(f"tiny-{kind}", timm="", out_indices=tuple(range(depth)), weights="none"))
