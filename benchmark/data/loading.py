"""Read samples in order, in this process or in data-loader workers; the result is the same for any number of them."""

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

from benchmark.common import shared_memory
from benchmark.common.errors import LostWorkerError, UserError

WORKERS_PER_GPU = 4
"""One worker reads and crops about 20 GTA5 frames per second; a GPU trains a ViT-L on fewer than 80 per second."""
DETECTION_SECONDS = 1.0
"""Upper bound on the time between a worker's broken connection and the operating system's report of its exit."""


def data_workers(wanted: int | None, ranks: int) -> int:
    """Return the number of data-loader workers of each rank.

    The default is 0 without a GPU, where training needs all cores. With a GPU it is :data:`WORKERS_PER_GPU`, or
    fewer if there are not enough cores.

    Args:
        wanted: the user's choice; None for the default.
        ranks: number of ranks of the run.
    """
    if wanted is not None:
        return wanted
    if not torch.cuda.is_available():
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(WORKERS_PER_GPU, cores // int(os.environ.get("LOCAL_WORLD_SIZE", ranks))))


def samples(data: Dataset[Any], indices: Sequence[int], workers: int) -> Generator[Any]:
    """Yield the samples at ``indices`` in order. Closing the generator stops the workers.

    Args:
        data: dataset to index.
        indices: indices of the samples.
        workers: number of data-loader workers; 0 loads in this process.

    Raises:
        UserError: raised by ``data``.
        LostWorkerError: a data-loader worker has ended. Wrap the loop in :func:`watched` too: torch usually
            detects this first, at any point in the loop.
    """
    return _load(data, indices, workers, None, _shared if workers else _identity)


def batches(data: Dataset[Any], indices: Sequence[int], size: int, workers: int) -> Generator[Any]:
    """Yield :func:`samples` collated into batches of ``size``."""
    return _load(data, indices, workers, size, _collate)


@contextmanager
def watched() -> Iterator[None]:
    """Turn torch's error about a dead data-loader worker into a one-line error.

    Torch raises it from a signal handler, so at any point in this process.

    Raises:
        LostWorkerError: a data-loader worker has ended.
    """
    try:
        yield
    except Exception as error:
        death = _death(error)
        if death is None:
            raise
        raise _lost(death) from None


def _death(error: BaseException | None) -> RuntimeError | None:
    """Return torch's error about a dead worker; code that it interrupted may have hidden it behind one of its own."""
    while error is not None:
        if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
            return error
        error = error.__context__
    return None


def _lost(error: Exception) -> LostWorkerError:
    if shared_memory.exhausted(error):
        return LostWorkerError(
            f"data-loader workers cannot pass on what they read: {shared_memory.FULL}, or give --data-workers 0; run "
            "again to resume from the last checkpoint"
        )
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
    return LostWorkerError(
        f"a data-loader worker has ended ({reason}); run again to resume from the last checkpoint, with fewer "
        "--data-workers if memory ran out"
    )


def _load(data: Dataset[Any], indices: Sequence[int], workers: int, size: int | None, collate: Any) -> Generator[Any]:
    if workers:
        import cv2

        cv2.setNumThreads(1)  # a forked worker would wait forever for the threads of this process's pool
    try:
        _require_shared_memory(workers)
        loader = DataLoader(
            Subset(_ReturnErrors(data), indices), size, num_workers=workers, collate_fn=collate,
            worker_init_fn=_init_worker, multiprocessing_context=_start_method() if workers else None,
            # A separate generator: a DataLoader draws a seed when it starts, which must not advance the global RNG.
            generator=torch.Generator(),
        )  # fmt: skip
        for item in loader:
            if isinstance(item, UserError):
                raise item
            yield item
    except RuntimeError as error:
        if not shared_memory.exhausted(error):
            raise
        raise _lost(error) from None
    except (ConnectionError, EOFError) as error:  # the connection to a worker broke while its data was fetched
        with watched():
            time.sleep(DETECTION_SECONDS)  # wait for torch's own error, so that it is raised and caught here
        raise _lost(error) from None
    except OSError as error:
        if not shared_memory.exhausted(error):
            raise
        raise _lost(error) from None


def _require_shared_memory(workers: int) -> None:
    """Create more locks than a DataLoader does: if there is space for only some of its own, torch prints a traceback.

    Raises:
        OSError: there is no space for them.
    """
    context = multiprocessing.get_context(_start_method())
    locks = [context.Lock() for _ in range(8 * (workers + 1))] if workers else []
    del locks


def _start_method() -> str | None:
    """Return ``"fork"`` where it is safe: it starts at once and shares what is in memory. None for torch's default."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin" else None


class _ReturnErrors(Dataset[Any]):
    """Returns a ``UserError`` instead of raising it: a DataLoader would add the worker's traceback to its message."""

    def __init__(self, data: Dataset[Any]) -> None:
        self.data = data

    def __getitem__(self, index: int) -> Any:
        try:
            return self.data[index]
        except UserError as error:
            return error


def _identity(item: Any) -> Any:
    return item


def _shared(item: Any) -> Any:
    """Move the tensors of an item to shared memory.

    Torch would do so, too, but in a thread whose errors are lost: without space, the main process waits for ever.
    """
    for value in item.values() if isinstance(item, dict) else ():
        if isinstance(value, torch.Tensor):
            value.share_memory_()
    return item


def _collate(items: list[Any]) -> Any:
    return next((item for item in items if isinstance(item, UserError)), None) or default_collate(items)


def _init_worker(number: int) -> None:
    """Set up a data-loader worker: ignore the signals that only the main process handles, and use one core."""
    import cv2

    for name in ("SIGINT", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if sys.platform == "linux":
        _exit_on_parent_sigterm()
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    sys.excepthook = _excepthook
    cv2.setNumThreads(1)


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an uncaught exception, except for a lost connection to the main process."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _exit_on_parent_sigterm() -> None:
    """Exit on SIGTERM from the main process; ignore it from any other sender.

    A scheduler sends SIGTERM to all processes of a job, while the main process still needs its workers to reach the
    end of the step. By default a worker exits on any SIGTERM, and the run fails with it. The main process sends
    SIGTERM to workers that hang at the end.
    """
    parent = os.getppid()

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait, daemon=True).start()
