"""The shared memory of processes on Linux, a file system that Docker limits to 64 MB: what to do when it is full."""

from __future__ import annotations

from benchmark.common.atomic import full

FOLDER = "/dev/shm"
ALLOCATION = "unable to allocate shared memory"
"""Part of torch's message if there is no space for a tensor."""
FULL = f"{FOLDER} is full; free some space there or make it larger (with Docker: --shm-size)"


def exhausted(error: Exception) -> bool:
    """Return whether there was no space in shared memory for a lock or a tensor, or a process was killed for it."""
    if isinstance(error, OSError):
        return full(error)
    return ALLOCATION in str(error) or "out of shared memory" in str(error)


def reason(error: OSError) -> str:
    """Return why locks between processes cannot be created, and what to do."""
    return FULL if exhausted(error) else f"{error.strerror or error}; end other processes and try again"
