"""Keep freed memory for the next iteration instead of returning it to the system."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""Parameters of glibc's ``mallopt``."""
SETTINGS = {TRIM_THRESHOLD: (1 << 31) - 1, TOP_PAD: 64 << 20, MMAP_THRESHOLD: 32 << 20}
"""Bytes. The threshold for separate mappings has its largest value."""


def keep_freed_memory() -> bool:
    """Let glibc reuse memory in this process; return whether it does.

    Training frees and allocates the same tensors in every iteration. By default, large ones are returned to the system
    and come back as new pages, which the system must clear: an eighth of the CPU time of a small model's training
    steps. The peak of memory stays the same within a per cent. Other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl
        return False
    return all(mallopt(parameter, value) == 1 for parameter, value in SETTINGS.items())
