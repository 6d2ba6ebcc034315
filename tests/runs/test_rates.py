"""The rates of a search: the best of those tried, wider grids, and the rates of full length."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.method import setting
from benchmark.runs import rates

LORA = rates.allowed("lora")


@pytest.mark.parametrize("text", ["", "a", "1e-3,", "0", "1.01", "-1e-3", "nan", "inf"])
def test_invalid_rates_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--rates"):
        rates.parse(text)


def test_rates_are_sorted_and_unique() -> None:
    assert rates.parse("1, 1e-3,0.001,2e-5") == [2e-5, 1e-3, 1.0]


@pytest.mark.parametrize(
    ("tried", "best"),
    [
        ({1e-4: 0.4, 1e-3: 0.6, 1e-2: 0.5}, 1e-3),
        ({1e-4: 0.4, 1e-3: 0.6, 1e-2: None}, 1e-3),
        ({1e-4: 0.6, 1e-3: 0.6, 1e-2: 0.6, 1e-1: 0.6}, 1e-3),  # inside, then lower
        ({1e-4: 0.6, 1e-3: 0.5, 1e-2: 0.6}, 1e-4),
        ({1e-4: None, 1e-3: None}, None),
        ({}, None),
    ],
)
def test_the_best_rate(tried: dict[float, float | None], best: float | None) -> None:
    assert rates.best(tried) == best


@pytest.mark.parametrize(
    ("tried", "new"),
    [
        ({1e-6: 0.6, 1e-5: 0.5}, [1e-7]),
        ({1e-2: 0.5, 1e-1: 0.6}, [1.0]),
        ({1e-2: 0.4, 1e-1: 0.5, 1.0: 0.6}, []),  # at the limit
        ({1e-3: 0.6}, [1e-4, 1e-2]),  # one rate is both ends
        ({1e-6: 0.6, 1e-5: 0.6, 1e-4: 0.5}, []),  # a rate inside is as good
        ({1e-6: 0.5, 1e-5: 0.6, 1e-4: 0.5}, []),
        ({1e-3: 0.6, 1e-2: None}, [1e-4]),
        ({1e-3: None, 1e-2: None}, []),
    ],
)
def test_a_best_rate_at_an_end_widens_the_grid(tried: dict[float, float | None], new: list[float]) -> None:
    assert rates.wider(tried, LORA) == new


@given(st.floats(-7, 0), st.lists(st.sampled_from([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]), min_size=1, unique=True))
def test_widening_ends_with_the_best_rate_inside_or_at_the_limit(peak: float, grid: list[float]) -> None:
    def score(rate: float) -> float:
        return 1 / (1 + abs(rate - 10**peak) / rate)

    tried = {rate: score(rate) for rate in grid}
    while new := rates.wider(tried, LORA):
        assert not set(new) & set(tried)
        tried |= {rate: score(rate) for rate in new}
    best = rates.best(tried)
    assert best is not None
    assert best == 1.0 or min(tried) < best < max(tried)


@pytest.mark.parametrize(
    ("rate", "tries"),
    [
        (1e-4, [3e-5, 1e-4, 3e-4]),
        (3e-4, [1e-4, 3e-4, 1e-3]),
        (9.99e-4, [3e-4, 9.99e-4, 1e-3]),
        (1e-9, [3e-10, 1e-9, 3e-9]),
        (1.0, [0.1, 0.3, 1.0]),  # none above
    ],
)
def test_the_rates_of_full_length(rate: float, tries: list[float]) -> None:
    assert rates.beside(rate, LORA) == tries


def test_a_methods_limits_bound_its_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    class Narrow(registry.find("method", "lora").Settings):  # type: ignore[misc]
        lr: float = setting(1e-3, "ours", "for this test", ge=1e-3, le=1e-1)

    class Own(registry.find("method", "lora")):  # type: ignore[misc]
        Settings: Any = Narrow

    find = registry.find
    monkeypatch.setattr(registry, "find", lambda kind, name: Own if name == "narrow" else find(kind, name))
    allowed = rates.allowed("narrow")
    assert [rate for rate in (1e-4, 1e-3, 1e-2, 1e-1, 1.0) if allowed(rate)] == [1e-3, 1e-2, 1e-1]
    assert rates.wider({1e-3: 0.9, 1e-2: 0.8}, allowed) == []
    assert rates.beside(1e-3, allowed) == [1e-3, 3e-3, 1e-2]
