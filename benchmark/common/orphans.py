"""Worker processes that end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading


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
