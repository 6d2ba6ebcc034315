"""A method's trainable parameters on a backbone, without the backbone's weights."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import torch

from benchmark.common import rng
from benchmark.method import Method, Perturbation
from benchmark.models.backbone import Backbone, build_backbone


def count(method: Method, backbone: str, perturbation: Perturbation | None = None) -> int:
    """Return how many parameters ``method`` trains on a backbone, decoder excluded.

    The method is attached to the real architecture on the meta device, where tensors have shapes but no data.
    A ``perturbation`` adds no parameters; it is attached too, to check that the backbone supports it.

    Raises:
        UserError: no such backbone, or the method or perturbation does not support it.
    """
    method.attach(deepcopy(architecture(backbone)), rng.torch_rng(0, "method"))
    if perturbation is not None:
        perturbation.join(method)
    return method.trainable()


@cache
def architecture(name: str) -> Backbone:
    """Return the architecture on the meta device. It is cached: copy it before attaching a method."""
    with torch.device("meta"):
        return build_backbone(name, pretrained=False)
