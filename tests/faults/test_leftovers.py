"""Records and checkpoints of another run, or of another program, in the place of this run's files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_model

from benchmark.common.errors import UserError
from benchmark.models.backbone import build_backbone
from benchmark.runs.events import Event, Step
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from benchmark.runs.pending import find_pending
from tests.conftest import TINY
from tests.runs.made import with_spec
from tests.training.test_resume import DENSE, SPARSE, moments
from tests.training.test_trainer import essence, job_of, stop_at

pytestmark = pytest.mark.slow
Change = Callable[[dict[str, Any]], object]


def replace_weights(state: dict[str, Any]) -> None:
    name = next(iter(state["segmenter"]))
    state["segmenter"][name] = torch.zeros(3, 3, 3)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Job:
    """A run that was stopped after its eighth step."""
    folder = tmp_path_factory.mktemp("stopped")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY), encoding="utf-8")
    job = job_of(folder / "tiny.yaml", tiny_data, folder, "random")
    with pytest.raises(KeyboardInterrupt):
        train_and_record(job, stop_at(8, KeyboardInterrupt))
    return job


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("optimizers"),
        lambda state: state["optimizers"]["decoder"]["param_groups"].pop(),
        lambda state: state.update(progress=[]),
        lambda state: state["progress"].update(step=13),
        lambda state: state["progress"].update(step="8"),
        lambda state: state["progress"].update(scores=[]),
        replace_weights,
        moments(DENSE["shape"], "decoder"),
        moments(SPARSE["outside"]),
    ],
)
def test_a_run_with_an_invalid_checkpoint_starts_from_scratch(change: Change, stopped: Job) -> None:
    whole = stopped.checkpoint.read_bytes()
    state = torch.load(stopped.checkpoint, weights_only=True)
    change(state)
    torch.save(state, stopped.checkpoint)
    seen: list[Any] = []

    def notify(event: Event) -> None:
        seen.append(event.step if isinstance(event, Step) else getattr(event, "text", None))
        if isinstance(event, Step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_and_record(stopped, notify)
    stopped.checkpoint.write_bytes(whole)
    assert seen[-1] == 1
    assert any(str(each).startswith(f"{stopped.checkpoint}: ") for each in seen), "the user is notified"


def test_a_run_with_an_invalid_checkpoint_has_the_same_result(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    straight, job = (job_of(tiny_protocol(), tiny_data, tmp_path / name, "full") for name in ("straight", "broken"))
    with pytest.raises(KeyboardInterrupt):
        train_and_record(job, stop_at(8, KeyboardInterrupt))
    state = torch.load(job.checkpoint, weights_only=True)
    del state["progress"]["losses"]
    state["optimizers"] = {}
    torch.save(state, job.checkpoint)
    assert essence(train_and_record(job)) == essence(train_and_record(straight))


@pytest.mark.parametrize("field", ["method", "seed", "backbone"])
def test_an_error_names_a_record_of_another_run(
    field: str, tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    path = tiny_protocol()
    job = job_of(path, tiny_data, tmp_path, "freeze")
    other = job_of(path, tiny_data, tmp_path, "lora" if field == "method" else "freeze", int(field == "seed"))
    if field == "backbone":
        other = with_spec(other, backbone="vit-tiny-streets")
    train_and_record(job)
    if field != "seed":
        shutil.copytree(job.record.parent, other.record.parent)
    job.record.rename(other.record)
    with pytest.raises(UserError) as error:
        find_pending([other], force=False)
    assert str(error.value).startswith(f"{other.record}: {field}: ")
    assert "--force" in str(error.value)
    assert find_pending([other], force=True) == [other]


def test_a_record_of_other_weights_is_refused(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    files = [tmp_path / f"{seed}.safetensors" for seed in range(2)]
    for seed, file in enumerate(files):
        save_model(build_backbone("vit-tiny-random", seed=seed).vit, str(file))
    first, second = (with_spec(job_of(tiny_protocol(), tiny_data, tmp_path, "freeze"), weights=file) for file in files)
    train_and_record(first)
    moved = with_spec(first, weights=files[0].rename(tmp_path / "moved.safetensors"))
    assert find_pending([moved], force=False) == [], "the same weights in another file"
    with pytest.raises(UserError, match=r"--weights .*1\.safetensors.*\b0\.safetensors \(SHA-256 \w+\)"):
        find_pending([second], force=False)
    assert find_pending([second], force=True) == [second]
    with pytest.raises(UserError, match=r"nowhere\.safetensors"):
        find_pending([with_spec(first, weights=tmp_path / "nowhere.safetensors")], force=False)


def test_a_record_of_other_hyperparameters_than_the_protocol_is_refused(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    """Learning rates are not part of a protocol's fingerprint, since each method has its own."""
    first, second, another = (
        job_of(tiny_protocol(searched={"vit-tiny-random": {"bitfit": {"lr": lr}}}), tiny_data, tmp_path, "bitfit")
        for lr in (1e-3, 2e-3, "1e-3")
    )
    assert first.record == second.record
    train_and_record(first)
    assert find_pending([first, another], force=False) == [], "the same number, written differently"
    with pytest.raises(UserError, match=r"\blr 0\.001\b.*\btiny\b.*\b0\.002\b.*--force"):
        find_pending([second], force=False)
    assert find_pending([second], force=True) == [second]
