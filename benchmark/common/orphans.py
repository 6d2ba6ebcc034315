"""Worker processes and commands that end with the process that started them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading

SET_DEATH_SIGNAL = 1
"""Linux's ``PR_SET_PDEATHSIG``: the signal that a process gets when its parent ends."""
LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None


def exit_with_parent() -> None:
    """Exit this worker process once its parent has ended, however it ended.

    A worker that waits for work would never notice: all workers hold both ends of the queue. Does nothing in a process
    that :mod:`multiprocessing` has not started.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def end_with_parent() -> None:
    """Have this process killed once its parent has ended, however it ended: ``preexec_fn`` of :mod:`subprocess`.

    Only on Linux; elsewhere, see :data:`ENDING`, the command runs to its end.
    """
    assert LIBRARY is not None
    LIBRARY.prctl(SET_DEATH_SIGNAL, signal.SIGKILL)


ENDING = end_with_parent if LIBRARY is not None else None
