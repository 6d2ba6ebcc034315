"""Which of a method's parameters get a gradient: some are part of its architecture, but the decoder does not use them.

With a decoder without object queries, for example, no loss reaches the weights that compute Rein's queries.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmark.method import Method


def without_gradient(method: Method) -> dict[str, int]:
    """Return the method's parameters without a gradient, after a backward pass: name within the backbone and size.

    A gradient of zeros is a gradient.
    """
    trains = {id(parameter) for group in method.parameter_groups() for parameter in group["params"]}
    named = method.backbone.named_parameters()
    return {name: parameter.numel() for name, parameter in named if id(parameter) in trains and parameter.grad is None}


def unreached(method: Method, parameters: Mapping[str, int]) -> int:
    """Return how many of the values that a method trains lie in ``parameters``, which have no gradient.

    Args:
        method: after training: if it selects single weights, only the selected ones count.
        parameters: result of :func:`without_gradient`.
    """
    selected = method.delta()
    if selected is None:
        return sum(parameters.values())
    return sum(len(positions) for name, (positions, _) in selected.items() if name in parameters)
