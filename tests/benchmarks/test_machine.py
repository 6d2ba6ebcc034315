"""What this machine can do at most on one core; how far the rest stays behind is told in these units."""

from __future__ import annotations

import torch
from pytest_benchmark.fixture import BenchmarkFixture

SIDE, BYTES = 1536, 1 << 28


def test_matrix_product(benchmark: BenchmarkFixture) -> None:
    a, b = (torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) for seed in range(2))
    benchmark.extra_info["operations"] = 2 * SIDE**3
    found = benchmark.pedantic(lambda: a @ b, rounds=5, warmup_rounds=1)
    assert found.shape == (SIDE, SIDE)


def test_copy(benchmark: BenchmarkFixture) -> None:
    """So many bytes read and as many written."""
    source = torch.zeros(BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    benchmark.extra_info["bytes"] = 2 * BYTES
    benchmark.pedantic(lambda: target.copy_(source), rounds=5, warmup_rounds=1)
    assert not target.any()
