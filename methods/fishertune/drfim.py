"""DR-FIM, the domain-related Fisher information (Eq. 5, 7, 15): weights that matter and would change in another domain.

The paper leaves four points open. Each is a hyperparameter; the defaults are explained here. The numbers are overlaps
of the selected 5 % between two independent estimates from 256 source images each, on an early vit-tiny-streets with a
trained decoder. No target image and no evaluation after tuning was used.

*Unit.* F has the unit of the squared loss: about 1e-9 for sampled labels and a loss averaged over pixels, 1e-6 for true
labels. Compared with 1e-9, ε = 1e-8 dominates the denominator instead of only preventing division by zero. Unless
``scale`` is ``none``, F is therefore first divided by its mean, so that ε and the prior do not depend on how the loss
is averaged.

*Scale.* F and ΔF have no common scale, so one of them dominates the sum: ΔF if F is about 1e-9 (``none``), F once it is
divided by its mean or median (99 to 100 % of the selection). ``rank`` replaces each by the fraction of weights with a
smaller value, so that both contribute: the selection overlaps by 80 % with that by F and by 46 % with that by ΔF.

*Bounded ratio.* Where F is nearly 0, ΔF is noise. Eq. 15 writes the ratio in precisions, which a prior bounds: with
F = γ(Λ - τ⁻²) (Eq. 14), |ΔΛ| / min Λ = |ΔF| / (min F + γτ⁻²). ``prior`` is γτ⁻² in units of the mean F. 0 gives Eq. 5,
which also follows from substituting Eq. 14 into Eq. 7. At 1, evidence and prior have equal weight where F is average,
and the overlap rises from 61 % to 76 % (F alone: 91 %).

*Draws.* F(x), F(x') and exp(-(ε_μ + ε_σ)) are averaged over all batches before taking the ratio: a ratio of means, not
a mean of ratios, since the ratio of a single batch is mostly noise. Averaged like this, exp(-(ε_μ + ε_σ)) is nearly a
constant, about 0.2 with magnitudes and 1 signed. With ``damping_per``, it weights each batch or sample within the two
means of the ratio instead, so that a sample with a larger shift counts less.
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
        prior: γτ⁻² in units of the mean of F(x); the floor is γτ⁻² + ε with ε = 1e-8.
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
    before: Mapping[str, Tensor] | None = None,
) -> Computed:
    """Return DRF = F + exp(-(ε_μ + ε_σ)) ΔF (Eq. 7), one value per weight.

    Args:
        seen: F(x) by name.
        shifted: F(x') by name.
        damping: exp(-(ε_μ + ε_σ)), averaged over draws.
        prior: see :func:`delta_f`.
        scale: ``rank``, ``median`` (of the non-zero values) or ``none``.
        before: F(x) within ΔF where it is weighted otherwise than ``seen``.
    """
    before = seen if before is None else before
    change = _change(before, prior)
    first = scaling(seen.values(), scale)
    second = scaling((change(before[name], shifted[name]) for name in seen), scale)

    def score(name: str) -> Tensor:
        return first(seen[name]) + damping * second(change(before[name], shifted[name]))

    return Computed(seen, score)


def in_units(values: Mapping[str, Tensor], unit: float) -> Computed:
    """Return the values divided by ``unit``, which must not be 0."""
    return Computed(values, lambda name: values[name] / unit)


def scaling(values: Iterable[Tensor], scale: str) -> Callable[[Tensor], Tensor]:
    """Return a function that rescales a tensor: rank among ``values``, divide by their median, or leave as it is."""
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
