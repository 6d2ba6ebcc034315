"""A method's trainable parameters on a backbone, without the backbone's weights."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import torch

from benchmark.common import rng
from benchmark.method import Method, Perturbation
from benchmark.models.backbone import Backbone, build_backbone


def count(method: Method, backbone: str, perturbation: Perturbation | None = None) -> int:
    """Attach ``method`` to the backbone of that name; return how many backbone-side values it then trains.

    A ``perturbation`` joins it, which trains nothing and may yet not be possible.

    The backbone is the real architecture on torch's meta device, where a tensor has a shape and no memory.

    Raises:
        UserError: no such backbone, or one that method or perturbation cannot serve.
    """
    method.attach(deepcopy(architecture(backbone)), rng.torch_rng(0, "method"))
    if perturbation is not None:
        perturbation.join(method)
    return method.trainable()


@cache
def architecture(name: str) -> Backbone:
    """Return the real architecture on torch's meta device, made once: copy it before anything is attached."""
    with torch.device("meta"):
        return build_backbone(name, pretrained=False)
