"""Steps on top of the protocol's iterations: they change neither the batches, nor the schedule, nor the decoder."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from benchmark.common.errors import UserError
from benchmark.method import Budget, Method, Phase
from benchmark.models.segmenter import Segmenter
from benchmark.training.progress import Progress
from benchmark.training.schedule import gradient_evaluations, phases, timeline
from benchmark.training.trainer import Trainer
from tests.backbones import tiny_backbone
from tests.small import Head, OneBatch, method, protocol

ITERATIONS = 6


def trainer(name: str, warmup: int = 0, **settings: Any) -> Trainer:
    fixed = protocol(ITERATIONS, 2, decoder_lr=1e-3)
    fixed = fixed.model_copy(update={"decoder": fixed.decoder.model_copy(update={"warmup": warmup})})
    return Trainer(fixed, 0, Segmenter(tiny_backbone("plain"), Head()), method(name, **settings), OneBatch(), cpu())


def cpu() -> Accelerator:
    return Accelerator(cpu=True)


def followed(made: Trainer) -> list[tuple[str, int, float, dict[str, Tensor]]]:
    """Run to the end; return for each step its phase, its batch, its learning rate and the decoder before it."""
    seen: list[tuple[str, int, float, dict[str, Tensor]]] = []
    step = made.step

    def observed(images: Tensor, labels: Tensor) -> dict[str, float]:
        slot = made.timeline[made.progress.place]
        made.enter(slot.phase)
        before = deepcopy(made.segmenter.decoder.state_dict())
        losses = step(images, labels)
        seen.append((slot.phase.name, slot.batch, made.optimizers["decoder"].param_groups[0]["lr"], before))
        return losses

    made.step = observed  # type: ignore[method-assign]
    made.run(lambda step: {})
    return seen


@pytest.mark.parametrize("name", ["fishertune-per-sample", "childtune-d"])
@pytest.mark.parametrize("warmup", [0, 2])
def test_training_sees_the_batches_learning_rates_and_decoder_of_a_method_without_estimate(
    name: str, warmup: int
) -> None:
    made = trainer(name, warmup, images=6, decoder_first=0.5)
    plain, found = followed(trainer("freeze", warmup)), followed(made)
    alone = 0 if warmup else 3
    estimated = [each for each in found if each[0] == "estimate"]
    on_top = [each for each in found if each[0] in ("decoder", "estimate")]
    training = [each for each in found if each not in on_top]
    assert [len(estimated), len(on_top), len(training)] == [3, 3 + alone, ITERATIONS]
    assert [each[1:3] for each in training] == [each[1:3] for each in plain]
    assert [each[1] for each in on_top] == list(range(ITERATIONS, ITERATIONS + 3 + alone))
    # The first iteration after the extra steps starts from the decoder before them.
    first, alike = (next(each for each in line if each[0] == "tune") for line in (found, plain))
    assert all(torch.equal(first[3][key], alike[3][key]) for key in alike[3])
    if not warmup:
        assert any(not torch.equal(estimated[0][3][key], alike[3][key]) for key in alike[3]), "T1 trained nothing"
    assert made.progress.place == ITERATIONS + 3 + alone
    assert made.progress.step == ITERATIONS


@pytest.mark.parametrize("stop", [1, 3, 4, 6, 9])
def test_a_run_stopped_in_or_after_its_extra_steps_resumes_bit_identically(stop: int, tmp_path: Path) -> None:
    def made() -> Trainer:
        return trainer("fishertune-per-sample", images=6, decoder_first=0.5)

    def interrupt(progress: Progress, losses: dict[str, float]) -> None:
        if progress.place == stop:
            raise KeyboardInterrupt

    straight, broken, resumed = made(), made(), made()
    straight.run(lambda step: {})
    with pytest.raises(KeyboardInterrupt):
        broken.run(lambda step: {}, tmp_path / "checkpoint", "k", interrupt)
    places: list[int] = []
    resumed.run(lambda step: {}, tmp_path / "checkpoint", "k", lambda progress, losses: places.append(progress.place))
    assert places == list(range(stop + 1, 13))
    mine, theirs = resumed.segmenter.state_dict(), straight.segmenter.state_dict()
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    assert resumed.progress.losses == straight.progress.losses


class Cheat(Method):
    """Would train its backbone longer than others."""

    label, source = "Cheat", "none"

    def attach(self, backbone: Any, rng: torch.Generator) -> None: ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        return []

    def phases(self, budget: Budget) -> tuple[Phase, ...]:
        return (Phase("more", 3, extra=True), Phase("tune", budget.iterations))


def test_an_extra_phase_that_trains_the_backbone_is_refused() -> None:
    with pytest.raises(UserError, match=r"Cheat: phase 'more'"):
        timeline(Cheat(settings=object()), protocol(ITERATIONS, 2))


def test_phases_with_the_former_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="Budget"):

        class Old(Cheat):
            def phases(self, iterations: int, warmed: int) -> tuple[Phase, ...]:  # type: ignore[override]
                return ()


def test_gradient_evaluations_count_every_pass_over_an_image() -> None:
    made = method("fishertune", images=10)
    found = gradient_evaluations(made, protocol(ITERATIONS, 2))
    assert found == {"warm-up": 0, "estimate": 5 * 2 * 4, "tune": ITERATIONS * 2}
    assert sum(phase.iterations for phase in phases(made, protocol(ITERATIONS, 2))) == ITERATIONS + 5


class Halved(Method):
    """Halves what it added, when it finishes."""

    label, source = "Halved", "none"

    def __init__(self) -> None:
        super().__init__(object())
        self.scores: list[float] = []

    def attach(self, backbone: Any, rng: torch.Generator) -> None:
        self.begin(backbone)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return []

    def finish(self, score: Any) -> None:
        self.scores.append(score())


def test_a_method_finishes_once_before_the_final_evaluation() -> None:
    made, order = Halved(), list[str]()
    fixed = protocol(ITERATIONS, 2)
    fixed = fixed.model_copy(update={"evaluation": fixed.evaluation.model_copy(update={"times": 2})})
    run = Trainer(fixed, 0, Segmenter(tiny_backbone("plain"), Head()), made, OneBatch(), cpu())

    def held_out() -> float:
        order.append("held out")
        return 0.25

    def evaluate(step: int) -> dict[str, Any]:
        order.append(f"evaluation {step}")
        return {}

    run.run(evaluate, held_out=held_out)
    assert order == ["evaluation 3", "held out", "evaluation 6"]
    assert made.scores == [0.25]
    assert "finish" in run.progress.seconds
