"""Eq. 5, 7, 15: ΔF, DRF, and their rescaling."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from scipy.stats import rankdata
from torch import Tensor

from benchmark.method import top_k
from methods.fishertune.drfim import delta_f, drf, mean, scaling
from methods.fishertune.ranks import ranks


def evidence(seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """F(x) and F(x') over seven orders of magnitude around 1e-8, as measured with a trained decoder."""
    generator = torch.Generator().manual_seed(seed)
    seen = {name: (torch.randn(30, 40, generator=generator) * 2 - 18.5).exp() for name in "ab"}
    shifted = {name: f * torch.randn(30, 40, generator=generator).exp() for name, f in seen.items()}
    return seen, shifted


def chosen(scores: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([mask.flatten() for mask in top_k(scores, 120).values()])


def overlap(a: Tensor, b: Tensor) -> float:
    return float((a & b).sum() / a.sum())


def test_eq_5_by_hand() -> None:
    seen, shifted = {"w": torch.tensor([[4.0, 1.0, 0.0]])}, {"w": torch.tensor([[1.0, 4.0, 0.0]])}
    torch.testing.assert_close(delta_f(seen, shifted, 0.0)["w"], torch.tensor([[3.0, 3.0, 0.0]]))


def test_eq_15_bounds_the_ratio_by_the_prior() -> None:
    seen, shifted = {"w": torch.tensor([[8.0, 0.0]])}, {"w": torch.tensor([[8.0, 2.0]])}
    assert delta_f(seen, shifted, 0.0)["w"][0, 1] == pytest.approx(2 / 1e-8)
    assert delta_f(seen, shifted, 0.5)["w"][0, 1] == pytest.approx(2 / (0.5 * 4.0), rel=1e-6)


def test_with_eq_14_the_ratio_of_precisions_is_ours() -> None:
    """|ΔΛ| / min Λ with Λ = F / γ + τ⁻² is |ΔF| / (min F + γτ⁻²)."""
    seen, shifted = ({name: f.double() for name, f in side.items()} for side in evidence())
    gamma, precision = 3e-4, 2e-4
    lambdas = [{n: f / gamma + precision for n, f in side.items()} for side in (seen, shifted)]
    found = delta_f(seen, shifted, gamma * precision / mean(seen))
    for name in seen:
        a, b = lambdas[0][name], lambdas[1][name]
        torch.testing.assert_close(found[name], (a - b).abs() / torch.minimum(a, b), rtol=0.2, atol=0)


def test_literal_eq_7_is_a_plain_sum() -> None:
    seen, shifted = evidence()
    ratio = delta_f(seen, shifted, 0.0)
    found = drf(seen, shifted, 0.3, prior=0.0, scale="none")
    for name in seen:
        torch.testing.assert_close(found[name], seen[name] + 0.3 * ratio[name])


def test_the_literal_sum_ignores_f_and_ranks_do_not() -> None:
    seen, shifted = evidence()
    by_f, by_ratio = chosen(seen), chosen(delta_f(seen, shifted, 0.0))
    literal = chosen(drf(seen, shifted, 0.2, prior=0.0, scale="none"))
    assert overlap(literal, by_ratio) > 0.95
    ranked = chosen(drf(seen, shifted, 0.2, prior=0.0, scale="rank"))
    assert 0.2 < overlap(ranked, by_f) < 0.95


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"scale": "rank"}, {"scale": "none"}),
        ({"scale": "rank"}, {"scale": "median"}),
        ({"scale": "median"}, {"scale": "none"}),
        ({"prior": 1.0}, {"prior": 0.0}),
        ({"damping": 0.2}, {"damping": 1.5}),
    ],
)
def test_each_reading_changes_the_ranking(one: dict[str, object], other: dict[str, object]) -> None:
    found = []
    for given in (one, other):
        settings: dict[str, object] = {"damping": 0.2, "prior": 1.0, "scale": "rank"} | given
        found.append(chosen(drf(*evidence(), **settings)))  # type: ignore[arg-type]
    assert overlap(*found) < 0.97


def test_ranks_are_the_empirical_distribution() -> None:
    seen, _ = evidence()
    found = ranks(seen)
    flat = torch.cat([value.flatten() for value in seen.values()])
    expected = torch.from_numpy(rankdata(flat.numpy(), method="min") - 1) / flat.numel()
    got = torch.cat([value.flatten() for value in found.values()])
    assert (got.double() - expected).abs().max() < 3 / flat.numel()
    order = flat.argsort()
    assert bool((got[order].diff() >= 0).all())
    assert got.min() >= 0
    assert got.max() < 1


def test_ranks_of_zeros_are_zero() -> None:
    found = ranks({"a": torch.zeros(5), "b": torch.tensor([0.0, 1e-30, 2.0])})
    assert found["a"].tolist() == [0.0] * 5
    assert found["b"][0] == 0
    assert found["b"][1] >= 6 / 8
    assert found["b"][2] > found["b"][1]


def test_the_median_ignores_zeros() -> None:
    values = torch.tensor([0.0, 0.0, 0.0, 2.0, 4.0, 8.0])
    assert scaling([values], "median")(values).tolist() == [0.0, 0.0, 0.0, 0.5, 1.0, 2.0]
    assert math.isfinite(scaling([torch.zeros(3)], "median")(torch.zeros(3)).sum().item())
