"""Eq. 10-14: precisions of a variational posterior, for problems with known solution."""

from __future__ import annotations

import gc
import io

import pytest
import torch
from torch import Tensor, nn

from benchmark.method import UserError
from methods.fishertune.variational import IN_UPDATE, Variational


def spread_matrix(size: int) -> Tensor:
    """A positive definite matrix with off-diagonal entries and a diagonal over two orders of magnitude."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    scale = torch.logspace(-1, 0, size, dtype=torch.float64)
    return scale[:, None] * (0.15 * root @ root.T / size + torch.eye(size)) * scale


def fit(estimator: Variational, loss: object, steps: int) -> None:
    for step in range(steps):
        estimator.update(loss, step)  # type: ignore[arg-type]


def test_precisions_of_a_quadratic_give_its_hessian() -> None:
    hessian = spread_matrix(8)
    weight = nn.Parameter(torch.randn(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    slope = torch.ones(8, dtype=torch.float64)  # not at the minimum: the antithetic pair must cancel the slope

    def loss() -> Tensor:
        flat = weight.flatten()
        return (0.5 * flat @ hessian @ flat + slope @ flat).expand(1)

    estimator = Variational({"w": weight}, tau=0.5, gamma=0.3)
    fit(estimator, loss, 4000)
    found = 0.3 * (estimator.precision()["w"] - 1 / 0.5**2)
    torch.testing.assert_close(found.flatten(), hessian.diagonal(), rtol=0.05, atol=0)
    torch.testing.assert_close(estimator.fisher("w"), found)
    assert estimator.convergence() > 0.99


def test_precisions_of_logistic_regression_give_its_fisher_information() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)
    x = torch.randn(200, 4, generator=generator, dtype=torch.float64) * scale
    weight = nn.Parameter(torch.tensor([[0.7, -0.5, 0.3, 0.2]], dtype=torch.float64))
    p = torch.sigmoid(x @ weight[0]).detach()
    fisher = ((p - p**2)[:, None] * x**2).mean(0)
    estimator = Variational({"w": weight}, tau=0.05, gamma=1e-3)
    for step in range(5000):
        y = (torch.rand(200, generator=generator) < p).double()

        def losses(y: Tensor = y) -> Tensor:
            return nn.functional.binary_cross_entropy_with_logits(x @ weight[0], y, reduction="none")

        estimator.update(losses, step)
    torch.testing.assert_close(estimator.fisher("w")[0], fisher, rtol=0.05, atol=0)


def test_without_evidence_precisions_equal_the_prior() -> None:
    used, unused = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2, 3))
    dead = torch.tensor([1.0, 1.0, 0.0])
    estimator = Variational({"used": used, "unused": unused}, tau=0.1)
    fit(estimator, lambda: (used * dead).square().sum().expand(1), 50)
    assert torch.equal(estimator.precision()["unused"], torch.full((2, 3), 1 / 0.1**2))
    assert torch.equal(estimator.precision()["used"][:, 2], torch.full((2,), 1 / 0.1**2))
    assert bool((estimator.precision()["used"][:, :2] > 1 / 0.1**2).all())
    assert not estimator.fisher("unused").any()


def test_weights_are_restored_bit_for_bit_even_if_the_loss_fails() -> None:
    weight = nn.Parameter(torch.randn(20, 30, generator=torch.Generator().manual_seed(0)))
    before = weight.detach().clone()
    estimator = Variational({"w": weight}, tau=0.1)
    estimator.update(lambda: weight.pow(4).sum().expand(1), 0)
    assert torch.equal(weight, before)

    def fails() -> Tensor:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        estimator.update(fails, 1)
    assert torch.equal(weight, before)


def test_gamma_follows_from_prior_and_mean_curvature() -> None:
    weight = nn.Parameter(torch.randn(40, 50, dtype=torch.float64))
    estimator = Variational({"w": weight}, tau=0.2, prior=0.5)
    estimator.update(lambda: (3 * weight.square()).sum().expand(1), 0)  # curvature 6 everywhere
    assert estimator.gamma is not None
    assert estimator.gamma / 0.2**2 == pytest.approx(0.5 * 6, rel=0.2)


def test_negative_curvature_stays_near_the_prior() -> None:
    weight = nn.Parameter(torch.ones(3, 4))
    estimator = Variational({"w": weight}, tau=0.1, gamma=1e-3)
    fit(estimator, lambda: (-50 * weight.square()).sum().expand(1), 300)  # 1000 times the prior's γτ⁻²
    assert not estimator.fisher("w").any()
    assert bool((estimator.precision()["w"] > 1e-6 / 0.1**2).all())


def test_a_constant_loss_leaves_everything_at_the_prior() -> None:
    weight = nn.Parameter(torch.ones(2, 3))
    estimator = Variational({"w": weight}, tau=0.1)
    fit(estimator, lambda: (0 * weight).sum().expand(1), 3)
    assert not estimator.fisher("w").any()
    assert estimator.convergence() == 0


def test_convergence_rises_with_evidence() -> None:
    hessian = spread_matrix(40)
    weight = nn.Parameter(torch.zeros(1, 40, dtype=torch.float64))
    seen = []
    for steps in (2, 20, 500):
        estimator = Variational({"w": weight}, tau=0.5, gamma=0.3)
        fit(estimator, lambda: (0.5 * weight[0] @ hessian @ weight[0]).expand(1), steps)
        seen.append(estimator.convergence())
    assert seen == sorted(seen)
    assert seen[0] < 0.7 < 0.95 < seen[-1]


def test_the_same_noise_gives_the_same_estimate_also_when_resumed() -> None:
    weight = nn.Parameter(torch.randn(5, 6, generator=torch.Generator().manual_seed(0)))
    mix = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))

    def loss() -> Tensor:
        return (weight @ mix).pow(4).sum().expand(1)

    straight, first, second = (Variational({"w": weight}, tau=0.1) for _ in range(3))
    fit(straight, loss, 6)
    fit(first, loss, 3)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    for step in range(3, 6):
        second.update(loss, step)
    assert torch.equal(straight.fisher("w"), second.fisher("w"))


def test_a_non_finite_gradient_is_refused_by_name_and_weights_are_restored() -> None:
    weight = nn.Parameter(torch.ones(2, 3))
    estimator = Variational({"blocks.0.w": weight}, tau=0.1)
    with pytest.raises(UserError, match=r"blocks\.0\.w is not finite"):
        estimator.update(lambda: (weight * 1e30).pow(3).sum().expand(1), 0)
    assert estimator.count == 0
    assert torch.equal(weight, torch.ones(2, 3))
    assert not estimator.fisher("blocks.0.w").any()


def test_an_update_keeps_as_many_values_as_the_plan_counts() -> None:
    """Besides the weight, its gradient and its precision."""
    weight = nn.Parameter(torch.ones(37, 41))
    kept = []

    def loss() -> Tensor:
        kept.append(sum(isinstance(each, Tensor) and each.shape == weight.shape for each in gc.get_objects()))
        return weight.square().sum().expand(1)

    Variational({"w": weight}, tau=0.1).update(loss, 0)
    assert kept == [IN_UPDATE + 2, IN_UPDATE + 3]  # the first pass has no gradient yet
