"""Phases of methods that estimate before they tune."""

from __future__ import annotations

import pytest

from baselines.childtune_d import ChildTuneD
from benchmark.method import Budget, EstimateSettings, Phase, UserError, phases_with_estimate
from methods.ablations.fishertune_per_sample import FisherTunePerSample
from methods.fishertune import FisherTune

TUNE = Phase("tune", 225)


def estimate(steps: int, passes: int = 1, *, extra: bool = True) -> Phase:
    return Phase("estimate", steps, backbone=False, decoder=False, estimate=True, extra=extra, passes=passes)


@pytest.mark.parametrize(("images", "steps"), [(256, 32), (257, 33), (1, 1)])
def test_an_estimate_of_its_own_is_sized_in_images_and_takes_no_iteration(images: int, steps: int) -> None:
    settings = EstimateSettings(images=images)
    found = phases_with_estimate(settings, Budget(225, 75, 8), method="any", passes=1)
    assert found == (estimate(steps), TUNE)


def test_a_shared_budget_takes_the_estimate_from_the_iterations() -> None:
    settings = EstimateSettings(budget="shared")
    found = phases_with_estimate(settings, Budget(225, 75, 8), method="any", passes=1)
    assert found == (estimate(22, extra=False), Phase("tune", 203))


def test_without_a_warm_up_the_decoder_trains_first_and_on_top() -> None:
    settings = EstimateSettings(images=64)
    found = phases_with_estimate(settings, Budget(40000, 0, 4), method="any", passes=1)
    assert found == (Phase("decoder", 4000, backbone=False, extra=True), estimate(16), Phase("tune", 40000))
    never = EstimateSettings(images=64, decoder_first=0.0)
    assert phases_with_estimate(never, Budget(40000, 0, 4), method="any", passes=1) == found[1:]


def test_a_shared_budget_refuses_too_few_iterations() -> None:
    with pytest.raises(UserError, match=r"any: 2 iterations .*\(1\).*at least 3"):
        phases_with_estimate(EstimateSettings(budget="shared"), Budget(2, 0, 4), method="any", passes=1)


def test_every_method_that_estimates_trains_for_all_iterations() -> None:
    budget = Budget(225, 75, 8)
    assert ChildTuneD().phases(budget) == (estimate(32), TUNE)
    assert FisherTunePerSample().phases(budget) == (estimate(32, 2), TUNE)
    assert FisherTune().phases(budget) == (estimate(64, 4), TUNE)
    weighted = FisherTune.Settings(damping_per="sample", noise="sample")
    assert FisherTune(weighted).phases(budget) == (estimate(64, 6), TUNE)
    assert FisherTune(FisherTune.Settings(criterion="random")).phases(budget) == (TUNE,)
