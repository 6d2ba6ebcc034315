"""Weight files of methods that train or add whole tensors: content, loading, and rejected files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from benchmark.artifacts.adapter import apply_tuned
from benchmark.artifacts.delta import DECODER, metadata
from benchmark.artifacts.restore import protocol_of, restore
from benchmark.common.errors import UserError
from benchmark.models.backbone import build_backbone
from benchmark.models.weights import weight_hash
from benchmark.records import confusions, read
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from benchmark.sharing import export
from tests.conftest import TINY
from tests.runs.made import with_spec
from tests.training.test_trainer import job_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pre-trained weights in a user's file."""
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_file(build_backbone("vit-tiny-random", seed=1).vit.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, weights: Path) -> Job:
    """A finished run of LoRA with perturbation, rank 2."""
    folder = tmp_path_factory.mktemp("runs")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, "iterations": 6}), encoding="utf-8")
    wanted = with_spec(
        job_of(path, tiny_data, folder, "lora+perturbed"), given={"rank": 2, "dropout": 0.5}, weights=weights
    )
    train_and_record(wanted)
    return wanted


@pytest.fixture
def file(job: Job) -> Path:
    return job.record.with_suffix(".tuned.safetensors")


def backbone(weights: Path) -> Any:
    return build_backbone("vit-tiny-random", weights=weights)


def test_the_file_contains_trained_tensors_and_metadata(job: Job, file: Path) -> None:
    facts, record, tensors = metadata(file.read_bytes()), read(job.record), load_file(file)
    assert record.trainable is not None
    assert sum(tensor.numel() for tensor in tensors.values()) == record.trainable.backbone
    assert {name.split(".")[-3] for name in tensors} == {"lora_A", "lora_B"}
    assert (facts["method"], json.loads(facts["settings"])) == ("lora+perturbed[dropout=0.5,rank=2]", record.settings)
    assert facts["weights_hash"] == record.weights_hash


@pytest.mark.parametrize("decoder", [False, True])
def test_the_code_of_the_card_loads_the_file_on_the_users_weights(
    job: Job, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    written, card = export.export(str(job.record), Path("elsewhere"), tmp_path / "tuned.safetensors", decoder)
    (tmp_path / "mine.safetensors").symlink_to(weights)
    text = card.read_text()
    assert 'build_backbone("vit-tiny-random", weights=Path("mine.safetensors"))' in text
    assert re.search(r"\b12 tensors\b.*\b9,216 values\b", text)
    assert "from benchmark.artifacts.adapter import apply_tuned\n" in text
    names: dict[str, Any] = {}
    exec(text.partition("```python\n")[2].partition("```")[0], names)
    assert weight_hash(names["backbone"]) == metadata(written.read_bytes())["tuned_hash"]
    assert ("decoder" in names) is decoder
    if decoder:
        kept = load_file(job.record.with_suffix(".decoder.safetensors"))
        for name, tensor in names["decoder"].state_dict().items():
            assert torch.equal(tensor, kept[DECODER + name]), name


def test_a_restored_model_needs_the_weights_of_the_run(job: Job, weights: Path) -> None:
    restored = restore(job.record, weights)
    assert not restored.training
    assert protocol_of(read(job.record)) == job.spec.protocol.model_copy(
        update={"title": "tiny", "settings": {}, "searched": {}}
    )
    with pytest.raises(UserError, match=r"got \w{12}; .*--weights"):
        restore(job.record)
    assert sum(len(ids) for ids in confusions(read(job.record))[1].values()) == 7


def more(tensors: dict[str, torch.Tensor], facts: dict[str, str]) -> None:
    tensors["more"] = torch.zeros(1)


def narrower(tensors: dict[str, torch.Tensor], facts: dict[str, str]) -> None:
    name = next(iter(tensors))
    tensors[name] = tensors[name][:, :-1].contiguous()


def changed(tensors: dict[str, torch.Tensor], facts: dict[str, str]) -> None:
    next(iter(tensors.values())).view(-1)[0] += 1


def unknown(tensors: dict[str, torch.Tensor], facts: dict[str, str]) -> None:
    facts["method"] = "lorra"


def impossible(tensors: dict[str, torch.Tensor], facts: dict[str, str]) -> None:
    facts["settings"] = '{"rank": -1}'


def damaged(tensors: dict[str, torch.Tensor], facts: dict[str, str]) -> None:
    facts["settings"] = "{"


def another(tensors: dict[str, torch.Tensor], facts: dict[str, str]) -> None:
    del facts["settings"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (more, "has an unknown tensor 'more'"),
        (narrower, r"tensor '.*' is \(.*\), expected"),
        (changed, "tuned_hash"),
        (unknown, "unknown method 'lorra': did you mean 'lora'"),
        (impossible, "method 'lora': rank"),
        (damaged, "settings or seed in its metadata"),
        (another, r"not a file of tuned weights \(no settings in its metadata\)"),
    ],
)
def test_a_changed_file_is_rejected_and_leaves_the_backbone_unchanged(
    change: Callable[[dict[str, torch.Tensor], dict[str, str]], None],
    line: str,
    file: Path,
    weights: Path,
    tmp_path: Path,
) -> None:
    tensors, facts = load_file(file), metadata(file.read_bytes())
    facts["method"] = "lora"
    change(tensors, facts)
    save_file(tensors, tmp_path / "changed.safetensors", facts)
    found = backbone(weights)
    before = weight_hash(found)
    with pytest.raises(UserError, match=line):
        apply_tuned(found, tmp_path / "changed.safetensors")
    assert weight_hash(found) == before
    assert all(parameter.requires_grad for parameter in found.parameters())


def test_other_pre_trained_weights_are_rejected(file: Path) -> None:
    with pytest.raises(UserError, match=r"pre-trained weights \w{12} of backbone 'vit-tiny-random'"):
        apply_tuned(build_backbone("vit-tiny-random"), file)
