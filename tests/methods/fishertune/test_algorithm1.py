"""Algorithm 1 through the method interface: estimate, select, tune."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from benchmark import protocol
from benchmark.common import registry
from benchmark.method import Budget, Phase, UserError
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from benchmark.runs.spec import RunSpec
from methods.ablations.fishertune_per_sample import FisherTunePerSample
from methods.fishertune import FisherTune
from methods.fishertune import estimates as algorithm
from methods.fishertune.fisher import sample_labels, sample_losses
from tests.methods.fishertune.small_runs import Run, build, estimation

pytestmark = pytest.mark.slow

Settings = FisherTune.Settings


def tune(iterations: int = 12, seed: int = 0, family: str = "plain", **settings: Any) -> Run:
    """Return a run whose estimate takes its steps from the ``iterations``."""
    base: dict[str, Any] = {"lr": 1e-2, "budget": "shared", "estimation": 0.35, "estimator": "per-sample"}
    return Run(FisherTune(Settings(**base | settings)), iterations, seed, family)


def flat(masks: dict[str, Tensor]) -> Tensor:
    return torch.cat([mask.flatten() for mask in masks.values()])


@pytest.mark.parametrize("family", ["plain", "layerscale", "eva-fused", "eva-separate", "swiglu"])
def test_unselected_weights_stay_bit_identical(family: str) -> None:
    run = tune(family=family)
    before = run.weights()
    run.finish()
    for name, after in run.weights().items():
        mask = run.selected()[name]
        assert torch.equal(after[~mask], before[name][~mask]), name
    assert any(bool((after != before[name]).any()) for name, after in run.weights().items())


def test_the_selection_grows_from_start_to_end_and_never_shrinks() -> None:
    run = tune()
    total = sum(parameter.numel() for parameter in run.segmenter.backbone.parameters())
    estimating = run.phases[0].iterations
    assert not flat(run.advance(estimating).selected()).any()
    sets = [flat(run.advance(1).selected()) for _ in range(run.iterations - estimating)]
    assert int(sets[0].sum()) == round(0.01 * total)
    assert int(sets[-1].sum()) == round(0.05 * total) == run.method.trainable()
    assert all(bool((later >= earlier).all()) for earlier, later in itertools.pairwise(sets))
    assert len({int(chosen.sum()) for chosen in sets}) > 3


def test_the_literal_schedule_shrinks() -> None:
    run = tune(schedule="literal")
    run.advance(run.phases[0].iterations + 1)
    first = flat(run.selected())
    last = flat(run.finish().selected())
    assert bool((last <= first).all())
    assert int(first.sum()) == run.method.trainable() > int(last.sum())


def test_nothing_is_written_while_estimating() -> None:
    run = tune()
    before = run.weights()
    run.advance(run.phases[0].iterations)
    assert all(torch.equal(value, before[name]) for name, value in run.weights().items())


def test_the_seed_determines_the_mask() -> None:
    one, same, other = (flat(tune(seed=seed).finish().selected()) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    "given",
    [
        {"criterion": "f"},
        {"criterion": "delta-f"},
        {"estimator": "per-batch"},
        {"estimator": "variational"},
        {"estimator": "variational", "tau": 0.3},
        {"labels": "ground-truth"},
        {"place": "pixels"},
        {"place": 0},
        {"noise": "batch"},
        {"noise": "sample"},
        {"deviations": "population"},
        {"shifted_labels": "redrawn"},
        {"damping": "signed"},
        {"damping_per": "batch", "noise": "batch"},
        {"damping_per": "sample", "noise": "sample"},
        {"criterion": "random"},
        {"scale": "median"},
        {"scale": "none"},
        {"prior": 0.0},
        {"ranking": "per-tensor"},
        {"groups": ("v", "ffn"), "share": 0.05},
        {"share": 0.03},
        {"estimation": 0.6},
        {"reading": "literal"},
    ],
)
def test_every_hyperparameter_changes_the_selection(given: dict[str, Any]) -> None:
    assert not torch.equal(flat(tune().finish().selected()), flat(tune(**given).finish().selected()))


def test_only_weights_of_the_groups_are_selected() -> None:
    run = tune(groups=("k",), share=0.03).finish()
    assert set(run.method.report()["chosen"]) == {"k"}
    for name, mask in run.selected().items():
        if "qkv.weight" in name:
            assert not mask[:24].any()
            assert not mask[48:].any()
        else:
            assert not mask.any()


@pytest.mark.parametrize("estimator", ["per-sample", "variational"])
@pytest.mark.parametrize("stop", [1, 3, 4, 7])
def test_a_resumed_run_ends_bit_identical(stop: int, estimator: str) -> None:
    straight = tune(estimator=estimator).finish()
    first = tune(estimator=estimator).advance(stop)
    buffer = io.BytesIO()
    states = [first.segmenter.state_dict(), first.method.state_dict(), first.optimizer.state_dict()]
    torch.save(states, buffer)
    buffer.seek(0)
    second = tune(estimator=estimator)
    loaded = torch.load(buffer, weights_only=True)
    second.segmenter.load_state_dict(loaded[0])
    second.method.load_state_dict(loaded[1])
    second.optimizer.load_state_dict(loaded[2])
    second.step = stop
    second.finish()
    assert torch.equal(flat(straight.selected()), flat(second.selected()))
    for name, value in straight.weights().items():
        assert torch.equal(value, second.weights()[name])
    assert straight.method.report() == second.method.report()


def test_the_report_is_json_and_counts_the_cost() -> None:
    run = tune().finish()
    report = json.loads(json.dumps(run.method.report()))
    estimating = run.phases[0].iterations
    assert report["gradient_evaluations"] == estimating * 2 * 4
    assert 0 < report["overlap_of_halves"] < 1
    assert sum(map(sum, report["chosen"].values())) == run.method.trainable()
    assert report["without_gradient"] == []
    assert report["mean_fisher"] > 0


def test_the_variational_estimate_costs_twice_and_reports_its_convergence() -> None:
    run = tune(estimator="variational").finish()
    assert run.method.report()["gradient_evaluations"] == 2 * tune().finish().method.report()["gradient_evaluations"]
    assert 0 <= run.method.report()["convergence"] < 1


@pytest.mark.parametrize(("estimator", "prior"), [("per-sample", 0.0), ("variational", 1.0)])
def test_the_literal_reading_sets_fields_that_are_not_given(estimator: str, prior: float) -> None:
    """A posterior cannot be fitted without its prior, so there Eq. 15 with the prior is the literal reading."""
    settings = Settings.model_validate({"reading": "literal", "scale": "median", "estimator": estimator})
    found = (settings.damping, settings.scale, settings.prior, settings.schedule)
    assert found == ("signed", "median", prior, "literal")


@pytest.mark.parametrize(("iterations", "estimating"), [(2, 1), (3, 2), (18, 2), (400, 40)])
def test_both_phases_fit_any_number_of_iterations(iterations: int, estimating: int) -> None:
    phases = FisherTune(Settings(budget="shared")).phases(Budget(iterations, 1, 8))
    assert [phase.iterations for phase in phases] == [estimating, iterations - estimating]


@pytest.mark.parametrize(
    ("iterations", "share", "lengths"),
    [(40000, 0.1, [4000, 4000, 32000]), (3, 0.1, [1, 1, 1]), (40, 0.5, [20, 4, 16]), (40, 0.0, [4, 36])],
)
def test_without_a_warm_up_in_the_protocol_a_decoder_phase_comes_first(
    iterations: int, share: float, lengths: list[int]
) -> None:
    method = FisherTune(Settings(decoder_first=share, budget="shared"))
    phases = method.phases(Budget(iterations, 0, 8))
    assert [phase.iterations for phase in phases] == lengths
    assert phases[-2:] == (
        Phase("estimate", lengths[-2], backbone=False, decoder=False, estimate=True, passes=4),
        Phase("tune", lengths[-1]),
    )
    assert phases[:-2] == ((Phase("decoder", lengths[0], backbone=False),) if share else ())
    # With one iteration of decoder warm-up in the protocol, no phase is added.
    without = FisherTune(Settings(decoder_first=0.0, budget="shared"))
    assert method.phases(Budget(iterations, 1, 8)) == without.phases(Budget(iterations, 0, 8))


def test_without_a_warm_up_the_loop_trains_the_decoder_first(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    lengths = {}
    for warmup in (0, 3):
        path = tiny_protocol(decoder={"channels": 8, "lr": 1e-3, "warmup": warmup}, iterations=40)
        fixed = protocol.load(str(path))
        job = Job(RunSpec(fixed, "vit-tiny-random", "fishertune", 0, {"images": 8}), tiny_data, tmp_path / str(warmup))
        record = train_and_record(job)
        assert record.settings["decoder_first"] == 0.1
        assert record.origins["decoder_first"] == "ours"
        lengths[warmup] = [name for name in record.seconds if name != "evaluation"]
    assert lengths == {0: ["decoder", "estimate", "tune"], 3: ["warm-up", "estimate", "tune"]}


def test_a_single_estimation_step_is_enough() -> None:
    run = tune(iterations=2).finish()
    assert run.method.report()["overlap_of_halves"] is None
    assert int(flat(run.selected()).sum()) == run.method.trainable()


def test_one_iteration_is_refused() -> None:
    with pytest.raises(UserError, match=r"fishertune: 1 iterations .*at least 2"):
        FisherTune(Settings(budget="shared")).phases(Budget(1, 1, 8))
    with pytest.raises(UserError, match=r"fishertune: 2 iterations .*\(1\).*at least 3"):
        FisherTune(Settings(budget="shared")).phases(Budget(2, 0, 8))


@pytest.mark.parametrize(
    "wrong",
    [
        {"estimator": "variational", "prior": 0.0},
        {"share": 0.0},
        {"share": 1.2},
        {"share_start": 0.2},
        {"prior": -1.0},
        {"place": "head"},
        {"scal": "rank"},
        {"images": 0},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": "threshold-value", "ranking": "per-tensor"},
        {"schedule": "threshold-percentile", "ranking": "per-tensor"},
        {"damping_per": "sample", "noise": "batch"},
        {"labels": "ground-truth", "shifted_labels": "redrawn"},
        {"estimator": "variational", "prior": 0.0},
    ],
)
def test_readings_that_contradict_each_other_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(**wrong)
    assert all(name in str(caught.value) for name in wrong)


@pytest.mark.parametrize("labels", ["same", "redrawn"])
def test_shifted_images_get_the_same_labels_unless_redrawn(labels: Literal["same", "redrawn"]) -> None:
    """With labels drawn for x, F(x') is that of (x', y); computed here from the same y by a second method."""
    method = FisherTune(Settings(shifted_labels=labels, estimator="per-sample", place="pixels"))
    segmenter = build()
    method.attach(segmenter.backbone, torch.Generator())
    given = estimation(segmenter, 0, 1)
    method.observe_batch(given)
    shifted = method.state_dict()["estimates"]["shifted"][0]["sums"]

    again = estimation(segmenter, 0, 1)
    uniforms = torch.rand(again.labels.shape, generator=again.rng)
    torch.randint(2**62, (), generator=again.rng)  # the seed of the estimator
    with method._domain.entered(again.rng):
        moved = method._domain.images(again.images)
    drawn = sample_labels(segmenter(again.images if labels == "same" else moved), uniforms)
    name, weight = next(iter(method._matrices.items()))
    total = torch.zeros_like(weight)
    for image, label in zip(moved, drawn, strict=True):
        loss = sample_losses(segmenter(image[None]), label[None])
        total += torch.autograd.grad(loss.sum(), weight)[0].square()
    torch.testing.assert_close(shifted[name], total, rtol=1e-3, atol=1e-3 * total.max().item())


@pytest.mark.parametrize("estimator", ["per-sample", "variational"])
def test_a_larger_shift_counts_less_in_delta_f_if_each_sample_is_damped(estimator: str) -> None:
    """The weighted estimate on x is Σ w_i F_i with w_i = exp(-|ε_μ,i| - |ε_σ,i|); with one image, w F."""
    base: dict[str, Any] = {"estimator": estimator, "noise": "sample"}
    whole, damped = (FisherTune(Settings(**base, damping_per=per)) for per in ("estimate", "sample"))
    for method in (whole, damped):
        segmenter = build()
        method.attach(segmenter.backbone, torch.Generator())
        given = estimation(segmenter, 0, 1)
        method.observe_batch(replace(given, images=given.images[:1], labels=given.labels[:1]))
    mine, theirs = damped._estimates, whole._estimates
    assert mine is not None
    assert theirs is not None
    assert mine.damping() == pytest.approx(theirs.damping())
    name = next(iter(damped._matrices))
    expected = theirs.seen[0].fisher(name)
    torch.testing.assert_close(mine.seen[0].fisher(name), expected)
    if estimator == "per-sample":
        torch.testing.assert_close(mine.weighted[0].fisher(name), mine.damping() * expected)
    assert damped.stored_values() == whole.stored_values() * 3 / 2
    assert mine.evaluations == theirs.evaluations * 3 / 2


def test_the_selection_never_shrinks_with_a_falling_threshold() -> None:
    sizes = {}
    for schedule in ("threshold-value", "threshold-percentile", "constant"):
        run = tune(schedule=schedule)
        run.advance(run.phases[0].iterations)
        sets = [flat(run.advance(1).selected()) for _ in range(run.iterations - run.phases[0].iterations)]
        assert all(bool((later >= earlier).all()) for earlier, later in itertools.pairwise(sets))
        sizes[schedule] = [int(chosen.sum()) for chosen in sets]
    total = sum(parameter.numel() for parameter in run.segmenter.backbone.parameters())
    assert sizes["threshold-value"][0] == sizes["threshold-percentile"][0] == round(0.01 * total)
    assert sizes["threshold-value"][-1] != sizes["threshold-percentile"][-1]
    assert len(set(sizes["constant"])) == 1
    assert sizes["constant"][0] == round(0.05 * total)


def test_more_weights_than_candidates_are_refused() -> None:
    with pytest.raises(UserError, match=r"q .*1,152; lower share"):
        tune(share=0.5, groups=("q",))


def test_a_block_after_the_last_out_index_is_never_selected() -> None:
    run = tune()
    run.segmenter.backbone.out_indices = (0,)
    run.finish()
    report = run.method.report()
    assert all(blocks[1] == 0 for blocks in report["chosen"].values())
    assert len(report["without_gradient"]) == 5


@pytest.mark.parametrize(("reading", "same"), [("reasoned", True), ("literal", False)])
def test_only_the_literal_sum_depends_on_the_unit_of_the_loss(
    reading: str, same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"reading": reading, "schedule": "widening"}
    one = flat(tune(**settings).finish().selected())
    monkeypatch.setattr(algorithm, "sample_losses", lambda *given: sample_losses(*given) * 2**10)
    other = flat(tune(**settings).finish().selected())
    assert torch.equal(one, other) is same


@pytest.mark.parametrize("estimator", ["per-sample", "per-batch", "variational"])
def test_x_and_shifted_x_share_all_other_random_numbers(estimator: str) -> None:
    """With one image, x' = x, so the estimates must be equal."""
    method = FisherTune(Settings.model_validate({"estimator": estimator}))
    segmenter = build()
    method.attach(segmenter.backbone, torch.Generator())
    given = estimation(segmenter, 0, 1)
    method.observe_batch(replace(given, images=given.images[:1], labels=given.labels[:1]))
    state = method.state_dict()
    key = "log" if estimator == "variational" else "sums"
    state = state["estimates"]
    for name, value in state["seen"][0][key].items():
        assert bool(value.any())
        torch.testing.assert_close(state["shifted"][0][key][name], value, rtol=0.05, atol=1e-3 * value.abs().max())


