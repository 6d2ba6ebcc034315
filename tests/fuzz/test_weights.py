"""Weight, delta and checkpoint files of any content: loaded completely, or rejected with the model unchanged."""

from __future__ import annotations

import io
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from benchmark.artifacts.delta import apply_delta, load_decoder, packed
from benchmark.models import backbone as backbones
from benchmark.models import catalogue
from benchmark.models.backbone import Backbone, build_backbone
from benchmark.models.naming import upstream
from benchmark.models.weights import load_safetensors, read, renamed, weight_hash
from benchmark.training import checkpoint
from tests.backbones import tiny_backbone
from tests.fuzz.given import damaged, outcome, values, words
from tests.training.test_resume import STEPS, STOP, resumed

pytestmark = pytest.mark.slow

SPEC = catalogue.BackboneSpec(
    "mine", "vit_tiny_patch16_224", (0, 1), "none",
    {"img_size": 32, "depth": 2, "embed_dim": 12, "num_heads": 2, "class_token": False, "global_pool": ""},
)  # fmt: skip
DTYPES = (
    torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int8, torch.int64, torch.bool,
    torch.complex64,
)  # fmt: skip
NAMES = (
    "../../x", "/etc/passwd", "", "a\nb", "cls_token", "pos_embed", "visual.class_embedding", "mask_token", "model",
    "pretrained.model.pos_embed", "patch_embed.proj.weight", "image_encoder.pos_embed", "head.weight", "norm.weight",
    "blocks.0.attn.qkv.weight", "blocks.0.attn.k_proj.weight", "rel_pos", "module.x", "state_dict",
    "backbone.patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight", "embeddings.cls_token",
    *(f"encoder.layer.0.attention.attention.{each}.weight" for each in ("query", "key", "value")),
)  # fmt: skip
"""Path traversal, and names that timm's converters or ours treat specially."""
SHAPES = st.lists(st.integers(0, 9), max_size=5) | st.sampled_from(
    [[1, 7, 12], [1, 3, 3, 12], [1, 196, 12], [12, 3, 8, 8], [12, 3, 16], [12, 4, 8, 8], [1, 4, 13], [12, 3, 0, 0]]
)


@cache
def mine() -> Backbone:
    return Backbone(backbones._vit(SPEC, SPEC.options), SPEC)


@cache
def published() -> nn.Module:
    return backbones._native(catalogue.find_backbone("dinov2-s"))


Edit = tuple[str, str, str, list[int], torch.dtype]
edits: st.SearchStrategy[list[Edit]] = st.lists(
    st.tuples(
        st.sampled_from(["shape", "shape", "type", "name", "remove", "add"]),
        st.sampled_from(["pos_embed", "patch_embed.proj.weight"]) | st.integers(0, 200).map(str),
        st.sampled_from(NAMES) | words.filter(str.isprintable),
        SHAPES,
        st.sampled_from(DTYPES),
    ),
    min_size=1,
    max_size=3,
)


def changed(own: dict[str, torch.Tensor], wanted: list[Edit]) -> dict[str, torch.Tensor]:
    """Return a model's tensors with some removed, renamed, added, or given another shape or dtype."""
    result = dict(own)
    for what, which, other, shape, dtype in wanted:
        name = sorted(result)[int(which) % len(result)] if which.isdigit() and result else which
        if what == "shape":
            result[name] = torch.ones(shape)
        elif what == "add" or name not in result:
            result[other] = torch.ones(shape)
        elif what == "type":
            result[name] = result[name].to(dtype)
        else:
            tensor = result.pop(name)
            if what == "name":
                result[other] = tensor
    return result


@given(wanted=edits, how=st.sampled_from(["bicubic", "pi"]))
@example(wanted=[("shape", "pos_embed", "", [], torch.float32)], how="bicubic")
@example(wanted=[("shape", "pos_embed", "", [1, 7, 12], torch.float32)], how="pi")
@example(wanted=[("shape", "patch_embed.proj.weight", "", [12, 3, 16], torch.float32)], how="bicubic")
def test_weights_of_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: list[Edit], how: Literal["bicubic", "pi"]
) -> None:
    monkeypatch.setattr(catalogue, "own_backbones", lambda: {"mine": SPEC})
    path = tmp_path / "w.safetensors"
    path.write_bytes(save(changed(mine().vit.state_dict(), wanted)))
    made = outcome(lambda: build_backbone("mine", weights=path, resample=how))
    if isinstance(made, str):
        assert str(path) in made
        return
    shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in made.vit.state_dict().items()}
    assert shapes == {name: (tensor.shape, tensor.dtype) for name, tensor in mine().vit.state_dict().items()}


