"""WiSE-FT: the interpolated weights in closed form, the choice of α, resumption, and sparse base methods."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from baselines.childtune_d import ChildTuneD
from baselines.full import Full
from baselines.lora import LoRA
from baselines.random import Random
from baselines.rein import Rein
from baselines.wise_ft import METHOD, best, interpolated
from benchmark.common.rng import torch_rng
from benchmark.method import Method, UserError
from benchmark.models.backbone import Backbone
from benchmark.models.segmenter import Segmenter
from benchmark.training.progress import Progress
from benchmark.training.trainer import Trainer
from tests.backbones import tiny_backbone
from tests.baselines.reference import attached
from tests.small import Head, OneBatch, bits, protocol

GRID = [step / 10 for step in range(11)]


def values(backbone: Backbone) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in backbone.named_parameters()}


def displaced(kind: str, **settings: Any) -> tuple[Method, Backbone, dict[str, Tensor], dict[str, Tensor]]:
    """Return an attached method, its backbone in float64 with noise on every weight, and the weights before, after."""
    made = METHOD(METHOD.Settings(**settings))
    backbone = attached(made, kind)
    before = values(backbone)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made, backbone, before, values(backbone)


@pytest.mark.parametrize("kind", ["plain", "eva02", "sam"])
def test_every_point_of_the_grid_and_the_result_are_those_of_the_closed_form(kind: str) -> None:
    made, backbone, before, after = displaced(kind)
    alphas: list[float] = []

    def score() -> float:
        alpha = GRID[len(alphas)]
        for name, parameter in backbone.named_parameters():
            wanted = (1 - alpha) * before[name] + alpha * after[name]
            assert torch.allclose(parameter, wanted, rtol=1e-12, atol=1e-12), (alpha, name)
        alphas.append(alpha)
        return 1 - (alpha - 0.3) ** 2

    made.finish(score)
    assert alphas == GRID
    report = made.report()
    assert report["alpha"] == 0.3
    assert report["wise_curve"] == [[alpha, 1 - (alpha - 0.3) ** 2] for alpha in GRID]
    for name, parameter in backbone.named_parameters():
        assert torch.allclose(parameter, 0.7 * before[name] + 0.3 * after[name], rtol=1e-12, atol=1e-12), name


@pytest.mark.parametrize("chosen", [0, 1])
def test_both_ends_of_the_grid_are_exact(chosen: int) -> None:
    made, backbone, *ends = displaced("plain", intervals=1)
    scores = iter([1.0 - chosen, float(chosen)])
    made.finish(lambda: next(scores))
    assert all(torch.equal(p, ends[chosen][name]) for name, p in backbone.named_parameters())


@pytest.mark.parametrize(
    ("scores", "alpha"),
    [([0.1, 0.2, 0.3], 1.0), ([0.1, 0.3, 0.2], 0.5), ([0.3, 0.1, 0.3], 0.0), ([0.1, 0.3, 0.3], 0.5), ([0.0] * 3, 0.0)],
)
def test_the_best_score_wins_and_the_smallest_of_equal_ones(scores: list[float], alpha: float) -> None:
    assert best([[a, score] for a, score in zip([0.0, 0.5, 1.0], scores, strict=True)]) == alpha
    made, *_ = displaced("plain", intervals=2)
    given = iter(scores)
    made.finish(lambda: next(given))
    assert made.report()["alpha"] == alpha


def test_a_finished_method_changes_nothing_more() -> None:
    made, backbone, *_ = displaced("plain", intervals=2)
    scores = iter([0.1, 0.3, 0.2])
    made.finish(lambda: next(scores))
    ended = values(backbone)
    again = METHOD(made.settings)
    again.attach(backbone, torch_rng(0, "method"))
    again.load_state_dict(made.state_dict())
    for each in (made, again):
        each.finish(lambda: pytest.fail("evaluated again"))
        assert all(torch.equal(p, ended[name]) for name, p in backbone.named_parameters())
        assert each.report() == {"alpha": 0.5, "wise_curve": [[0.0, 0.1], [0.5, 0.3], [1.0, 0.2]]}


def test_an_interrupted_evaluation_leaves_the_trained_weights() -> None:
    made, backbone, _, after = displaced("plain")

    def score() -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.finish(score)
    assert all(torch.equal(p, after[name]) for name, p in backbone.named_parameters())
    assert made.report() == {}


# -- in training -------------------------------------------------------------------------------------------


def trainer(made: Method) -> Trainer:
    segmenter = Segmenter(tiny_backbone("dinov2", drop_path_rate=0.3), Head())
    return Trainer(protocol(6, 2, decoder_lr=1e-2), 0, segmenter, made, OneBatch(), Accelerator(cpu=True))


def falling(limit: int | None = None) -> Callable[[], float]:
    """Return a score with its maximum at the fourth call; it is interrupted at call number ``limit``."""
    calls: list[int] = []

    def score() -> float:
        calls.append(len(calls))
        if len(calls) == limit:
            raise KeyboardInterrupt
        return 1 / (1 + abs(calls[-1] - 3))

    return score


def state(run: Trainer) -> dict[str, Tensor]:
    return {name: bits(tensor) for name, tensor in run.segmenter.state_dict().items()}


def settings(base: type[Method]) -> Any:
    """Return a learning rate that has an effect in a few iterations, and a short estimate if any."""
    short = {"decoder_first": 0.0, "images": 8}
    return {"lr": 1e-2, **{name: value for name, value in short.items() if name in base.Settings.model_fields}}


BASES = pytest.mark.parametrize("base", [Full, Random, ChildTuneD])


@BASES
def test_it_trains_as_its_base_and_leaves_the_decoder_as_trained(base: type[Method]) -> None:
    cls = interpolated(base, "Wise", "2022")
    assert set(cls.Settings.model_fields) == {*base.Settings.model_fields, "intervals"}
    plain, wise = trainer(base(base.Settings(**settings(base)))), trainer(cls(cls.Settings(**settings(base))))
    for run in (plain, wise):
        run.run(lambda step: {}, held_out=falling())
    assert wise.method.report()["alpha"] == 0.3
    start = values(tiny_backbone("dinov2"))
    tuned, mixed = (dict(run.segmenter.backbone.named_parameters()) for run in (plain, wise))
    untouched = 0
    for name, weight in tuned.items():
        wanted = 0.7 * start[name].double() + 0.3 * weight.detach().double()
        assert torch.allclose(mixed[name].double(), wanted, rtol=1e-6, atol=1e-7), name
        same = bits(weight) == bits(start[name])
        untouched += int(same.sum())
        assert torch.equal(bits(mixed[name])[same], bits(start[name])[same]), name
    assert untouched > 0
    for one, other in zip(*(run.segmenter.decoder.parameters() for run in (plain, wise)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("base", [Random, ChildTuneD])
def test_a_sparse_methods_changes_are_the_interpolated_values(base: type[Method]) -> None:
    cls = interpolated(base, "Wise", "2022")
    run = trainer(cls(cls.Settings(**settings(base))))
    run.run(lambda step: {}, held_out=falling())
    changes = run.method.delta()
    assert changes
    rebuilt = values(tiny_backbone("dinov2"))
    for name, (index, value) in changes.items():
        rebuilt[name].view(-1)[index.long()] = value
    assert all(torch.equal(p, rebuilt[name]) for name, p in run.segmenter.backbone.named_parameters())


@pytest.mark.parametrize("base", [Full, Random])
@pytest.mark.parametrize("interrupted", ["in training", "in its evaluations", "in the final evaluation"])
def test_an_interrupted_run_ends_bit_identical(base: type[Method], interrupted: str, tmp_path: Path) -> None:
    cls = interpolated(base, "Wise", "2022")
    straight, broken, resumed = (trainer(cls(cls.Settings(**settings(base)))) for _ in range(3))
    straight.run(lambda step: {}, held_out=falling())

    def tick(progress: Progress, losses: dict[str, float]) -> None:
        if interrupted == "in training" and progress.place == 4:
            raise KeyboardInterrupt

    def evaluate(step: int) -> dict[str, Any]:
        if interrupted == "in the final evaluation" and step == 6:
            raise KeyboardInterrupt
        return {}

    score = falling(5 if interrupted == "in its evaluations" else None)
    with pytest.raises(KeyboardInterrupt):
        broken.run(evaluate, tmp_path / "checkpoint", "key", tick, held_out=score)
    torch.rand(5)
    resumed.run(lambda step: {}, tmp_path / "checkpoint", "key", held_out=falling())
    one, other = state(straight), state(resumed)
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert resumed.method.report() == straight.method.report()


@pytest.mark.parametrize("base", [LoRA, Rein])
def test_methods_that_add_parameters_are_refused(base: type[Method]) -> None:
    cls = interpolated(base, "Wise", "2022")
    with pytest.raises(UserError, match="Wise: its base method adds parameters"):
        cls().attach(tiny_backbone("dinov2"), torch_rng(0, "method"))
