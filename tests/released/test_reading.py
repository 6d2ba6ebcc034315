"""Released checkpoints: the model has the outputs of the official modules, and every tensor is accounted for."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmark.artifacts.adapter import attached
from benchmark.common.errors import UserError
from benchmark.models.segmenter import Segmenter
from benchmark.models.weights import weight_hash
from benchmark.protocol import Protocol
from benchmark.protocol import load as load_protocol
from benchmark.released import layouts, reading, writing
from benchmark.released.layouts import LAYOUTS
from tests.backbones import tiny_backbone
from tests.models.mask2former import drawn, small
from tests.released import official

OFFICIAL = {
    "rein": [
        0.55436987, 0.42357268, 0.00576922, 0.16872968, 0.25512997, 0.13426859, 0.34981997, 0.21250684, 0.15519525,
        3.34005340, 2.57403631, 0.02984180, 0.98831320, 1.56765977, 0.74853678, 2.05408515, 1.39765465, 0.87290452,
        0.18703651, 0.14484418, 0.00237528, 0.05750613, 0.08295464, 0.04644307, 0.11939843, 0.06986598, 0.05579348,
    ],
    "freeze": [
        0.50007758, 0.45691105, 0.01994403, 0.24692829, 0.23640147, 0.30155898, 0.35692274, 0.19731468, 0.21433972,
        3.46295078, 3.16997389, 0.12564490, 1.67099494, 1.69606307, 1.93718587, 2.45151356, 1.38680562, 1.50773119,
        0.34045281, 0.31045826, 0.01528032, 0.17230660, 0.15577085, 0.21879498, 0.25355282, 0.13456259, 0.14529523,
    ],
    "soma": [
        0.22797424, 0.20461489, 0.05316119, 0.29162193, 0.29174347, 0.29760067, 0.24891150, 0.28678909, 0.14139503,
        3.01457376, 2.71047022, 0.70781891, 3.83658141, 3.84062190, 3.91454469, 3.27531883, 3.77454941, 1.87292793,
        0.26969609, 0.24225948, 0.06314199, 0.34426335, 0.34448174, 0.35129040, 0.29375647, 0.33859155, 0.16751031,
    ],
}  # fmt: skip
"""Every ninth row from 5, every 13th column from 3, of the semantic maps that the official repositories' modules
compute in float64 for :func:`official.image` with the weights of :mod:`tests.released.official`; mmdetection's position
encodings, which are float32, were also computed in float64. GeCo's modules have the same names and output as SoMA's."""
KEY = "backbone.model.blocks.2.attn.k.weight"
WHOLE = {"rein": official.rein(True), "freeze": official.plain(), "soma": official.soma(), "geco": official.soma()}
TRAINED = {"rein": official.rein(), "freeze": official.plain(whole=False), "soma": official.soma(whole=False)}


def filled(method: str, *checkpoints: dict[str, Tensor]) -> Segmenter:
    """Return the float64 model with the tensors of one checkpoint after the other."""
    layout = LAYOUTS[method]
    backbone = tiny_backbone("dinov2", depth=official.DEPTH).double()
    segmenter, _ = reading.assemble(layout, checkpoints[0], backbone, small().double(), "w.pth")
    segmenter.double()
    for tensors in checkpoints:
        used = reading.fill(segmenter, layout, "mask2former", tensors, layout.holds_backbone(tensors), "w.pth")
        assert {*used, *layouts.ignored(tensors)} == set(tensors)
    return segmenter


@cache
def known(method: str) -> Segmenter:
    """Return the model of the whole checkpoint; must not be changed."""
    return filled(method, WHOLE[method])


def scores(segmenter: Segmenter) -> Tensor:
    return segmenter.predict(official.image())


@pytest.mark.parametrize("method", WHOLE)
def test_a_checkpoint_has_the_outputs_of_the_official_modules(method: str) -> None:
    found = scores(known(method))[0, :, 5::9, 3::13]
    expected = torch.tensor(OFFICIAL["soma" if method == "geco" else method], dtype=torch.float64)
    torch.testing.assert_close(found.flatten(), expected, rtol=1e-6, atol=1e-7)  # mean and deviation are float32


@pytest.mark.parametrize("method", TRAINED)
def test_adapter_and_head_alone_leave_the_rest_as_pretrained(method: str) -> None:
    changed = {name: value + 0.1 for name, value in WHOLE[method].items()}
    kept = {name: changed[name] if name not in TRAINED[method] else WHOLE[method][name] for name in changed}
    assert torch.equal(scores(filled(method, changed, TRAINED[method])), scores(filled(method, kept)))


@pytest.mark.parametrize("method", WHOLE)
def test_a_model_is_written_as_the_checkpoint_that_it_was_read_from(method: str) -> None:
    ours = known(method).state_dict()
    written = writing.state_dict(ours, LAYOUTS[method], "mask2former", method)
    unused = layouts.ignored(WHOLE[method])
    assert list(unused) == [f"{LAYOUTS[method].backbone}mask_token"]
    assert set(written) == set(WHOLE[method]) - set(unused)
    assert all(torch.equal(written[name], WHOLE[method][name]) for name in written)


def test_the_head_of_rein_may_keep_its_own_query_features() -> None:
    own = {name: value for name, value in WHOLE["rein"].items() if "querys2feat" not in name}
    features = "decode_head.query_feat.weight"
    segmenter = filled("rein", own | {features: WHOLE["freeze"][features]})
    transformer: Any = segmenter.decoder.transformer
    assert torch.equal(transformer.queries_features.weight, WHOLE["freeze"][features])
    assert transformer.queries_embedder.weight.shape == (official.QUERIES, 256)


def test_somas_initial_pairs_are_subtracted_from_the_written_matrices() -> None:
    backbone = tiny_backbone("dinov2", depth=official.DEPTH)
    method = attached("soma", {"rank": official.RANK}, 0, backbone, "")
    for index, parameter in enumerate(method.parameter_groups()[0]["params"]):
        parameter.data += 0.1 * drawn(*parameter.shape, seed=index)
    segmenter = Segmenter(backbone, small()).eval().double()
    written = writing.state_dict(segmenter.state_dict(), LAYOUTS["soma"], "mask2former", "SoMA")
    assert set(written) == set(WHOLE["soma"]) - {"backbone.model.mask_token"}
    torch.testing.assert_close(scores(filled("soma", written)), scores(segmenter))


def without(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {each: value for each, value in tensors.items() if each != name}


@pytest.mark.parametrize(
    ("method", "tensors", "fault"),
    [
        ("rein", without("decode_head.level_embed.weight", official.rein()), "lacks tensor 'decode_head.level"),
        ("rein", without("backbone.reins.scale", official.rein()), "lacks tensor 'backbone.reins.scale'"),
        ("rein", without("backbone.norm.bias", official.rein(True)), "lacks tensor 'backbone.norm.bias'"),
        ("rein", official.rein() | {"neck.0": torch.ones(1)}, "tensor 'neck.0' is not part of that model"),
        ("rein", official.rein() | {"decode_head.cls_embed.bias": torch.ones(20)}, r"is \(20,\), expected \(4,\)"),
        ("freeze", official.rein(), "tensor 'backbone.reins.scale' is not part"),
        ("full", official.plain(whole=False), "lacks tensor 'backbone.cls_token'"),
        ("soma", official.plain(), "tensor 'backbone.cls_token' is not part"),
        ("soma", official.soma() | {KEY: torch.ones(144, 48)}, r"is \(144, 48\), expected \(48, 48\)"),
    ],
)  # fmt: skip
def test_the_first_tensor_that_does_not_fit_is_named(method: str, tensors: dict[str, Tensor], fault: str) -> None:
    layout, segmenter = LAYOUTS[method], known("freeze" if method == "full" else method)
    before = weight_hash(segmenter.backbone)
    with pytest.raises(UserError, match=f"^w.pth: {fault}" if fault.startswith("lacks") else fault):
        reading.fill(segmenter, layout, "mask2former", tensors, layout.holds_backbone(tensors), "w.pth")
    assert weight_hash(segmenter.backbone) == before


# -- files -----------------------------------------------------------------------------------------------------


@pytest.fixture
def protocol() -> Protocol:
    return load_protocol("gtav-to-cbm@rein-test")


def test_a_message_says_what_the_file_was_taken_for(tmp_path: Path, protocol: Protocol) -> None:
    torch.save({"state_dict": official.plain()}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: taken for freeze on dinov2-s with decoder mask2former: tensor '"):
        reading.load(tmp_path / "w.pth", "freeze", "dinov2-s", protocol)
    with pytest.raises(UserError, match=r"contains the backbone's weights; omit --weights"):
        reading.load(tmp_path / "w.pth", "freeze", "dinov2-s", protocol, tmp_path / "own.pth")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_entries_around_the_state_dict_are_accounted_for(tmp_path: Path, prefix: str) -> None:
    tensors = {prefix + name: value for name, value in official.drawn(official.queries()).items()}
    other = {"ema_state_dict": {"steps": torch.zeros(1)}, "optimizer": {"state": [torch.ones(1)]}, "meta": {"iter": 1}}
    torch.save({**other, "state_dict": tensors}, tmp_path / "w.pth")
    found, rest, sha256 = reading.opened(tmp_path / "w.pth")
    assert set(found) == set(official.queries())
    assert len(sha256) == 64
    assert set(reading._beside(rest)) == {"ema_state_dict (1 tensors)", "optimizer (1 tensors)"}
    save_file(official.drawn(official.queries()), tmp_path / "w.safetensors")
    assert set(reading.opened(tmp_path / "w.safetensors")[0]) == set(found)


class Command:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"echo > {self.mark}",)


def test_a_file_with_code_is_refused_and_not_executed(tmp_path: Path, protocol: Protocol) -> None:
    torch.save({"state_dict": {"a": torch.ones(1)}, "meta": Command(tmp_path / "went-off")}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: contains other objects than tensors"):
        reading.load(tmp_path / "w.pth", "freeze", "dinov2-s", protocol)
    assert not (tmp_path / "went-off").exists()


def test_other_classes_are_refused(tmp_path: Path, protocol: Protocol) -> None:
    names = list(protocol.label_set().names)
    names[3] = "sky"
    for classes, fault in ((names, "class 3 is 'sky'"), (protocol.label_set().names[:16], "class 16 is 'none'")):
        meta = {"dataset_meta": {"classes": tuple(classes)}}
        torch.save({"state_dict": {"a": torch.ones(1)}, "meta": meta}, tmp_path / "w.pth")
        with pytest.raises(UserError, match=fault):
            reading.load(tmp_path / "w.pth", "freeze", "dinov2-s", protocol)


def test_methods_without_public_layout_are_refused() -> None:
    with pytest.raises(UserError, match=r"--as fada: no public layout .* known: rein, soma, geco"):
        layouts.find("fada")
    with pytest.raises(UserError, match="unknown method 'reins': did you mean 'rein'"):
        layouts.find("reins")


def test_position_embeddings_are_for_the_windows_of_the_protocol(protocol: Protocol) -> None:
    assert reading._size(official.rein(), LAYOUTS["rein"], protocol) == 512
    assert reading._size(official.rein(True), LAYOUTS["rein"], protocol) == official.GRID * official.PATCH
