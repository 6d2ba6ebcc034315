"""How much memory something takes at most, as the system counts it (Linux)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak(*, reset: bool = False) -> int:
    """Return this process's largest resident memory, since the last reset, in bytes."""
    if not CLEAR.exists():
        pytest.skip("only Linux tells a process's peak since a given moment")
    if reset:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed and kept is nobody's need
        CLEAR.write_text("5")
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def beyond(work: Callable[[], object]) -> int:
    """Do ``work``, which can be pickled, in a new process; return by how many bytes its memory peaked above before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, work).result()


def _measured(work: Callable[[], object]) -> int:
    import timm  # noqa: F401  libraries that are loaded when they are needed are nobody's memory here
    import torch

    import benchmark.models.mmseg_parts  # noqa: F401

    torch.set_num_threads(1)
    before = peak(reset=True)
    work()
    return peak() - before