@given(wanted=edits)
def test_published_weights_under_upstream_names(wanted: list[Edit]) -> None:
    """Exercises timm's converters, which depend on names and shapes."""
    own = {name: torch.zeros(1).expand(tensor.shape) for name, tensor in published().state_dict().items()}
    found = outcome(lambda: renamed(upstream(changed(own, wanted)), published(), "w.safetensors"))
    assert set(found) == set(own) or (isinstance(found, str) and "w.safetensors" in found)


def saved(old: bool) -> bytes:
    buffer = io.BytesIO()
    state = {"model": {"a": torch.arange(9.0), "b": torch.zeros(2, 3, dtype=torch.float16)}, "epoch": 3}
    torch.save(state, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


@given(content=damaged(saved(old=False)) | damaged(saved(old=True)))
def test_a_damaged_state_dict(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    found = outcome(lambda: read(path))
    assert not isinstance(found, str) or str(path) in found


@given(content=damaged(save({"a": torch.arange(9.0), "../../b": torch.zeros(2, 3, dtype=torch.float16)})))
def test_a_damaged_file_of_weights(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    found = outcome(lambda: load_safetensors(path))
    assert not isinstance(found, str) or str(path) in found
    for use in (lambda: apply_delta(mine(), path), lambda: load_decoder(nn.Linear(2, 2), path)):
        assert isinstance(outcome(use), str)


@cache
def delta() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return a valid delta: two values of each of two tensors."""
    tuned = tiny_backbone("plain")
    changes: dict[str, torch.Tensor] = {}
    for name in ("vit.blocks.0.attn.qkv.weight", "vit.blocks.1.mlp.fc1.weight"):
        tuned.state_dict()[name].view(-1)[:2] = torch.tensor([1.0, 2.0])
        changes |= {f"{name}/index": torch.tensor([0, 1], dtype=torch.int32), f"{name}/value": torch.tensor([1.0, 2.0])}
    facts = {"weights_hash": weight_hash(tiny_backbone("plain")), "tuned_hash": weight_hash(tuned), "backbone": "tiny"}
    return changes, facts


@cache
def plain() -> tuple[Backbone, str]:
    backbone = tiny_backbone("plain")
    return backbone, weight_hash(backbone)


FACTS = st.dictionaries(
    st.sampled_from(["weights_hash", "tuned_hash", "backbone", "x"]), words.filter(str.isprintable), max_size=1
)


@given(wanted=st.just([]) | edits, more=st.just({}) | FACTS, data=st.data())
def test_a_forged_delta(tmp_path: Path, wanted: list[Edit], more: dict[str, str], data: st.DataObject) -> None:
    changes, facts = delta()
    made, stated = changed(changes, wanted), facts | more
    path = tmp_path / "d.safetensors"
    path.write_bytes(data.draw(st.just(packed(made, stated)) | damaged(packed(made, stated))))
    backbone, before = plain()
    line = outcome(lambda: apply_delta(backbone, path))
    if line is None:
        assert weight_hash(backbone) == facts["tuned_hash"]
        backbone.load_state_dict(tiny_backbone("plain").state_dict())
    assert weight_hash(backbone) == before


@given(
    state=values | st.dictionaries(words, st.just(torch.zeros(2)), max_size=2),
    data=st.data(),
)
def test_a_checkpoint_of_any_content_is_ignored_or_belongs_to_the_run(
    tmp_path: Path, state: Any, data: st.DataObject
) -> None:
    path, buffer = tmp_path / "seed0.checkpoint", io.BytesIO()
    torch.save(data.draw(st.just(state) | st.just({"key": "mine", "progress": state})), buffer)
    path.write_bytes(data.draw(st.just(buffer.getvalue()) | damaged(buffer.getvalue())))
    found = checkpoint.read(path, "mine")
    assert found is None or found["key"] == "mine"


TENSORS = st.builds(lambda shape, dtype: torch.ones(shape).to(dtype), SHAPES, st.sampled_from(DTYPES[:-1]))
FIELDS = st.sampled_from(
    ["exp_avg", "exp_avg_sq", "step", "steps", "index", "lengths", "left", "initial_lr", "betas", "eps", "weight_decay"]
)


@given(name=st.sampled_from(["full", "random"]), field=FIELDS, value=values | TENSORS | st.none(), which=st.data())
def test_a_checkpoint_with_any_optimizer_state_is_rejected_or_trains(
    tmp_path: Path, name: str, field: str, value: Any, which: st.DataObject
) -> None:
    def change(state: dict[str, Any]) -> None:
        optimizer = state["optimizers"]["backbone"]
        state_of = which.draw(st.sampled_from([*optimizer["state"].values(), *optimizer["param_groups"]]))
        if value is None:
            state_of.pop(field, None)
        else:
            state_of[field] = value

    with suppress(checkpoint.UnfitError, FloatingPointError):
        assert resumed(name, change, tmp_path) == [STOP + 1, STEPS]
