"""Backbones: the common interface returns what timm computes, block by block."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmark.common.errors import UserError
from benchmark.models.backbone import Backbone, build_backbone, read_pretrained
from benchmark.models.catalogue import BackboneSpec, backbone_names, fed_with, find_backbone
from benchmark.models.weights import EMBEDDED, Resample, fit, load_into, weight_hash

# Small models of the families in backbones.yaml: class token and LayerScale (DINOv2), rotary position embeddings,
# separate or fused projections (EVA02), pre-norm (CLIP), registers, windowed 4-D tokens (SAM).
SAM = {
    "depth": 3,
    "embed_dim": 96,
    "num_heads": 3,
    "img_size": 64,
    "window_size": 3,
    "global_attn_indexes": (1,),
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("vit_tiny_patch16_224", {"depth": 3, "img_size": 64}),
    "dinov2": ("vit_small_patch14_dinov2.lvd142m", {"depth": 3, "img_size": 64, "patch_size": 16}),
    "registers": ("vit_small_patch14_reg4_dinov2.lvd142m", {"depth": 3, "img_size": 64, "patch_size": 16}),
    "clip": ("vit_base_patch16_clip_quickgelu_224.openai", {"depth": 3, "embed_dim": 192, "num_heads": 3}),
    "eva02-fused": ("eva02_small_patch14_224.mim_in22k", {"depth": 3, "img_size": 64, "patch_size": 16}),
    "eva02-separate": ("eva02_tiny_patch14_224.mim_in22k", {"depth": 3, "img_size": 64, "qkv_fused": False}),
    "sam": ("samvit_base_patch16.sa1b", SAM),
}


def small(family: str) -> Backbone:
    name, options = FAMILIES[family]
    flexible = {} if family == "sam" else {"dynamic_img_size": True}
    torch.manual_seed(0)
    vit = timm.create_model(name, num_classes=0, **options, **flexible)
    for parameter in vit.parameters():  # zero-initialised embeddings and scales would hide errors
        nn.init.normal_(parameter, std=0.1)
    return Backbone(vit, BackboneSpec(family, name, out_indices=(0, 2))).eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_the_outputs_of_the_out_indices(family: str) -> None:
    backbone = small(family)
    seen: list[Tensor] = []
    for block in backbone.blocks:
        block.register_forward_hook(lambda module, args, output: seen.append(output))
    height, width = 3 * backbone.patch_size, 5 * backbone.patch_size
    features = backbone(torch.randn(2, 3, height, width))
    for feature, tokens in zip(features, (seen[0], seen[2]), strict=True):
        grid = tokens if tokens.ndim == 4 else tokens[:, backbone.prefix_tokens :].unflatten(1, (3, 5))
        assert feature.shape == (2, backbone.embed_dim, 3, 5)
        assert torch.equal(feature, grid.permute(0, 3, 1, 2))


def test_features_equal_a_manual_loop_over_the_blocks() -> None:
    backbone = small("dinov2")
    images = torch.randn(2, 3, 32, 48)
    vit = backbone.vit
    patches = vit.patch_embed.proj(images).flatten(2).transpose(1, 2)
    grid = vit.pos_embed[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, size=(2, 3), mode="bicubic", antialias=True)
    first = (vit.cls_token + vit.pos_embed[:, :1]).expand(2, -1, -1)
    tokens = torch.cat([first, patches + grid.flatten(2).transpose(1, 2)], 1)
    outputs = []
    for block in vit.blocks:
        tokens = tokens + block.ls1.gamma * block.attn(block.norm1(tokens))
        tokens = tokens + block.ls2.gamma * block.mlp(block.norm2(tokens))
        outputs.append(tokens[:, 1:].transpose(1, 2).unflatten(2, (2, 3)))
    for feature, expected in zip(backbone(images), (outputs[0], outputs[2]), strict=True):
        torch.testing.assert_close(feature, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hook_on_a_block_affects_later_blocks_and_features(family: str) -> None:
    backbone = small(family)
    images = torch.randn(1, 3, 64, 64)
    before = backbone(images)
    handle = backbone.blocks[1].register_forward_hook(lambda module, args, output: output + 1)
    hooked = backbone(images)
    handle.remove()
    assert torch.equal(hooked[0], before[0])
    assert not torch.allclose(hooked[1], before[1])
    assert torch.equal(backbone(images)[1], before[1])


@pytest.mark.parametrize("family", ["plain", "eva02-separate", "sam"])
def test_odd_sizes_are_padded_at_the_bottom_and_right(family: str) -> None:
    backbone = small(family)
    patch = backbone.patch_size
    images = torch.randn(1, 3, 2 * patch + 1, 4 * patch - 3)
    padded = torch.zeros(1, 3, 3 * patch, 4 * patch)
    padded[..., : images.shape[2], : images.shape[3]] = images
    for feature, expected in zip(backbone(images), backbone(padded), strict=True):
        assert feature.shape[2:] == (3, 4)
        assert torch.equal(feature, expected)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("dinov2-l", 304_198_656),
        ("eva02-l", 304_239_552),
        ("clip-l", 304_150_528),
        ("mae-l", 304_149_504),
        ("sam-h", 632_175_360),
    ],
)
def test_parameter_counts_are_those_of_the_published_architectures(name: str, count: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, pretrained=False)
    assert sum(p.numel() for p in backbone.parameters()) == count


@pytest.mark.parametrize("name", backbone_names())
def test_every_backbone_can_be_built_and_returns_four_features(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, pretrained=False)
        size = 2 * backbone.patch_size
        features = backbone(torch.zeros(1, 3, size, size))
    assert [tuple(f.shape) for f in features] == [(1, backbone.embed_dim, 2, 2)] * 4
    assert backbone.patch_size == 16
    assert backbone.out_indices[-1] == backbone.depth - 1


def test_the_usual_vfms_are_available_in_at_least_two_sizes() -> None:
    for family in ("clip", "mae", "sam", "eva02", "dinov2", "dinov3"):
        assert {f"{family}-l", f"{family}-b"} <= set(backbone_names())
    assert "sam-h" in backbone_names()


@pytest.mark.parametrize(
    ("name", "rate"),
    [("clip-l", 0.1), ("clip-b", 0.1), ("eva02-l", 0.2), ("eva02-s", 0.2)]
    + [(f"{family}-l", 0.0) for family in ("dinov2", "dinov3", "mae", "sam")],
)
def test_drop_path_depends_on_the_vfm_and_increases_with_depth(name: str, rate: float) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, pretrained=False)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in backbone.blocks]
    steps = [rate * index / (backbone.depth - 1) for index in range(backbone.depth)]
    assert rates == pytest.approx(steps)


@pytest.mark.parametrize("name", ["clip-l", "clip-b"])
def test_openais_clip_has_the_activation_that_it_was_trained_with(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, pretrained=False)
    x = torch.linspace(-3, 3, 50)
    for block in backbone.blocks:
        torch.testing.assert_close(block.get_submodule("mlp.act")(x), x * torch.sigmoid(1.702 * x))


@pytest.mark.parametrize("family", ["clip", "eva02", "dinov2", "dinov3", "mae", "sam", "vit-tiny-streets"])
def test_statistics_are_imagenets_or_the_vfms_own(family: str) -> None:
    name = family if "-" in family else f"{family}-b"
    spec = find_backbone(name)
    imagenet, own = fed_with(spec, "imagenet"), fed_with(spec, "own")
    assert (imagenet.mean, imagenet.std) == ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    if family in ("clip", "eva02"):
        assert own.mean == pytest.approx((122.7709, 116.7460, 104.0937), abs=1e-3)
        assert own.std == pytest.approx((68.5005, 66.6322, 70.3232), abs=1e-3)
    else:
        assert own.mean == pytest.approx(imagenet.mean)
        assert own.std == pytest.approx(imagenet.std)
    with torch.device("meta"):
        backbone = build_backbone(name, pretrained=False, normalisation="own")
    assert (backbone.mean, backbone.std) == (own.mean, own.std)
    assert (backbone.facts()["mean"], backbone.facts()["std"]) == (list(own.mean or ()), list(own.std or ()))


def test_statistics_of_the_spec_take_precedence_over_timms() -> None:
    spec = replace(find_backbone("clip-b"), mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    assert (fed_with(spec, "own").mean, fed_with(spec, "own").std) == (spec.mean, spec.std)
    assert fed_with(spec, "imagenet").mean == (123.675, 116.28, 103.53)


def test_random_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = build_backbone("vit-tiny-random", seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert weight_hash(build_backbone("vit-tiny-random", seed=3)) == weight_hash(first)
    assert weight_hash(build_backbone("vit-tiny-random", seed=4)) != weight_hash(first)


def test_weights_can_be_loaded_from_a_file(tmp_path: Path) -> None:
    trained = build_backbone("vit-tiny-random", seed=5)
    save_file(trained.vit.state_dict(), tmp_path / "w.safetensors")
    loaded = build_backbone("vit-tiny-random", weights=tmp_path / "w.safetensors")
    assert weight_hash(loaded) == weight_hash(trained)


@pytest.mark.parametrize("how", ["bicubic", "pi"])
def test_published_weights_are_resampled_to_patch_16(tmp_path: Path, how: Resample) -> None:
    torch.manual_seed(0)
    native = timm.create_model("vit_small_patch14_dinov2.lvd142m", num_classes=0)
    save_file(native.state_dict() | {"head.weight": torch.zeros(2, 384)}, tmp_path / "w.safetensors")
    backbone = build_backbone("dinov2-s", weights=tmp_path / "w.safetensors", resample=how)
    vit, old = backbone.vit, native.pos_embed[0, 1:].T.reshape(1, 384, 37, 37)
    new = nn.functional.interpolate(old, size=(32, 32), mode="bicubic", antialias=how == "pi")
    assert torch.equal(vit.pos_embed[0, 1:], new[0].flatten(1).T)
    assert torch.equal(vit.pos_embed[:, :1], native.pos_embed[:, :1])
    assert torch.equal(vit.blocks[3].mlp.fc1.weight, native.blocks[3].mlp.fc1.weight)
    constant = torch.ones(1, 3, 16, 16)
    vit.requires_grad_(False)
    native.requires_grad_(False)
    response = vit.patch_embed.proj(constant) - vit.patch_embed.proj.bias[:, None, None]
    wanted = native.patch_embed.proj.weight.sum((1, 2, 3))[:, None, None]
    ratio = float((response * wanted).sum() / (wanted * wanted).sum())
    assert ratio == pytest.approx(1.0 if how == "pi" else (16 / 14) ** 2, abs=0.05)


@pytest.mark.parametrize("how", ["bicubic", "pi"])
def test_sams_absolute_position_embeddings_are_resampled_and_its_relative_ones_are_not(how: Resample) -> None:
    with torch.device("meta"):
        sam, native = build_backbone("sam-b", pretrained=False).vit, timm.create_model("samvit_base_patch16")
    assert tuple(sam.pos_embed.shape) == (1, 32, 32, 768)
    for index in (2, 5, 8, 11):  # the global blocks
        assert sam.blocks[index].attn.rel_pos_h.shape == native.blocks[index].attn.rel_pos_h.shape == (127, 64)
    small = timm.create_model("samvit_base_patch16.sa1b", num_classes=0, **SAM)
    table = torch.randn(1, 9, 9, 96)
    fitted = fit(small.state_dict() | {"pos_embed": table}, small, how)
    expected = nn.functional.interpolate(table.permute(0, 3, 1, 2), size=(4, 4), mode="bicubic", antialias=how == "pi")
    assert torch.equal(fitted["pos_embed"], expected.permute(0, 2, 3, 1))
    load_into(small, fitted, "here")


def test_weights_of_another_model_are_rejected_with_their_hash(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file(build_backbone("vit-tiny-random").vit.state_dict(), file)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=rf"w\.safetensors \(SHA-256 {sha256}\): .*'blocks\.\d+"):
        build_backbone("dinov2-s", weights=file)


def test_a_revision_is_an_error_unless_weights_are_from_the_hub(tmp_path: Path) -> None:
    for name, file in (("vit-tiny-streets", None), ("dinov2-s", tmp_path / "w.safetensors")):
        with pytest.raises(UserError, match=f"--revision main: .*'{name}'"):
            build_backbone(name, weights=file, revision="main")


def test_facts_contain_the_origin_of_the_weights(tmp_path: Path) -> None:
    assert build_backbone("vit-tiny-random").facts()["origin"] == "random"
    sha256 = hashlib.sha256((EMBEDDED / "vit-tiny-streets.safetensors").read_bytes()).hexdigest()
    facts = build_backbone("vit-tiny-streets").facts()
    assert facts["origin"] == f"embedded weights vit-tiny-streets (SHA-256 {sha256})"
    assert facts == json.loads(json.dumps(facts))
    save_file(build_backbone("vit-tiny-random").vit.state_dict(), tmp_path / "w.safetensors")
    sha256 = hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    loaded = build_backbone("vit-tiny-random", weights=tmp_path / "w.safetensors")
    assert loaded.facts()["origin"] == f"w.safetensors (SHA-256 {sha256})"


def test_a_tensor_of_the_wrong_shape_is_named(tmp_path: Path) -> None:
    backbone = build_backbone("vit-tiny-random")
    tensors = backbone.vit.state_dict() | {"norm.weight": torch.ones(7)}
    with pytest.raises(UserError, match=r"here: .*'norm.weight'.*\(7,\).*\(192,\)"):
        load_into(backbone.vit, tensors, "here")


@pytest.mark.parametrize("value", [torch.nan, -torch.inf, 1e300])
def test_a_tensor_that_is_not_finite_is_named(value: float) -> None:
    """1e300 is finite in the file, but not in the precision of the model."""
    backbone = build_backbone("vit-tiny-random")
    before = weight_hash(backbone)
    tensors = {name: tensor.double() for name, tensor in backbone.vit.state_dict().items()}
    tensors["norm.weight"][3] = value
    with pytest.raises(UserError, match=r"here: tensor 'norm.weight' has values that are not finite"):
        load_into(backbone.vit, tensors, "here")
    assert weight_hash(backbone) == before


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'dinov2l': .*'dinov2-l'"):
        find_backbone("dinov2l")


@pytest.mark.parametrize("name", ["vit-tiny-streets", "vit-tiny-random"])
def test_the_weights_that_are_read_are_those_of_the_built_backbone(name: str) -> None:
    built = build_backbone(name).vit.state_dict()
    found = read_pretrained(name)
    assert found.keys() == built.keys()
    assert all(torch.equal(found[key].to(value.dtype), value) for key, value in built.items())
