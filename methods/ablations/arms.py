"""Ablations of FisherTune's Table 4 and Figure 5 that select the same number of weights (5 %) in another way.

Each arm is ``fishertune`` or ``fishertune-per-sample`` with the hyperparameters given below and differs in nothing
else: learning rate, iterations and widening are those of its base. DR-FIM needs no arm: it is the base itself.
``random-all`` is the control for the selection alone; the free-standing baseline ``random`` has its own learning rate
and does not widen. Figure 5 compares the estimators: the ``…-variational`` arms fit the posterior of Eq. 10-13 as
``fishertune`` does, the others average squared gradients (Eq. 9) as ``fishertune-per-sample`` does.
"""

from __future__ import annotations

from typing import Any

from pydantic import create_model

from benchmark.method import Method, setting
from methods.ablations.fishertune_per_sample import FisherTunePerSample
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
    stated = [f"{name} {default if isinstance(default, str) else ', '.join(default)}"
              for name, (default, _) in changed.items()]  # fmt: skip
    attributes = {
        "__module__": __name__, "__doc__": f"As {arm_of}, except: {'; '.join(stated)} ({[*changed.values()][-1][1]}).",
        "label": label, "arm_of": arm_of, "Settings": settings,
    }  # fmt: skip
    return type(label, (base,), attributes)


RANDOM = {"criterion": ("random", "Table 4, Random")}
METHODS = {
    "random-all": _arm(FisherTune, "fishertune", "Random (all)", **RANDOM),
    "random-q": _arm(FisherTune, "fishertune", "Random Q", **RANDOM, groups=(("q",), "Table 4, Random Q")),
    "random-k": _arm(FisherTune, "fishertune", "Random K", **RANDOM, groups=(("k",), "Table 4, Random K")),
    "random-v": _arm(FisherTune, "fishertune", "Random V", **RANDOM, groups=(("v",), "Table 4, Random V")),
    "fim": _arm(FisherTunePerSample, "fishertune-per-sample", "FIM", criterion=("f", "Figure 5, FIM")),
    "fim-variational": _arm(FisherTune, "fishertune", "FIM, variational", criterion=("f", "Table 4, F")),
    "delta-fim": _arm(FisherTunePerSample, "fishertune-per-sample", "ΔFIM", criterion=("delta-f", "Table 4, ΔF")),
    "delta-fim-variational": _arm(FisherTune, "fishertune", "ΔFIM, variational", criterion=("delta-f", "Table 4, ΔF")),
}