def test_halves_are_estimated_separately() -> None:
    run = tune(noise="batch", damping="signed")
    run.advance(run.phases[0].iterations)
    method = run.method
    assert isinstance(method, FisherTune)
    estimates = method._estimates
    assert estimates is not None
    before = [dict(estimates.scores("drf", (half,))) for half in (0, 1)]
    state = estimates.state_dict()
    state["seen"][1]["sums"] = {name: value * 3 + 1 for name, value in state["seen"][1]["sums"].items()}
    state["shifted"][1]["sums"] = {name: value * 2 for name, value in state["shifted"][1]["sums"].items()}
    state["dampings"] = [value + (step % 2) for step, value in enumerate(state["dampings"])]
    estimates.load_state_dict(state)
    after = [estimates.scores("drf", (half,)) for half in (0, 1)]
    for name, value in before[0].items():
        assert torch.equal(value, after[0][name])
        assert not torch.equal(before[1][name], after[1][name])


def test_estimates_ignore_labels_unless_requested() -> None:
    found = {}
    for labels in ("sampled", "ground-truth"):
        for shift in (0, 1):
            method = FisherTune(Settings(labels=labels, estimator="per-sample"))
            segmenter = build()
            method.attach(segmenter.backbone, torch.Generator())
            given = estimation(segmenter, 0, 1)
            given.labels.add_(shift).remainder_(5)
            method.observe_batch(given)
            found[labels, shift] = next(iter(method.state_dict()["estimates"]["seen"][0]["sums"].values()))
    assert torch.equal(found["sampled", 0], found["sampled", 1])
    assert not torch.equal(found["ground-truth", 0], found["ground-truth", 1])


def test_the_registered_rows_differ_only_in_the_estimate() -> None:
    assert registry.find("method", "fishertune") is FisherTune
    assert registry.find("method", "fishertune-per-sample") is FisherTunePerSample
    full, single = FisherTune().settings.model_dump(), FisherTunePerSample().settings.model_dump()
    assert {name for name in full if full[name] != single[name]} == {"estimator", "images"}
    assert (full["estimator"], single["estimator"]) == ("variational", "per-sample")
