"""From a run to mmsegmentation's format and back: the same confusion matrices, in a record of its own kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from benchmark.common.errors import UserError
from benchmark.models.backbone import build_backbone
from benchmark.records import Record, confusions, read, read_all
from benchmark.released import command, writing
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from tests.conftest import TINY
from tests.runs.made import with_spec
from tests.training.test_trainer import job_of

SHORT = {"iterations": 1, "decoder": {**TINY["decoder"], "warmup": 0}, "evaluation": {"times": 1}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> tuple[Record, Path, Path]:
    """A run of Rein on a DINOv2 with random weights: its record, its protocol and those weights."""
    folder = tmp_path_factory.mktemp("run")
    protocol, weights = folder / "tiny.yaml", folder / "mine.safetensors"
    protocol.write_text(yaml.safe_dump({**TINY, **SHORT, "backbone": "dinov2-s"}), encoding="utf-8")
    save_file(build_backbone("dinov2-s", pretrained=False, seed=1).vit.state_dict(), weights)
    job: Job = with_spec(job_of(protocol, tiny_data, folder / "runs", "rein"), weights=weights, backbone="dinov2-s")
    train_and_record(job)
    return read(job.record), protocol, weights


def test_a_run_is_written_and_scored_as_a_checkpoint(
    run: tuple[Record, Path, Path], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, protocol, weights = run
    assert record.path is not None
    runs = record.path.parents[3]
    file = writing.export(record.name, runs, tmp_path / "w.pth", weights)
    written = torch.load(file, weights_only=True)
    assert written["meta"]["model"] == {
        "type": "EncoderDecoder", "backbone": "ReinsDinoVisionTransformer", "decode_head": "SegformerHead",
    }  # fmt: skip
    names = set(written["state_dict"])
    assert {"backbone.reins.scale", "backbone.blocks.11.ls2.gamma", "neck.upsample_4x.0.weight"} < names
    assert "decode_head.conv_seg.weight" in names

    adapter = {name: each for name, each in written["state_dict"].items() if "backbone" not in name or "reins" in name}
    torch.save({"state_dict": adapter}, tmp_path / "adapter.pth")
    places = {"data_root": tiny_data, "records": tmp_path / "found"}
    command.run(file, "rein", str(protocol), "dinov2-s", **places, weights=None, revision=None)
    command.run(tmp_path / "adapter.pth", "rein", str(protocol), None, **places, weights=weights, revision=None)
    assert f"{len(adapter)} tensors of the checkpoint used" in capsys.readouterr().err
    with pytest.raises(UserError, match="no records here"):
        read_all(tmp_path / "found")
    found = read_all(tmp_path / "found", checkpoints=True, verify=True)
    assert {each.checkpoint.whole for each in found if each.checkpoint} == {True, False}
    for each in found:
        assert each.checkpoint is not None
        assert each.method == f"rein[checkpoint={each.checkpoint.sha256[:12]}]"
        assert each.settings == {"tokens": 100, "rank": 16}
        assert each.trainable is not None
        assert record.trainable is not None
        assert each.trainable.backbone == record.trainable.backbone + record.trainable.unreached
        assert each.weights_hash == record.weights_hash
        assert each.source is None
        theirs, ours = confusions(each)[0], confusions(record)[0]
        assert set(theirs) == set(record.targets)
        assert all(np.array_equal(theirs[name], ours[name]) for name in theirs)
        assert str(tmp_path) not in (each.path or Path()).read_text(encoding="utf-8")


def test_what_mmsegmentation_has_not_is_refused_in_one_line(run: tuple[Record, Path, Path], tmp_path: Path) -> None:
    record, _, weights = run
    assert record.path is not None
    with pytest.raises(UserError, match=r"--output .*w\.safetensors: must end in \.pth"):
        writing.export(record.name, record.path.parents[3], tmp_path / "w.safetensors", weights)
    with pytest.raises(UserError, match="no vit-tiny-random under timm's names, only DINOv2"):
        writing.layout_of(record.model_copy(update={"backbone": "vit-tiny-random"}))
    for name in ("backbone.vpt.prompts", "backbone.vit.blocks.0.attn.qkv.base_layer.weight"):
        with pytest.raises(UserError, match=rf"VPT has modules that do not exist there \({name}\)"):
            writing.state_dict({name: torch.ones(1)}, writing.OURS["full"], "linear", "VPT")


def test_what_a_checkpoint_needs_is_named(tmp_path: Path) -> None:
    for taken_as, protocol in ((None, "streets"), ("rein", None)):
        with pytest.raises(UserError, match=r"w\.pth: give its method with --as \(rein, soma.*--protocol"):
            command.run(
                tmp_path / "w.pth", taken_as, protocol, None, data_root=None, records=tmp_path, weights=None,
                revision=None,
            )  # fmt: skip
