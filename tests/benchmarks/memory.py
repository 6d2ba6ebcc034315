"""Measures peak memory as reported by the system (Linux)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak(*, reset: bool = False) -> int:
    """Return this process's peak resident memory in bytes, since the last reset."""
    if not CLEAR.exists():
        pytest.skip("needs Linux, which can reset a process's peak memory")
    if reset:
        ctypes.CDLL(None).malloc_trim(0)  # return freed memory to the system, so that it is not counted
        CLEAR.write_text("5")
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def beyond(work: Callable[[], object]) -> int:
    """Run ``work``, which must be picklable, in a new process; return the increase of its peak memory in bytes."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, work).result()


def _measured(work: Callable[[], object]) -> int:
    import timm  # noqa: F401  loaded before measuring, so that libraries are not counted
    import torch

    import benchmark.models.mmseg_parts  # noqa: F401

    torch.set_num_threads(1)
    before = peak(reset=True)
    work()
    return peak() - before
