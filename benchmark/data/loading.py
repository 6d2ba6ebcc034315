"""Samples in order, read by this process or by others beside it; what comes does not depend on how many there are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Subset, default_collate

from benchmark.common.errors import LostWorkerError, UserError

BESIDE_A_GPU = 4
"""One process reads and crops about 20 frames of GTA5 a second, and a GPU trains a ViT-L on fewer than 80."""


NEWS_SECONDS = 1.0
"""How long after its connection has broken the system takes at most to tell that a process has ended."""


def data_workers(wanted: int | None, processes: int) -> int:
    """Return how many processes load for each process of a run.

    Without a GPU none does by default: the cores have enough to do. Beside a GPU there are :data:`BESIDE_A_GPU`, or
    as many as there are cores for.

    Args:
        wanted: by the user; None for the default.
        processes: that share the run.
    """
    if wanted is not None:
        return wanted
    if not torch.cuda.is_available():
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(BESIDE_A_GPU, cores // int(os.environ.get("LOCAL_WORLD_SIZE", processes))))


def samples(data: Dataset[Any], indices: Sequence[int], count: int) -> Generator[Any]:
    """Yield the samples at ``indices`` in their order; closed, it leaves no process behind.

    Args:
        data: what is indexed.
        indices: of samples.
        count: processes that load; 0 loads here.

    Raises:
        UserError: as the data do.
        LostLoaderError: a process that loads has ended; more often :func:`watched` tells.
    """
    return _loaded(data, indices, count, None, _alone)


def batches(data: Dataset[Any], indices: Sequence[int], size: int, count: int) -> Generator[Any]:
    """Yield :func:`samples`, ``size`` at a time, stacked."""
    return _loaded(data, indices, count, size, _stacked)


@contextmanager
def watched() -> Iterator[None]:
    """Say in one line where a process that loads has ended: torch tells wherever this process then is.

    Raises:
        LostLoaderError: one has.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise _lost(error) from None


def _lost(error: Exception) -> LostWorkerError:
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
    return LostWorkerError(
        f"a process that loads data has ended ({reason}); run again to go on from the last checkpoint, with fewer "
        "--data-workers if memory was short"
    )


def _loaded(data: Dataset[Any], indices: Sequence[int], count: int, size: int | None, put: Any) -> Generator[Any]:
    loader = DataLoader(
        Subset(_Telling(data), indices), size, num_workers=count, collate_fn=put,
        worker_init_fn=_begin, multiprocessing_context=_start() if count else None,
        # A generator of its own: a loader draws a number when it starts, which must not move the global one.
        generator=torch.Generator(),
    )  # fmt: skip
    try:
        for item in loader:
            if isinstance(item, UserError):
                raise item
            yield item
    except (ConnectionError, EOFError) as error:  # what a loader has read is fetched from it
        with watched():
            time.sleep(NEWS_SECONDS)  # torch's error at its end may be on its way, and must not come anywhere else
        raise _lost(error) from None


def _start() -> str | None:
    """Return how a loader starts: as a fork, which begins at once and shares what is read already; None for torch's."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin" else None


class _Telling(Dataset[Any]):
    """Returns a user's mistake instead of raising it, as a loader would put its traceback into it."""

    def __init__(self, data: Dataset[Any]) -> None:
        self.data = data

    def __getitem__(self, index: int) -> Any:
        try:
            return self.data[index]
        except UserError as error:
            return error


def _alone(item: Any) -> Any:
    return item


def _stacked(items: list[Any]) -> Any:
    return next((item for item in items if isinstance(item, UserError)), None) or default_collate(items)


def _begin(number: int) -> None:
    """Leave signals to the run, which ends its loaders at the end of a step, and cores to the other loaders."""
    import cv2

    for name in ("SIGINT", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if sys.platform == "linux":
        _end_with_the_run()
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    sys.excepthook = _told
    cv2.setNumThreads(1)


def _told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what ends a thread, but for a run that is gone while it fetches something."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _end_with_the_run() -> None:
    """Obey a SIGTERM of the run alone: a scheduler sends its own to all of a job, and the run has yet to stop.

    Torch ends a loader at anybody's, and the run with it. The run sends one to what hangs when it ends.
    """
    run = os.getppid()

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != run:
            pass
        os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait, daemon=True).start()
