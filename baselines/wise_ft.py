"""WiSE-FT: full fine-tuning, then interpolation between the pre-trained and the fine-tuned weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from baselines.full import Full
from benchmark.method import Method, Settings, UserError, setting
from benchmark.models.backbone import Backbone


class InterpolationSettings(Settings):
    """The grid of mixing coefficients."""

    intervals: int = setting(10, "paper", "n: α is one of 0, 1/n, ..., 1 (the released code's example)", ge=1)


class Interpolation(Method):
    """Ends training with θ = (1 - α) θ₀ + α θ₁ of pre-trained weights θ₀ and trained weights θ₁ (Eq. 1).

    Every α of the grid is evaluated on the protocol's held-out source images, and the one with the largest mIoU is
    kept; of equal ones, the smallest, which is closest to the pre-trained model. The mIoU on these images in the record
    is therefore a maximum over the grid; target images are not used. Weights that training has not changed stay
    bit-identical.

    The paper also interpolates the classifier, with that of the zero-shot model. The decoder has no pre-trained
    weights, so it stays as trained: for α < 1, it reads features other than those it was trained on.

    Place it before a method among the bases, as :func:`interpolated` does.
    """

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Attach the base method, and copy the pre-trained values of the parameters that it trains.

        Raises:
            UserError: the base method adds parameters, which have no pre-trained values.
        """
        known = {id(parameter) for parameter in backbone.parameters()}
        super().attach(backbone, rng)  # type: ignore[safe-super]
        parameters = [parameter for group in self.parameter_groups() for parameter in group["params"]]
        if any(id(parameter) not in known for parameter in parameters):
            raise UserError(
                f"{self.label}: its base method adds parameters, which have no pre-trained values to interpolate with; "
                "use one that trains the backbone's own"
            )
        self._start = [(parameter, parameter.detach().clone()) for parameter in parameters]
        self._curve: list[list[float]] = []

    def finish(self, score: Callable[[], float]) -> None:
        """Evaluate the grid and keep the best weights; do nothing if that is done."""
        if self._curve:
            return
        trained = [parameter.detach().clone() for parameter, _ in self._start]
        curve: list[list[float]] = []
        try:
            for step in range(self.settings.intervals + 1):
                alpha = step / self.settings.intervals
                self._mix(trained, alpha)
                curve.append([alpha, score()])
        except BaseException:
            self._mix(trained, 1.0)  # a checkpoint then has the trained weights
            raise
        self._mix(trained, best(curve))
        self._curve = curve

    @torch.no_grad()
    def _mix(self, trained: list[Tensor], alpha: float) -> None:
        for (parameter, start), end in zip(self._start, trained, strict=True):
            parameter.copy_(torch.lerp(start, end, alpha))  # exact at 0, at 1, and where start and end are equal

    def report(self) -> dict[str, Any]:
        """Return the base method's facts, the chosen ``alpha`` and the whole ``wise_curve``: pairs of α and mIoU."""
        found = {"alpha": best(self._curve), "wise_curve": self._curve} if self._curve else {}
        return super().report() | found

    def state_dict(self) -> dict[str, Any]:
        """Return the base method's state and the curve."""
        return {"base": super().state_dict(), "curve": self._curve}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        super().load_state_dict(state["base"])
        self._curve = [list(map(float, pair)) for pair in state["curve"]]


def best(curve: list[list[float]]) -> float:
    """Return the α with the largest mIoU of pairs (α, mIoU); the smallest of equal ones."""
    return max(curve, key=lambda pair: (pair[1], -pair[0]))[0]


def interpolated(base: type[Method], label: str, source: str) -> type[Method]:
    """Return a method that trains as ``base`` does and then interpolates, with one more hyperparameter.

    Args:
        base: trains only weights of the backbone; may be sparse.
        label: of the new method.
        source: of the new method.
    """
    name, place = f"Interpolated{base.__name__}", {"__module__": __name__}
    both = type(f"{name}Settings", (base.Settings, InterpolationSettings), place)
    members = {"label": label, "source": source, "Settings": both, "__doc__": Interpolation.__doc__}
    return type(name, (Interpolation, base), place | members)


METHOD = interpolated(Full, "WiSE-FT", "Wortsman et al., Robust Fine-Tuning of Zero-Shot Models, CVPR 2022")
