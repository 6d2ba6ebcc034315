"""Failures while estimating, selecting and tuning give a clear error or a finite result."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.childtune_d import ChildTuneD
from baselines.random import Random
from benchmark import protocol
from benchmark.method import Method, UserError
from benchmark.runs import request
from methods.fishertune import FisherTune, domain
from methods.fishertune import estimates as algorithm
from methods.fishertune.fisher import sample_losses
from tests.methods.fishertune.small_runs import Run, build

pytestmark = pytest.mark.slow

ESTIMATORS = ("per-sample", "per-batch", "variational")
Break = Callable[[Run], None]


def tune(**settings: Any) -> Run:
    base: dict[str, Any] = {"budget": "shared", "estimation": 0.35, "estimator": "per-sample"}
    return Run(FisherTune(FisherTune.Settings(**base | settings)), 12)


def childtune() -> Run:
    return Run(ChildTuneD(ChildTuneD.Settings(budget="shared", estimation=0.35)), 12)


def put(name: str, value: float) -> Break:
    def change(run: Run) -> None:
        with torch.no_grad():
            run.segmenter.get_parameter(name).fill_(value)

    return change


ruin, blind = put("backbone.vit.blocks.0.mlp.fc1.bias", torch.inf), put("decoder.classify.weight", 0.0)


# -- non-finite gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_in_the_estimation_phase_the_error_names_layer_step_and_remedy(estimator: str) -> None:
    run = tune(estimator=estimator).advance(2)
    ruin(run)
    line = r"gradient of vit\.blocks\.\d\S*\.weight is not finite at estimation step 2 on x; .*learning rate"
    with pytest.raises(UserError, match=line):
        run.advance(1)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_in_the_simulated_domain_the_error_says_so(estimator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "restyle", lambda x, *noise: x * torch.inf)
    with pytest.raises(UserError, match=r"weight is not finite at estimation step 0 on x'; .*\bplace\b"):
        tune(estimator=estimator).advance(1)


def test_the_error_of_childtune_names_the_same() -> None:
    run = childtune().advance(1)
    ruin(run)
    with pytest.raises(
        UserError, match=r"childtune-d: the gradient of vit\.blocks\.\S+ is not finite at estimation step 1"
    ):
        run.advance(1)


@pytest.mark.parametrize("make", [tune, childtune, lambda: Run(Random(), 12)])
def test_in_a_resumed_run_the_error_names_layer_step_and_remedy(make: Callable[[], Run]) -> None:
    first, second = make().advance(8), make()
    buffer = io.BytesIO()
    torch.save([first.segmenter.state_dict(), first.method.state_dict(), first.optimizer.state_dict()], buffer)
    buffer.seek(0)
    states = torch.load(buffer, weights_only=True)
    second.segmenter.load_state_dict(states[0])
    second.method.load_state_dict(states[1])
    second.optimizer.load_state_dict(states[2])
    second.step = 8
    ruin(second)
    before = second.weights()
    with pytest.raises(UserError, match=r"gradient of vit\.blocks\.\d\S+ is not finite at its update \d .*; lower lr"):
        second.advance(1)
    assert all(torch.equal(value, before[name]) for name, value in second.weights().items())


# -- zero, extreme and missing gradients -------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("criterion", ["f", "delta-f", "drf"])
def test_an_all_zero_fisher_is_refused(estimator: str, criterion: str) -> None:
    run = tune(estimator=estimator, criterion=criterion)
    blind(run)
    line = r"Fisher information .* 0 after 4 estimation steps, .*decoder\.warmup"
    with pytest.raises(UserError, match=line):
        run.finish()


def test_all_zero_scores_of_childtune_are_refused() -> None:
    run = childtune()
    blind(run)
    with pytest.raises(UserError, match=r"childtune-d: .*gradients were 0 .*decoder\.warmup"):
        run.finish()


@pytest.mark.parametrize("criterion", ["f", "delta-f", "drf"])
@pytest.mark.parametrize("scale", ["rank", "median", "none"])
@pytest.mark.parametrize("power", [-70, -66, -58, -48, 30, 60, 80])
def test_extreme_losses_give_a_finite_estimate_or_one_line(
    criterion: str, scale: str, power: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Squares overflow or underflow float32 long before the loss does."""
    monkeypatch.setattr(algorithm, "sample_losses", lambda *given: sample_losses(*given) * 2.0**power)
    run = tune(criterion=criterion, scale=scale)
    if power < -50 or power > 70:
        with pytest.raises(
            UserError,
            match="Fisher information of every weight is 0" if power < 0 else "not finite at estimation step 0",
        ):
            run.finish()
    else:
        run.finish()
        assert all(bool(value.isfinite().all()) for value in run.weights().values())
        assert sum(int(mask.sum()) for mask in run.selected().values()) == run.method.trainable()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_layer_without_gradient_is_reported_and_selected_last(estimator: str) -> None:
    """If more weights are requested than have a gradient, all of those are selected, and results stay finite."""
    run = tune(estimator=estimator, share=0.3)
    run.segmenter.backbone.out_indices = (0,)
    before = run.weights()
    run.finish()
    report = run.method.report()
    assert {name.split(".")[2] for name in report["without_gradient"]} == {"1"}
    assert len(report["without_gradient"]) == 5
    assert all(report["sensitivity"][panel]["q"][1] == 0 for panel in ("fisher", "fisher_shifted"))
    after = run.weights()
    assert all(bool(value.isfinite().all()) for value in after.values())
    assert all(torch.equal(value, before[name]) for name, value in after.items() if ".blocks.1." in name)
    assert any(not torch.equal(value, before[name]) for name, value in after.items() if ".blocks.0." in name)


