"""Weight files of a run: small, tied to the pre-trained weights, sufficient to reproduce its scores."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from benchmark import records
from benchmark.artifacts import delta
from benchmark.artifacts.delta import apply_delta, load_decoder
from benchmark.common.errors import UserError
from benchmark.models.backbone import build_backbone
from benchmark.models.weights import weight_hash
from benchmark.records import Record, confusions, read
from benchmark.runs.experiment import Experiment
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from benchmark.sharing import export
from methods.fishertune import FisherTune
from tests.backbones import tiny_backbone
from tests.conftest import TINY
from tests.records.made import failed, stored
from tests.runs.made import with_spec
from tests.small import bits, train
from tests.training.test_trainer import job_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def job(folder: Path, tiny_data: Path) -> Job:
    """A finished run of FisherTune on the bundled backbone; also one of Freeze."""
    path = folder / "tiny.yaml"
    path.write_text(
        yaml.safe_dump({**TINY, "backbone": "vit-tiny-streets", "vfm": {"normalisation": "own"}}), encoding="utf-8"
    )
    train_and_record(job_of(path, tiny_data, folder, "freeze"))
    wanted = job_of(path, tiny_data, folder, "fishertune")
    train_and_record(wanted)
    return wanted


@pytest.fixture
def record(job: Job) -> Record:
    return read(job.record)


@pytest.fixture
def file(job: Job) -> Path:
    return job.record.with_suffix(".delta.safetensors")


def test_the_delta_is_at_most_a_sixth_of_the_dense_backbone(file: Path, record: Record) -> None:
    dense = sum(parameter.numel() * 4 for parameter in build_backbone("vit-tiny-streets").parameters())
    assert file.stat().st_size <= dense / 6
    tensors = load_file(file)
    assert record.trainable is not None
    assert sum(len(t) for name, t in tensors.items() if name.endswith("/value")) == record.trainable.backbone
    assert {t.dtype for t in tensors.values()} == {torch.int32, torch.float32}


def test_the_metadata_names_the_run_and_both_hashes(file: Path, record: Record) -> None:
    facts = delta.metadata(file.read_bytes())
    assert facts["record"] == record.name == "tiny/vit-tiny-streets/fishertune/seed0"
    assert (facts["method"], facts["seed"], facts["weights_hash"]) == ("fishertune", "0", record.weights_hash)
    backbone = build_backbone("vit-tiny-streets")
    before = weight_hash(backbone)
    apply_delta(backbone, file)
    assert weight_hash(backbone) == facts["tuned_hash"] != before == record.weights_hash


@pytest.mark.parametrize("apart", [False, True])
def test_an_exported_run_reproduces_its_confusions(job: Job, record: Record, tmp_path: Path, apart: bool) -> None:
    written, card = export.export("fishertune", job.folder, tmp_path / "mine.safetensors", not apart)
    assert (written, card) == (tmp_path / "mine.safetensors", tmp_path / "mine.md")
    fresh = Experiment(with_spec(job, seed=7))  # another initial decoder
    apply_delta(fresh.segmenter.backbone, written)
    load_decoder(fresh.segmenter.decoder, job.record.with_suffix(".decoder.safetensors") if apart else written)
    fresh.segmenter.eval()
    known, _ = confusions(record)
    for name, domain in {"source": fresh.validation, **fresh.targets}.items():
        assert np.array_equal(fresh.confusions(domain), known[name]), name
    if apart:
        assert written.read_bytes() == job.record.with_suffix(".delta.safetensors").read_bytes()


def test_the_code_of_the_card_loads_the_file(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written, card = export.export(str(job.record), Path("elsewhere"), None, True)
    assert written.name == "tiny-vit-tiny-streets-fishertune-seed0.safetensors"
    text = card.read_text()
    assert "FisherTune" in text
    assert "141,475 single weights" in text
    assert "from benchmark.artifacts.delta import apply_delta\n" in text
    assert "from benchmark.artifacts.delta import load_decoder\n" in text
    assert "(weights_hash), from embedded weights vit-tiny-streets (SHA-256 3e4acfbb" in text
    assert 'build_backbone("vit-tiny-streets", resample="bicubic", normalisation="own")' in text
    code = text.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    assert weight_hash(names["backbone"]) == delta.metadata(written.read_bytes())["tuned_hash"]


def test_other_pre_trained_weights_are_rejected_and_unchanged(file: Path, tmp_path: Path) -> None:
    backbone = build_backbone("vit-tiny-streets")
    with torch.no_grad():
        next(backbone.parameters()).view(-1)[0] += 1
    before = weight_hash(backbone)
    with pytest.raises(UserError, match=r"pre-trained weights \w{12} of backbone 'vit-tiny-streets'") as caught:
        apply_delta(backbone, file)
    assert "\n" not in str(caught.value)
    assert weight_hash(backbone) == before


def beyond(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[f"{name}/index"][-1] = 10**9


def shorter(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[f"{name}/value"] = tensors[f"{name}/value"][:-1].clone()


def unknown(tensors: dict[str, torch.Tensor], name: str) -> None:
    for part in ("index", "value"):
        tensors[f"vit.other/{part}"] = tensors.pop(f"{name}/{part}")


def nudged(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[f"{name}/value"][0] += 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (beyond, r"qkv\.weight does not fit the backbone"),
        (shorter, r"qkv\.weight does not fit the backbone"),
        (unknown, r"vit\.other does not fit the backbone"),
        (nudged, "tuned_hash"),
    ],
)
def test_a_changed_delta_is_rejected_and_leaves_the_backbone_unchanged(
    change: Callable[[dict[str, torch.Tensor], str], None], line: str, file: Path, tmp_path: Path
) -> None:
    tensors, backbone = load_file(file), build_backbone("vit-tiny-streets")
    before = weight_hash(backbone)
    change(tensors, "vit.blocks.3.attn.qkv.weight")
    save_file(tensors, tmp_path / "changed.safetensors", delta.metadata(file.read_bytes()))
    with pytest.raises(UserError, match=line):
        apply_delta(backbone, tmp_path / "changed.safetensors")
    assert weight_hash(backbone) == before


def test_a_file_of_another_kind_is_rejected(job: Job, file: Path, tmp_path: Path) -> None:
    backbone = build_backbone("vit-tiny-streets")
    with pytest.raises(UserError, match="not a delta"):
        apply_delta(backbone, job.record.with_suffix(".decoder.safetensors"))
    with pytest.raises(UserError, match="--decoder"):
        load_decoder(torch.nn.Linear(1, 1), file)
    (tmp_path / "half.safetensors").write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"half\.safetensors: truncated or not safetensors"):
        apply_delta(backbone, tmp_path / "half.safetensors")


def test_equal_tensors_give_equal_files(file: Path) -> None:
    facts = delta.metadata(file.read_bytes())
    assert len({delta.packed(load_file(file), facts) for _ in range(5)}) == 1


def test_runs_that_cannot_be_exported_are_rejected(job: Job, tmp_path: Path) -> None:
    def refused(which: str, folder: Path = job.folder, output: Path | None = None) -> str:
        with pytest.raises(UserError) as caught:
            export.export(which, folder, output, False)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "did you mean 'tiny/vit-tiny-streets/fishertune/seed0'?" in refused("tiny/vit-tiny-streets/fishertun/seed0")
    assert re.search(r"'seed0' .*2 records.*: tiny/.*, tiny/", refused("seed0"))
    assert re.search(r"mine\.bin: .*\.safetensors", refused("fishertune", output=tmp_path / "mine.bin"))
    assert re.search(r"mine\.safetensors: .*--output", refused("fishertune", output=job.record / "mine.safetensors"))
    stored(tmp_path, "old")
    assert re.search(r"old/seed0\.json: no weight files: .*--force", refused("old", tmp_path))
    records.write(failed("broken"), {}, {}, tmp_path)
    assert "broken/seed0.json: no weight files: the run failed" in refused("broken", tmp_path)
    with pytest.raises(UserError, match=r"--output .*--decoder"):
        export.export("fishertune", job.folder, tmp_path / "folder", True)


def test_weights_that_were_trained_temporarily_are_included() -> None:
    """The literal schedule freezes weights again; they keep their trained values."""
    made, backbone = FisherTune(FisherTune.Settings(lr=1e-2, schedule="literal")), tiny_backbone("dinov2")
    train(made, backbone, 12)
    changes = made.delta()
    assert sum(len(index) for index, _ in changes.values()) == made.trainable()
    fresh = tiny_backbone("dinov2")
    with torch.no_grad():
        for name, (index, value) in changes.items():
            fresh.get_parameter(name).view(-1)[index.long()] = value
    for name, parameter in backbone.named_parameters():
        assert torch.equal(bits(fresh.get_parameter(name)), bits(parameter)), name
