"""What the checkpoint of each method contains: its names, and the hyperparameters that follow from its shapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.released.names import PLAIN, REIN, SOMA, Names

Tensors = Mapping[str, Tensor]
MASK_TOKEN = "DINOv2's mask token, which only pre-training uses"
IGNORED = {
    r"backbone\.(model\.)?mask_token": MASK_TOKEN,
    r"data_preprocessor\.(mean|std)": "normalisation of the input, which the protocol states",
}
"""Tensors that do not take part in inference, and why."""


@dataclass(frozen=True)
class Layout:
    """The checkpoint of one method.

    Attributes:
        method: registered method whose modules compute the same.
        names: of backbone and adapter.
        backbone: prefix of the backbone's own tensors.
        adapter: pattern of the names of the adapter's tensors.
        settings: returns the method's hyperparameters, from the tensors of a checkpoint.
        tuned: whether the backbone's own weights are trained, so that a checkpoint must contain them.
    """

    method: str
    names: Names
    backbone: str = "backbone."
    adapter: str = "(?!)"
    settings: Callable[[Tensors], dict[str, Any]] = lambda tensors: {}
    tuned: bool = False

    def holds_backbone(self, tensors: Tensors) -> bool:
        """Return whether a checkpoint must contain the backbone's own weights: it has more than adapter and biases."""
        own = (name for name in tensors if name.startswith(self.backbone) and not re.search(self.adapter, name))
        return self.tuned or any(not name.endswith("bias") and not _ignored(name) for name in own)


def ignored(tensors: Tensors) -> dict[str, str]:
    """Return the tensors that do not take part in inference, each with the reason."""
    return {name: reason for name in tensors if (reason := _ignored(name))}


def _ignored(name: str) -> str:
    return next((reason for pattern, reason in IGNORED.items() if re.fullmatch(pattern, name)), "")


def _rein(tensors: Tensors) -> dict[str, Any]:
    tokens = tensors.get("backbone.reins.learnable_tokens_a")
    return {} if tokens is None or tokens.ndim != 3 else {"tokens": tokens.shape[1], "rank": tokens.shape[2]}


def _soma(tensors: Tensors) -> dict[str, Any]:
    pairs = (tensor for name, tensor in tensors.items() if name.endswith(".lora_A.weight"))
    first = next(pairs, None)
    return {} if first is None or first.ndim != 2 else {"rank": first.shape[0]}


# The released code adds the pairs to the weights in the file; it subtracts nothing (alpha is the rank: the scale is 1).
_SOMA = Layout("soma-as-released", SOMA, "backbone.model.", r"\.lora_[AB]\.", _soma)
LAYOUTS: Mapping[str, Layout] = {
    "rein": Layout("rein", REIN, "backbone.", r"^backbone\.reins\.", _rein),
    "soma": _SOMA,
    "geco": _SOMA,
    "freeze": Layout("freeze", PLAIN),
    "full": Layout("full", PLAIN, tuned=True),
}
"""By the method that ``--as`` names."""


def find(name: str) -> Layout:
    """Return the layout of a method's checkpoints.

    Raises:
        UserError: unknown method, or one whose checkpoints have no public layout.
    """
    if name not in LAYOUTS:
        registry.require("method", name)
        raise UserError(f"--as {name}: no public layout of its checkpoints is known; known: {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
