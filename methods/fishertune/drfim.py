"""DR-FIM, the domain-related Fisher information (Eq. 5, 7, 15): which weights matter here and would move there.

The paper leaves four points open; each is a switch, and this is why the defaults are what they are.

*Scale.* F is about 1e-8 and ΔF a ratio: their literal sum (``none``) is ΔF alone, and divided by their medians
F alone decides. ``rank`` replaces each by the share of weights that have less of it, which makes both count.

*Bounded ratio.* Where F is nearly 0, ΔF is noise over nothing. Eq. 15 writes the ratio in precisions, which a
prior bounds: with F = γ(Λ - τ⁻²) (Eq. 14), |ΔΛ| / min Λ = |ΔF| / (min F + γτ⁻²). ``prior`` is this γτ⁻² in
units of the mean F; 0 gives Eq. 5, which is also what an exact substitution of Eq. 14 into Eq. 7 gives.

*Draws.* F(x) and F(x') are averaged over all batches before the ratio is taken, and so is exp(-(ε_μ + ε_σ)):
a ratio of means, not a mean of ratios, since each batch's ratio is mostly noise.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from methods.fishertune.ranks import ranks

EPS = 1e-8  # Eq. 5


def delta_f(seen: Mapping[str, Tensor], shifted: Mapping[str, Tensor], prior: float) -> dict[str, Tensor]:
    """Return ΔF = |F(x) - F(x')| / (min(F(x), F(x')) + floor) (Eq. 5, 15), one value per weight.

    Args:
        seen: F(x) by name.
        shifted: F(x') by name.
        prior: γτ⁻² in units of the mean of F(x); the floor is this plus ε = 1e-8.
    """
    floor = prior * mean(seen) + EPS
    return {
        name: (value - shifted[name]).abs() / (torch.minimum(value, shifted[name]) + floor)
        for name, value in seen.items()
    }


def drf(
    seen: Mapping[str, Tensor],
    shifted: Mapping[str, Tensor],
    damping: float,
    *,
    prior: float,
    scale: str,
) -> dict[str, Tensor]:
    """Return DRF = F + exp(-(ε_μ + ε_σ)) ΔF (Eq. 7), one value per weight.

    Args:
        seen: F(x) by name.
        shifted: F(x') by name.
        damping: exp(-(ε_μ + ε_σ)), averaged over draws.
        prior: see :func:`delta_f`.
        scale: ``rank``, ``median`` (of the values that are not 0) or ``none``.
    """
    terms = [same_scale(term, scale) for term in (seen, delta_f(seen, shifted, prior))]
    return {name: terms[0][name] + damping * terms[1][name] for name in seen}


def same_scale(values: Mapping[str, Tensor], scale: str) -> Mapping[str, Tensor]:
    """Return the values as ``scale`` has them: ranked, divided by their median, or as they are."""
    if scale == "rank":
        return ranks(values)
    if scale == "median":
        positive = torch.cat([value[value > 0] for value in values.values()])
        unit = positive.median() if positive.numel() else torch.tensor(1.0)
        return {name: value / unit.to(value.device) for name, value in values.items()}
    return values


def mean(values: Mapping[str, Tensor]) -> float:
    """Return the mean over all weights of all tensors."""
    total = sum(value.double().sum().item() for value in values.values())
    return total / max(sum(value.numel() for value in values.values()), 1)
