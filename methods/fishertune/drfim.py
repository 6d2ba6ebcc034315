"""DR-FIM, the domain-related Fisher information (Eq. 5, 7, 15): which weights matter here and would move there.

The paper leaves four points open; each is a switch, and this is why the defaults are what they are. Numbers are
the overlap of the chosen 5 % between two independent estimates from 256 source images each, on an early
vit-tiny-streets with a warmed-up decoder; no target image and no score after tuning had a part in them.

*Unit.* F has the unit of the squared loss: 1e-9 where labels are drawn and the loss is a mean over pixels, 1e-6
for true labels. Against the former ε = 1e-8 is no guard but a bound. Unless the sum is literal, F is first
divided by its mean, so that neither ε nor the prior depends on how a loss is averaged.

*Scale.* F and ΔF have no common scale, so one of them decides alone: ΔF where F is 1e-9 (``none``), F once it is
divided by its mean or median (99 to 100 % of the choice). ``rank`` replaces each by the share of weights that
have less of it, and both count: 80 % of the choice is also F's, 46 % also ΔF's.

*Bounded ratio.* Where F is nearly 0, ΔF is noise over nothing. Eq. 15 writes the ratio in precisions, which a
prior bounds: with F = γ(Λ - τ⁻²) (Eq. 14), |ΔΛ| / min Λ = |ΔF| / (min F + γτ⁻²). ``prior`` is this γτ⁻² in
units of the mean F; 0 gives Eq. 5, which is also what an exact substitution of Eq. 14 into Eq. 7 gives. At 1, a
weight of average F counts half as evidence and half as prior, and the overlap rises from 61 % to 76 % (F alone:
91 %).

*Draws.* F(x) and F(x') are averaged over all batches before the ratio is taken, and so is exp(-(ε_μ + ε_σ)):
a ratio of means, not a mean of ratios, since each batch's ratio is mostly noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from methods.fishertune.computed import Computed
from methods.fishertune.ranks import ranking

EPS = 1e-8  # Eq. 5


def delta_f(seen: Mapping[str, Tensor], shifted: Mapping[str, Tensor], prior: float) -> Computed:
    """Return ΔF = |F(x) - F(x')| / (min(F(x), F(x')) + floor) (Eq. 5, 15), one value per weight.

    Args:
        seen: F(x) by name.
        shifted: F(x') by name.
        prior: γτ⁻² in units of the mean of F(x); the floor is this plus ε = 1e-8.
    """
    change = _change(seen, prior)
    return Computed(seen, lambda name: change(seen[name], shifted[name]))


def _change(seen: Mapping[str, Tensor], prior: float) -> Callable[[Tensor, Tensor], Tensor]:
    floor = prior * mean(seen) + EPS
    return lambda here, there: (here - there).abs() / (torch.minimum(here, there) + floor)


def drf(
    seen: Mapping[str, Tensor],
    shifted: Mapping[str, Tensor],
    damping: float,
    *,
    prior: float,
    scale: str,
) -> Computed:
    """Return DRF = F + exp(-(ε_μ + ε_σ)) ΔF (Eq. 7), one value per weight.

    Args:
        seen: F(x) by name.
        shifted: F(x') by name.
        damping: exp(-(ε_μ + ε_σ)), averaged over draws.
        prior: see :func:`delta_f`.
        scale: ``rank``, ``median`` (of the values that are not 0) or ``none``.
    """
    change = _change(seen, prior)
    first = scaling(seen.values(), scale)
    second = scaling((change(seen[name], shifted[name]) for name in seen), scale)

    def score(name: str) -> Tensor:
        here, there = seen[name], shifted[name]
        return first(here) + damping * second(change(here, there))

    return Computed(seen, score)


def in_units(values: Mapping[str, Tensor], unit: float) -> Computed:
    """Return the values in units of ``unit``, which must not be 0."""
    return Computed(values, lambda name: values[name] / unit)


def same_scale(values: Mapping[str, Tensor], scale: str) -> Computed:
    """Return the values as ``scale`` has them, see :func:`scaling`."""
    scaled = scaling(values.values(), scale)
    return Computed(values, lambda name: scaled(values[name]))


def scaling(values: Iterable[Tensor], scale: str) -> Callable[[Tensor], Tensor]:
    """Return what ``scale`` does to a tensor: ranks it among ``values``, divides it by their median, or nothing."""
    if scale == "rank":
        return ranking(values)
    if scale == "median":
        positive = torch.cat([value[value > 0] for value in values])
        unit = positive.median() if positive.numel() else torch.tensor(1.0)
        return lambda value: value / unit.to(value.device)
    return lambda value: value


def mean(values: Mapping[str, Tensor]) -> float:
    """Return the mean over all weights of all tensors."""
    total, count = 0.0, 0
    for value in values.values():
        total += value.double().sum().item()
        count += value.numel()
    return total / max(count, 1)
