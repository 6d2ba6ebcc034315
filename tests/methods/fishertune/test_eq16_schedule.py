"""Eq. 16: the fraction of weights that train, over time."""

from __future__ import annotations

import math

import pytest
import torch

from methods.fishertune.schedule import STAGES, Schedule, above_threshold, share_at, stage


@pytest.mark.parametrize(("start", "end"), [(0.01, 0.05), (0.0, 0.3), (0.05, 0.05)])
def test_widening_runs_exactly_from_start_to_end(start: float, end: float) -> None:
    shares = [share_at(step / 100, start, end) for step in range(101)]
    assert shares[0] == pytest.approx(start, abs=1e-15)
    assert shares[-1] == end
    assert shares == sorted(shares)


def test_widening_is_the_mirrored_exponential_of_the_paper() -> None:
    first, middle, last = (share_at(x, 0.01, 0.05) for x in (0.0, 0.5, 1.0))
    assert (last - middle) / (last - first) == pytest.approx((math.exp(-0.5) - math.exp(-1)) / (1 - math.exp(-1)))


def test_the_literal_reading_shrinks() -> None:
    shares = [share_at(step / 10, 0.01, 0.05, "literal") for step in range(11)]
    assert shares[0] == 0.05
    assert shares[-1] == pytest.approx(0.01 + 0.04 * math.exp(-1))
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(
    ("reading", "shares"),
    [
        ("widening", (0.01, 0.05 - 0.04 * (math.exp(-0.5) - math.exp(-1)) / (1 - math.exp(-1)), 0.05)),
        ("constant", (0.05, 0.05, 0.05)),
        ("literal", (0.05, 0.01 + 0.04 * math.exp(-0.5), 0.01 + 0.04 * math.exp(-1))),
        ("threshold-percentile", (0.01, 0.05 - 0.04 * math.exp(-0.5), 0.05 - 0.04 * math.exp(-1))),
    ],
)
def test_every_reading_at_the_start_the_middle_and_the_end(reading: Schedule, shares: tuple[float, ...]) -> None:
    assert [share_at(x, 0.01, 0.05, reading) for x in (0, 0.5, 1)] == pytest.approx(shares)


def test_a_falling_threshold_on_the_value_selects_more_and_more() -> None:
    """Scores 1, 1/2, 1/3, ...: δ_max is the 10th, δ_min the 100th; the threshold is known at any t."""
    scores = 1 / torch.arange(1, 101, dtype=torch.float64)
    for progress in (0, 0.5, 1):
        threshold = 1 / 100 + (1 / 10 - 1 / 100) * math.exp(-progress)
        expected = math.floor(1 / threshold + 1e-9)
        assert above_threshold(progress, scores, 10) == expected
    assert [above_threshold(x, scores, 10) for x in (0, 0.5, 1)] == [10, 15, 23]
    # The same fractions read as percentiles widen faster: the two readings differ.
    assert round(100 * share_at(1, 0.1, 1.0, "threshold-percentile")) == 67


@pytest.mark.parametrize("steps", [1, 2, 7, 33, 100, 1001])
def test_stages_are_few_and_reach_the_end_in_the_last_step(steps: int) -> None:
    found = [stage(step, steps) for step in range(steps)]
    assert found[-1] == 1
    assert steps == 1 or found[0] == 0
    assert found == sorted(found)
    assert len(set(found)) <= STAGES + 1
    assert all(abs(x - step / (steps - 1)) <= 1 / STAGES for step, x in enumerate(found[:-1]))
