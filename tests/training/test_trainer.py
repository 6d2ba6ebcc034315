"""The training loop on real files: identical conditions for every method, bit-identical resume."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from benchmark import protocol
from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.method import Budget, Method, Phase
from benchmark.records import Record, confusions, read
from benchmark.runs import request
from benchmark.runs.events import Event, ImageEvaluated, Notify, Step
from benchmark.runs.experiment import Experiment
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from benchmark.sharing.rescore import rescore
from benchmark.training.schedule import evaluation_steps, schedule, timeline
from tests.conftest import TINY

pytestmark = pytest.mark.slow

TWINS = {"delta-fim", "fim-variational", "random-all", "random-k", "random-v"}
"""Ablation arms that are FisherTune with settings of which each is also that of another arm that runs here."""
METHODS = sorted(set(registry.names("method")) - TWINS - {"lp-ft"})  # refused in protocols with a decoder warm-up
ONCE = ("full", "lora", "random", "childtune-d", "childtune-f", "geco", "fishertune")


def job_of(path: Path, data: Path, folder: Path, method: str, seed: int = 0) -> Job:
    fixed = protocol.load(str(path))
    common: dict[str, Any] = {"data_root": data, "folder": folder}
    return request.plan(fixed, fixed.backbone, [method], [seed], {}, **common)[0]


class Killed(BaseException):
    """Stands for the end of the process: nothing in the loop may catch it and tidy up."""


def stop_at(step: int, how: type[BaseException]) -> Notify:
    def notify(event: Event) -> None:
        if isinstance(event, Step) and event.step == step:
            raise how

    return notify


def essence(record: Record) -> dict[str, Any]:
    """Return a record without its times, costs, file hashes and whose warm-up it continued."""
    timing = {"started", "finished", "seconds", "cpu_seconds", "peak_memory_bytes", "warm_up"}
    written = {"confusion", "examples", "delta", "tuned", "decoder", "digests", "checksum"}
    return record.model_dump(mode="json", exclude=timing | written)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def trained(folder: Path, tiny_data: Path) -> Callable[[str], Record]:
    """Return a function that returns the record of a method's tiny run, which it trains when first asked for."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return cache(lambda name: train_and_record(job_of(path, tiny_data, folder, name)))


def place_of(folder: Path, record: Record) -> Path:
    return folder / "tiny" / "vit-tiny-random" / record.method / "seed0.json"


@pytest.mark.parametrize("name", METHODS)
def test_every_method_meets_the_same_conditions(name: str, trained: Callable[[str], Record]) -> None:
    assert len(METHODS) >= 9
    first, record = trained("full"), trained(name)
    for field in ("fingerprint", "data_hash", "batches_hash", "decoder_hash", "weights_hash", "vfm", "protocol_fields"):
        assert getattr(record, field) == getattr(first, field), field
    assert record.trainable is not None
    assert first.trainable is not None
    assert record.trainable.decoder == first.trainable.decoder
    assert record.state == "finished"
    assert (record.vfm["origin"], record.vfm["taps"]) == ("random", [0, 2, 4, 5])


@pytest.mark.parametrize("name", METHODS)
def test_every_finished_run_is_evaluated_again_from_its_files(
    name: str, trained: Callable[[str], Record], folder: Path, tiny_data: Path
) -> None:
    place = place_of(folder, trained(name))
    assert {path.suffixes[0] for path in place.parent.glob("seed0.*.safetensors")} in (
        {".delta", ".decoder"}, {".tuned", ".decoder"},
    )  # fmt: skip
    assert [row.equal for row in rescore(read(place), tiny_data)] == [True, True, True]


@pytest.mark.parametrize("name", METHODS)
def test_a_record_counts_the_changed_pre_trained_values(name: str, trained: Callable[[str], Record]) -> None:
    record = trained(name)
    assert record.trainable is not None
    assert record.moved is not None
    assert record.moved <= record.trainable.backbone
    # In these, what trains is added.
    beside = {"adaptformer", "dora", "fada", "freeze", "lora", "recyclelora", "rein", "ssf", "vpt", "vqt"}
    pre_trained = record.report.get("alpha") == 0  # WiSE-FT may end there
    assert (record.moved == 0) == (name in beside or pre_trained)
    selective = {"random", "fishertune"}
    assert name not in selective or record.moved > 0.99 * record.trainable.backbone


@pytest.mark.parametrize("name", METHODS)
def test_a_stored_record_equals_the_one_returned(name: str, trained: Callable[[str], Record], folder: Path) -> None:
    stored = read(place_of(folder, trained(name)))
    assert essence(stored) == essence(trained(name))


