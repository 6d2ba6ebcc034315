"""SIGTERM as an interrupt: a command that is asked to end stops its processes and cleans up, as after Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any


@contextmanager
def handled(number: signal.Signals, handler: Any) -> Iterator[None]:
    """Handle a signal in the block by ``handler``, which processes started there inherit if it is ``SIG_IGN``.

    Only the main thread of a process can; in other threads the block runs without it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before if before is not None else signal.SIG_DFL)


def sigterm_interrupts() -> AbstractContextManager[None]:
    """Let SIGTERM raise KeyboardInterrupt in the block, as Ctrl-C does; only in the main thread of a process."""
    return handled(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
