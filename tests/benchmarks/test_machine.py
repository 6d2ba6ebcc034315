"""Peak rates of one core of this machine, the basis of the lower bounds of the other tests."""

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
    """Read and write ``BYTES`` bytes each."""
    source = torch.zeros(BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    benchmark.extra_info["bytes"] = 2 * BYTES
    benchmark.pedantic(lambda: target.copy_(source), rounds=5, warmup_rounds=1)
    assert not target.any()
