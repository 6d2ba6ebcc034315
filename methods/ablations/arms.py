"""Ablations of FisherTune's Table 4 and Figure 5 that select the same number of weights (5 %) in another way.

Each arm is ``random`` or ``fishertune`` with the hyperparameters given below and differs in nothing else. Two rows of
Table 4 need no arm: Random is ``random``, and DR-FIM from per-sample gradients is ``fishertune`` itself. Figure 5
compares the estimators: the ``…-variational`` arms fit the posterior of Eq. 10-13, the others average squared
gradients (Eq. 9).
"""

from __future__ import annotations

from typing import Any

from pydantic import create_model

from baselines.random import Random
from benchmark.method import Method, setting
from methods.fishertune import FisherTune


def _arm(base: type[Method], arm_of: str, label: str, **changed: tuple[Any, str]) -> type[Method]:
    """Return a subclass of ``base`` whose hyperparameters have other defaults.

    Args:
        base: the method to derive from.
        arm_of: its registered name.
        label: name in tables and figures.
        changed: hyperparameter to its new default and where the paper states it.
    """
    fields: dict[str, Any] = {
        name: (base.Settings.model_fields[name].annotation, setting(default, "paper", why))
        for name, (default, why) in changed.items()
    }
    settings = create_model(f"{label} {base.Settings.__name__}", __base__=base.Settings, __module__=__name__, **fields)
    attributes = {"__module__": __name__, "label": label, "arm_of": arm_of, "Settings": settings}
    return type(label, (base,), attributes)


VARIATIONAL = ("variational", "Eq. 10-14, fitted with the reparameterisation trick")
METHODS = {
    "random-q": _arm(Random, "random", "Random Q", groups=(("q",), "Table 4, Random Q")),
    "random-k": _arm(Random, "random", "Random K", groups=(("k",), "Table 4, Random K")),
    "random-v": _arm(Random, "random", "Random V", groups=(("v",), "Table 4, Random V")),
    "fim": _arm(FisherTune, "fishertune", "FIM", criterion=("f", "Table 4, F")),
    "fim-variational": _arm(
        FisherTune, "fishertune", "FIM, variational", criterion=("f", "Figure 5, FIM"), estimator=VARIATIONAL
    ),
    "delta-fim": _arm(FisherTune, "fishertune", "ΔFIM", criterion=("delta-f", "Table 4, ΔF")),
    "delta-fim-variational": _arm(
        FisherTune, "fishertune", "ΔFIM, variational", criterion=("delta-f", "Table 4, ΔF"), estimator=VARIATIONAL
    ),
    "dr-fim-variational": _arm(FisherTune, "fishertune", "DR-FIM, variational", estimator=VARIATIONAL),
}
