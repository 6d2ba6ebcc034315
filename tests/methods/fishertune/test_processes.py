"""Two ranks with half a batch each must get the estimates of one rank with the whole batch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed

from benchmark.method import matrices
from methods.fishertune.estimators import Estimator, SquaredGradients
from methods.fishertune.fisher import sample_losses
from methods.fishertune.variational import Variational
from tests.methods.fishertune.small_runs import build, images, labels
from tests.ranks import on_two_ranks

pytestmark = pytest.mark.slow

Found = dict[str, dict[str, Tensor]]


def estimates(rows: slice) -> Found:
    segmenter = build()
    weights = matrices(segmenter.backbone)
    squares, variational = SquaredGradients(weights, "per-sample"), Variational(weights, 0.01, gamma=1e-9)
    estimators: dict[str, Estimator] = {"per-sample": squares, "variational": variational}
    for estimator in estimators.values():
        estimator.update(lambda: sample_losses(segmenter(images(0)[rows]), labels(0)[rows]), 3)
    return {kind: {name: estimator.fisher(name) for name in weights} for kind, estimator in estimators.items()}


def half(rank: int, meeting: str, out: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    torch.save(estimates(slice(2 * rank, 2 * rank + 2)), f"{out}{rank}")
    distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_available() or sys.platform == "win32", reason="needs gloo over a file")
def test_two_ranks_estimate_as_one(tmp_path: Path) -> None:
    on_two_ranks(half, str(tmp_path / "meeting"), str(tmp_path / "out"))
    first, second = (torch.load(tmp_path / f"out{rank}", weights_only=True) for rank in range(2))
    for kind, alone in estimates(slice(0, 4)).items():
        for name, expected in alone.items():
            assert torch.equal(first[kind][name], second[kind][name])
            tolerance = 1e-4 * expected.max().item()
            torch.testing.assert_close(first[kind][name], expected, rtol=1e-2, atol=tolerance)