@pytest.mark.parametrize("name", ONCE)
def test_an_interrupted_run_ends_bit_identical(
    name: str,
    trained: Callable[[str], Record],
    folder: Path,
    tmp_path: Path,
    tiny_data: Path,
    tiny_protocol: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Interrupted, which saves a checkpoint, and killed, which leaves that of the last iteration."""
    straight = read(place_of(folder, trained(name)))
    monkeypatch.setattr("benchmark.training.trainer.CHECKPOINT_SECONDS", 0.0)  # a checkpoint after every iteration
    broken = job_of(tiny_protocol(), tiny_data, tmp_path, name)
    for step, how in ((2, Killed), (5, KeyboardInterrupt), (6, Killed), (9, KeyboardInterrupt)):
        with pytest.raises(how):
            train_and_record(broken, stop_at(step, how))
        assert broken.checkpoint.exists()
        assert not broken.record.exists()
    resumed = train_and_record(broken)
    assert essence(resumed) == essence(straight)
    mended = read(broken.record)
    for one, other in zip(confusions(straight)[0].values(), confusions(mended)[0].values(), strict=True):
        assert np.array_equal(one, other)
    assert (straight.delta, straight.decoder) == (mended.delta, mended.decoder)
    assert not broken.checkpoint.exists()


def test_a_run_stopped_in_an_evaluation_or_after_its_last_step_ends_bit_identical(
    trained: Callable[[str], Record],
    folder: Path,
    tmp_path: Path,
    tiny_data: Path,
    tiny_protocol: Callable[..., Path],
) -> None:
    straight = read(place_of(folder, trained("lora")))
    broken = job_of(tiny_protocol(), tiny_data, tmp_path, "lora")

    def stop_evaluation(event: Event) -> None:
        if isinstance(event, ImageEvaluated):
            raise KeyboardInterrupt

    for notify in (stop_evaluation, stop_evaluation, stop_at(12, KeyboardInterrupt), stop_evaluation):
        with pytest.raises(KeyboardInterrupt):
            train_and_record(broken, notify)
        assert broken.checkpoint.exists()
    assert essence(train_and_record(broken)) == essence(straight)
    mended = read(broken.record)
    assert (mended.examples, mended.tuned, mended.decoder) == (straight.examples, straight.tuned, straight.decoder)


def test_a_checkpoint_of_other_conditions_is_not_resumed(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    old = job_of(tiny_protocol(), tiny_data, tmp_path, "full")
    with pytest.raises(KeyboardInterrupt):
        train_and_record(old, stop_at(8, KeyboardInterrupt))
    new = job_of(tiny_protocol(batch=1), tiny_data, tmp_path, "full")
    assert new.checkpoint == old.checkpoint
    steps: list[int] = []
    train_and_record(new, lambda event: steps.append(event.step) if isinstance(event, Step) else None)
    assert steps[0] == 1


def test_a_damaged_checkpoint_is_ignored(tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]) -> None:
    job = job_of(tiny_protocol(), tiny_data, tmp_path, "freeze")
    job.checkpoint.parent.mkdir(parents=True)
    job.checkpoint.write_bytes(b"not a checkpoint")
    assert train_and_record(job).state == "finished"


def test_another_seed_has_other_crops_and_another_decoder(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    path = tiny_protocol()
    first, second = (Experiment(job_of(path, tiny_data, tmp_path, "full", seed)) for seed in (0, 1))
    assert first.batches_hash() != second.batches_hash()
    assert first.decoder_hash != second.decoder_hash
    assert first.data_hash() == second.data_hash()
    assert first.weights_hash == second.weights_hash


def test_a_loss_that_is_not_finite_is_recorded_as_failure(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = torch.optim.AdamW.step

    def explode(self: torch.optim.AdamW, closure: Any = None) -> Any:
        result = step(self, closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.fill_(float("nan"))
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", explode)
    job = job_of(tiny_protocol(), tiny_data, tmp_path, "full")
    record = train_and_record(job)
    assert record.state == "failed"
    assert record.error is not None
    assert re.search(r"iteration 2 \(phase warm-up\); .* 2\.\d+", record.error)
    assert [step for step, _ in record.losses] == [1]
    assert read(job.record).state == "failed"


def test_schedule_is_polynomial_after_a_linear_warm_up(tiny_protocol: Callable[..., Path]) -> None:
    fixed = protocol.load(str(tiny_protocol(lr_warmup=4)))
    assert schedule(fixed, 0) == pytest.approx(1 / 4)
    assert schedule(fixed, 3) == pytest.approx((1 - 3 / 12) ** 0.9)
    assert schedule(fixed, 11) == pytest.approx((1 / 12) ** 0.9)
    assert evaluation_steps(fixed) == {6, 12}


class Greedy(Method):
    label, source = "greedy", "none"

    def attach(self, backbone: Any, rng: torch.Generator) -> None: ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        return []

    def phases(self, budget: Budget) -> tuple[Phase, ...]:
        return (Phase("tune", budget.iterations + 1),)


def test_a_method_cannot_take_more_iterations_than_the_protocol_leaves(tiny_protocol: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="its phases take 10 iterations of the 9"):
        timeline(Greedy(settings=object()), protocol.load(str(tiny_protocol())))
