"""Names of methods in records and folders: ``NAME``, ``NAME+perturbed``, ``NAME[rank=4]``.

Imports no torch, unlike :mod:`benchmark.method.perturbation`, which implements the suffix.
"""

from __future__ import annotations

PERTURBED = "+perturbed"
"""Suffix of any method's name: the same method with feature perturbation (FisherTune, Table 5)."""
PERTURBATION = "perturbation."
"""Prefix of a hyperparameter that belongs to the perturbation, not to the method."""

TOOLS = ("check", "tune", "tune-short")
"""Variants whose runs serve a check of the code or a learning-rate search."""


def base(method: str) -> str:
    """Return a method's registered name, without :data:`PERTURBED` and without hyperparameters."""
    return method.partition("[")[0].removesuffix(PERTURBED)


def without(name: str, setting: str) -> str:
    """Return a method's name or label without one hyperparameter: ``lora[lr=0.1,rank=4]`` -> ``lora[rank=4]``."""
    plain, _, given = name.partition("[")
    rest = [part for part in given.removesuffix("]").split(",") if part and not part.startswith(f"{setting}=")]
    return f"{plain}[{','.join(rest)}]" if rest else plain


def is_tool(protocol: str) -> bool:
    """Return whether a protocol's variant serves a search or a check, and its runs are no results."""
    return protocol.partition("@")[2] in TOOLS
