"""How much arithmetic something is."""

from __future__ import annotations

from collections.abc import Callable

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def operations(work: Callable[[], object]) -> int:
    """Do ``work`` once; return its multiplications and additions in matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # it knows no fused one of CPUs
        work()
    return int(counter.get_total_flops())
