"""Weights as people hold them: Meta's files, other state dicts of torch, files under transformers' names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model

from benchmark.common.errors import UserError
from benchmark.models import backbone as backbones
from benchmark.models import catalogue
from benchmark.models.backbone import Backbone, build_backbone
from benchmark.models.catalogue import BackboneSpec
from benchmark.models.naming import upstream
from benchmark.models.weights import read, renamed

DINOV2 = "vit_small_patch14_dinov2.lvd142m"
SMALL: dict[str, Any] = {"depth": 2, "embed_dim": 48, "num_heads": 3, "img_size": 56}
State = dict[str, Tensor]
Fused = tuple[str, str, str]
PUBLISHED: tuple[Fused, str] = (
    ("attention.attention.query", "attention.attention.key", "attention.attention.value"), "attention.output.dense",
)  # fmt: skip
RECENT: tuple[Fused, str] = ("attention.q_proj", "attention.k_proj", "attention.v_proj"), "attention.o_proj"


@cache
def random_state() -> State:
    """Return the state dict of a random DINOv2-S at its published size."""
    torch.manual_seed(0)
    return {
        name: torch.randn_like(value) for name, value in timm.create_model(DINOV2, num_classes=0).state_dict().items()
    }


def as_meta(state: State) -> State:
    return state | {"mask_token": torch.zeros(1, 384)}


def as_transformers(state: State, fused: Fused, output: str) -> State:
    """Return timm's tensors under transformers' names, written independently of the project's table."""
    named = {"embeddings.mask_token": torch.zeros(1, 384)}
    for name, value in state.items():
        first, *rest = name.split(".")
        if name in ("cls_token", "pos_embed"):
            named[{"cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings"}[name]] = value
        elif first == "patch_embed":
            named[f"embeddings.patch_embeddings.projection.{rest[-1]}"] = value
        elif first == "norm":
            named[f"layernorm.{rest[-1]}"] = value
        else:
            block = f"encoder.layer.{rest[0]}"
            inner = ".".join(rest[1:])
            if inner.startswith("attn.qkv"):
                named |= {f"{block}.{each}.{rest[-1]}": part for each, part in zip(fused, value.chunk(3), strict=True)}
            elif inner.startswith("ls"):
                named[f"{block}.layer_scale{inner[2]}.lambda1"] = value
            else:
                named[f"{block}.{inner.replace('attn.proj', output)}"] = value
    return named


NAMINGS: dict[str, Callable[[State], dict[str, Any]]] = {
    "timm": dict,
    "meta": as_meta,
    "transformers": lambda state: as_transformers(state, *PUBLISHED),
    "transformers-5": lambda state: as_transformers(state, *RECENT),
    "dinov2-module": lambda state: {f"dinov2.{name}": v for name, v in NAMINGS["transformers"](state).items()},
    "segmentor": lambda state: {"meta": {"epoch": 3}, "state_dict": {f"backbone.{n}": v for n, v in state.items()}
        | {"decode_head.conv_seg.bias": torch.zeros(19)}},
    "teacher": lambda state: {"teacher": {f"backbone.{n}": v for n, v in as_meta(state).items()}
        | {"dino_head.mlp.0.bias": torch.zeros(3)}},
    "both": lambda state: {"model": {f"module.student.backbone.{n}": -v for n, v in state.items()}
        | {f"module.teacher.backbone.{n}": v for n, v in state.items()}, "iteration": 7},
    "chunks": lambda state: {
        f"blocks.{int(n.split('.')[1]) // 3}.{n[7:]}" if n.startswith("blocks.") else n: v
        for n, v in as_meta(state).items()
    },
}  # fmt: skip


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_naming_gives_the_same_bits(tmp_path: Path, naming: str) -> None:
    """Through the command line's path, except for the resampling, which would hide bits."""
    path = tmp_path / "weights.pth"
    torch.save(NAMINGS[naming](random_state()), path)
    tensors, sha256 = read(path)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    found = renamed(upstream(tensors), backbones._native(catalogue.find_backbone("dinov2-s")), "here")
    assert found.keys() == random_state().keys()
    assert all(torch.equal(found[name], value) for name, value in random_state().items())


@pytest.mark.parametrize("naming", ["meta", "transformers", "transformers-5"])
@pytest.mark.parametrize("form", ["safetensors", "pth", "old-pth"])
def test_the_backbone_is_that_of_timms_file(tmp_path: Path, naming: str, form: str) -> None:
    state = NAMINGS[naming](random_state())
    save_file(random_state(), tmp_path / "timm.safetensors")
    path = tmp_path / "weights.any"
    if form == "safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "pth")
    expected = build_backbone("dinov2-s", weights=tmp_path / "timm.safetensors").vit.state_dict()
    found = build_backbone("dinov2-s", weights=path)
    assert all(torch.equal(found.vit.state_dict()[name], value) for name, value in expected.items())
    assert found.origin == f"weights.any (SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()})"


def test_transformers_own_model_computes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    theirs = Dinov2Model(
        Dinov2Config(hidden_size=48, num_hidden_layers=2, num_attention_heads=3, image_size=56, patch_size=14)
    ).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path = tmp_path / "weights.pt"
    torch.save(theirs.state_dict(), path)
    spec = BackboneSpec("small", DINOV2, (0, 1), options=SMALL)
    monkeypatch.setattr(catalogue, "own_backbones", lambda: {"small": spec})
    monkeypatch.setattr(backbones, "_native", lambda spec: backbones._vit(spec, SMALL))
    ours: Backbone = build_backbone("small", weights=path).eval()
    images = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        hidden = theirs(images, output_hidden_states=True).hidden_states
        for found, expected in zip(ours(images), hidden[1:], strict=True):
            torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected[:, 1:], atol=1e-5, rtol=1e-4)


def test_a_missing_projection_is_named(tmp_path: Path) -> None:
    state = NAMINGS["transformers"](random_state())
    del state["encoder.layer.3.attention.attention.key.bias"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth .*'blocks\.3\.attn\.qkv\.bias'"):
        build_backbone("dinov2-s", weights=tmp_path / "w.pth")


def test_other_models_keep_their_names() -> None:
    names = ("image_encoder.patch_embed.proj.weight", "visual.conv1.weight", "trunk.blocks.0.norm1.weight")
    state = {name: torch.zeros(1) for name in names}
    assert upstream(state) == state
