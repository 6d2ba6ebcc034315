"""Helpers of the numerical tests of baselines: attach a method, make images, compare outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmark.common.rng import torch_rng
from benchmark.method import Method
from benchmark.models.backbone import Backbone


def attach(made: Method, backbone: Backbone, seed: int = 0) -> Any:
    made.attach(backbone.eval(), torch_rng(seed, "method"))
    return made


def images(batch: int = 2, size: int = 32) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(3))


def outputs(backbone: Backbone) -> list[Tensor]:
    with torch.no_grad():
        return backbone(images())


def close(left: list[Tensor], right: list[Tensor], tolerance: float = 1e-5) -> bool:
    return all(torch.allclose(a, b, atol=tolerance, rtol=tolerance) for a, b in zip(left, right, strict=True))
