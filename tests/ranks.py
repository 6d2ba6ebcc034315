"""Two ranks, started from a server that has imported the libraries once per test process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmark.runs import pool


def on_two_ranks(work: Callable[..., None], *args: Any) -> None:
    """Call ``work(rank, *args)`` in two processes; an error in one of them is raised here."""
    method = pool.context().get_start_method()
    torch.multiprocessing.start_processes(work, args, nprocs=2, start_method=method)
