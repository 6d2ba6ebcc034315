"""``export --merged``: the card's code loads the file with timm or transformers alone and gives the run's features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmark.artifacts.restore import restore
from benchmark.common.errors import UserError
from benchmark.models.backbone import Backbone, _vit
from benchmark.models.catalogue import BackboneSpec
from benchmark.models.naming import hugging_face, upstream
from benchmark.records import Record, read
from benchmark.sharing import merged
from benchmark.sharing.export import export
from tests.cli.test_cli import call, refused

SMALL: dict[str, Any] = {"depth": 2, "embed_dim": 48, "num_heads": 3}
SPECS = [
    BackboneSpec("plain", "vit_tiny_patch16_224", (0, 1), options={**SMALL, "img_size": 64, "class_token": False,
        "global_pool": ""}),
    BackboneSpec("dinov2", "vit_small_patch14_dinov2.lvd142m", (0, 1), options={**SMALL, "img_size": 64,
        "patch_size": 16}),
    BackboneSpec("dinov3", "vit_small_patch16_dinov3.lvd1689m", (1,), options={**SMALL, "img_size": 64}),
    BackboneSpec("eva02", "eva02_small_patch14_224.mim_in22k", (1,), options={**SMALL, "img_size": 64,
        "patch_size": 16}),
    BackboneSpec("sam", "samvit_base_patch16.sa1b", (1,), options={**SMALL, "img_size": 64,
        "global_attn_indexes": (1,)}),
]  # fmt: skip


def code_of(card: Path | str) -> str:
    text = card.read_text() if isinstance(card, Path) else card
    return text.partition("```python\n")[2].partition("```")[0]


def executed(code: str, images: Tensor) -> list[Tensor]:
    """Execute the lines of a card; return the features that they compute."""
    names: dict[str, Any] = {"images": images}
    with torch.no_grad():
        exec(code, names)
    return list(names["features"])


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255


@pytest.mark.parametrize("method", ["lora", "random"])
def test_plain_timm_gives_the_features_and_logits_of_the_run(
    method: str, runs: Path, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written, card = export(method, runs, Path("merged.safetensors"), False, merged=True)
    code = code_of(card)
    assert len(code.splitlines()) == 6
    assert "benchmark" not in code
    segmenter = restore(read(next(runs.glob(f"tiny/*/{method}/seed0.json"))))
    features = executed(code, images)
    with torch.no_grad():
        wanted = segmenter.backbone((images - segmenter.mean) / segmenter.std)
        for ours, theirs in zip(wanted, features, strict=True):
            torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(segmenter.decode(features, images), segmenter(images), rtol=1e-5, atol=1e-5)
    assert not any("lora" in name for name in load_file(written))


def test_the_pre_trained_weights_of_the_run_are_needed(weighed: tuple[Record, Path], tmp_path: Path) -> None:
    record, weights = weighed
    place = tmp_path / "merged.safetensors"
    with pytest.raises(UserError, match="--weights FILE"):
        export(str(record.path), Path("elsewhere"), place, False, merged=True)
    export(str(record.path), Path("elsewhere"), place, False, merged=True, weights=weights)
    kept, pretrained = load_file(place), load_file(weights)  # Freeze changes nothing
    assert kept.keys() == pretrained.keys()
    assert all(torch.equal(kept[name], pretrained[name]) for name in kept)


def random_backbone(spec: BackboneSpec) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vit = _vit(spec, spec.options)
        for parameter in vit.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    return Backbone(vit, spec).eval()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@torch.no_grad()
def test_the_code_builds_every_architecture_as_the_benchmark_does(
    spec: BackboneSpec, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    backbone = random_backbone(spec)
    state = backbone.vit.state_dict()
    save_file(state, "merged.safetensors")
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (backbone.mean, backbone.std))
    images = images[..., :64]
    features = executed(merged.timm_code(backbone, state, "merged.safetensors"), images)
    for ours, theirs in zip(backbone((images - mean) / std), features, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_transformers_loads_a_dinov2(images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    backbone = random_backbone(SPECS[1])
    state = backbone.vit.state_dict()
    named = hugging_face(state)
    save_file(named, "merged.safetensors")
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (backbone.mean, backbone.std))
    square = images[..., :64]
    features = executed(merged.transformers_code(backbone, state, "merged.safetensors"), square)
    for ours, theirs in zip(backbone((square - mean) / std), features, strict=True):
        torch.testing.assert_close(theirs[:, 1:], ours.flatten(2).mT, rtol=1e-5, atol=1e-5)
    back = upstream(named)
    assert back.keys() == state.keys() | {"mask_token"}
    assert all(torch.equal(back[name], value) for name, value in state.items())


@pytest.mark.parametrize("spec", [SPECS[0], SPECS[2], SPECS[4]], ids=lambda spec: spec.name)
def test_other_architectures_have_no_names_of_transformers(spec: BackboneSpec) -> None:
    with pytest.raises(UserError, match=r"transformers' Dinov2Model .*; use timm's names"):
        hugging_face(random_backbone(replace(spec, out_indices=(1,))).vit.state_dict())


def test_the_command_refuses_what_it_cannot_write(runs: Path) -> None:
    line = refused(call("export", "lora", "--records", runs, "--merged", "--names", "transformers"))
    assert "transformers' Dinov2Model" in line


@pytest.mark.parametrize(
    ("output", "decoder", "options", "line"),
    [
        (None, True, {"merged": True}, "--merged writes one state dict of the backbone: leave out --decoder"),
        (Path("folder"), False, {"merged": True}, "--output folder must end in .safetensors"),
        (None, False, {"names": "timm"}, "--names: only with --merged"),
        (None, False, {"weights": Path("mine.pt")}, "--weights: only with --merged"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    runs: Path, output: Path | None, decoder: bool, options: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError, match=line):
        export("lora", runs, output, decoder, **options)
