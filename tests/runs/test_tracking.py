"""Tracking does not change a run; logs are read back with the trackers' own tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli.listing import runs
from benchmark.common.errors import UserError
from benchmark.records import Record, read_all
from benchmark.runs import tracking
from benchmark.runs.events import Note
from benchmark.runs.one_run import train_and_record
from benchmark.runs.tracking import FOLDER, RunTracker, require
from benchmark.training.progress import Progress
from tests.cli.test_cli import call, refused, tiny_run
from tests.runs.made import with_runtime
from tests.training.test_trainer import essence, job_of


def test_tensorboard_logs_the_records_losses_and_scores(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    pytest.importorskip("tensorboard")
    path = tiny_protocol(iterations=20, evaluation={"times": 2})
    plain = train_and_record(job_of(path, tiny_data, tmp_path / "plain", "lora"))
    job = with_runtime(job_of(path, tiny_data, tmp_path / "tracked", "lora"), tracker="tensorboard")
    notes: list[str] = []
    record = train_and_record(job, lambda event: notes.append(event.text) if isinstance(event, Note) else None)
    assert essence(record) == essence(plain)
    assert f"to view the logs: tensorboard --logdir {job.folder / FOLDER / 'tensorboard'}" in notes
    assert [each.name for each in read_all(job.folder)] == [record.name]
    assert [run.method for run in runs(job.folder)] == ["lora"]
    compare(scalars(job.folder / FOLDER / "tensorboard" / record.name), record)


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: Any = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: {event.step: event.value for event in events.Scalars(tag)}
        for tag in events.Tags()["scalars"]
        if tag.startswith(("loss/", "mIoU/"))
    }


def compare(found: dict[str, dict[int, float]], record: Record) -> None:
    losses = {step: values["ce"] for step, values in record.losses}
    assert found.pop("loss/ce") == pytest.approx(losses)
    averages = {row.iteration: row.average for row in record.evaluations}
    assert len(averages) == 2
    assert found.pop("mIoU/average") == pytest.approx(averages)
    assert record.source is not None
    assert found.pop("mIoU/source") == pytest.approx({20: record.source.miou})
    for name, score in record.targets.items():
        assert found.pop(f"mIoU/{name}")[20] == pytest.approx(score.miou)
    assert not found


def test_wandb_writes_offline(tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]) -> None:
    pytest.importorskip("wandb")
    job = with_runtime(job_of(tiny_protocol(), tiny_data, tmp_path / "runs", "freeze"), tracker="wandb")
    train_and_record(job)
    assert list((job.folder / FOLDER / "wandb" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(read_all(job.folder)) == 1


class Recorder:
    """Stands for a tracker."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def start(self) -> None:
        self.said.append("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.values = values

    def log(self, values: dict[str, float], step: int) -> None:
        self.said.append(f"{step} {values}")

    def finish(self) -> None:
        self.said.append("finish")


def test_an_interrupted_run_closes_its_tracker(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(tracking, "_tracker", lambda job, place: recorder)
    job = with_runtime(job_of(tiny_protocol(), tiny_data, tmp_path, "freeze"), tracker="wandb")

    def stop(progress: Progress, losses: dict[str, float]) -> None:
        raise KeyboardInterrupt

    conditions = {"seed": 1, "vfm": {}, "settings": {"rank": 4, "layers": ["qkv"]}}
    tracker = RunTracker(job, conditions, main=True)
    assert recorder.values == {"seed": 1, "settings/rank": 4, "settings/layers": "['qkv']"}
    with pytest.raises(KeyboardInterrupt):
        tracker.logging_steps(stop)(Progress(10), {"ce": 1.0})
    tracker.close()
    assert recorder.said == ["start", "10 {'loss/ce': 1.0}", "finish"]
    silent = RunTracker(job, conditions, main=False)
    silent.logging_steps(lambda progress, losses: None)(Progress(10), {"ce": 1.0})
    silent.close()
    assert len(recorder.said) == 3, "only one rank writes"


def test_a_missing_tracker_is_refused_before_anything_is_done(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    with pytest.raises(UserError, match=r"--track nowhere: .*pip install nowhere"):
        require("nowhere")
    words = tiny_run(tiny_protocol(), tiny_data, tmp_path / "runs", "--methods", "freeze", "--track", "wand")
    assert "'wand' is not one of" in refused(call(*words))
    (tmp_path / "runs" / FOLDER).mkdir(parents=True)
    (tmp_path / "runs" / FOLDER / "tensorboard").write_text("in the way")
    job = with_runtime(job_of(tiny_protocol(), tiny_data, tmp_path / "runs", "freeze"), tracker="tensorboard")
    with pytest.raises(UserError, match=r"tensorboard: cannot be written: .* give another --records"):
        train_and_record(job)