# -- impossible requests -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fishertune", "random", "childtune-d", "fim"])
@pytest.mark.parametrize("share", [0, 1.01, -0.5, float("nan")])
def test_a_share_outside_its_limits_is_refused_with_the_limits(method: str, share: float) -> None:
    common: dict[str, Any] = {"data_root": Path("data"), "folder": Path("runs")}
    given = {method: {"share": share}}
    (job,) = request.plan(protocol.load("streets"), "vit-tiny-streets", [method], [0], given, **common)
    with pytest.raises(UserError, match=rf"^method '{method}': share: must be above 0 and (below|at most) 1 \(got "):
        job.spec.make_method()


@pytest.mark.parametrize(("cls", "start"), [(FisherTune, {"share_start": 0}), (Random, {}), (ChildTuneD, {})])
def test_a_share_that_selects_no_weight_is_refused(cls: type[Method], start: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"share 1e-09 of .*backbone 'plain' .*raise share"):
        cls(cls.Settings.model_validate({"share": 1e-9} | start)).attach(build().backbone, torch.Generator())


@pytest.mark.parametrize("cls", [FisherTune, Random])
@pytest.mark.parametrize(("part", "value"), [("attn", nn.Identity()), ("mlp", nn.Identity())])
def test_a_block_without_projections_or_feed_forward_is_named(cls: type[Method], part: str, value: nn.Module) -> None:
    backbone = build().backbone
    setattr(backbone.blocks[1], part, value)
    with pytest.raises(UserError, match=r"backbone 'plain': block 1 lacks attn\.qkv .* or mlp layers"):
        cls().attach(backbone, torch.Generator())


def test_weights_that_no_linear_layer_uses_are_refused_with_a_remedy() -> None:
    run = tune()

    class Scaled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("...i,oi->...o", x, self.weight) + self.bias

    for module in run.segmenter.backbone.modules():
        if type(module) is nn.Linear:
            module.__class__ = Scaled
    with pytest.raises(UserError, match=r"^fishertune: .*linear layer.*estimator=per-batch"):
        run.advance(1)
