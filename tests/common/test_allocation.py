"""Freed memory stays in the process."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

from benchmark.common import allocation

FAULTS = """
import resource, sys
import numpy as np
from benchmark.common.allocation import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
def passed():
    for _ in range(10):
        [np.ones(2_000_000, np.uint8) for _ in range(20)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
passed()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(passed() - before)
"""


def faults(how: str) -> int:
    """Return the page faults of allocating and freeing twenty times 2 MB in a new process, ten times."""
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is adjusted")
def test_freed_memory_is_not_cleared_again_by_the_system() -> None:
    once = 20 * 2_000_000 // resource.getpagesize()
    assert faults("keep") < once / 10
    assert faults("plain") > 5 * once


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not allocation.keep_freed_memory()
