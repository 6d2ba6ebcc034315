"""Lock files: several sweeps can share a records folder without repeating a run.

A lock is a file next to the record that names its owner: machine, process ID and process start time. It is created
exclusively (``O_CREAT | O_EXCL``), which is atomic on NFS, too; ``flock`` is not used, because network file systems
may not support it or may only pretend to. While the run executes, the owner updates the file's modification time
(heartbeat). A lock is stale, and the next process that wants the run removes it,

- at once, if its owner ran on this machine and has ended;
- if its owner runs on another machine and the file has not changed for ``STALE_SECONDS``. Each process measures this
  on its own monotonic clock, so the clocks of the machines may differ or jump.

Two processes must not both remove a stale lock: the second one could delete the lock that the first has just created.
A process therefore first creates a removal lock, a file named after the token of the stale lock.

``SoftFileLease`` of the filelock library (4.3.1) follows the same scheme, but these tests require more:

- ``test_lock.py::test_an_incomplete_lock_is_removed_after_a_while``: an empty lock file, as left by a process killed
  between creating and writing it, is never removed and blocks the run for good.
- ``test_lock.py::test_a_lock_of_a_process_that_has_ended_is_taken_over``: a zombie process counts as running until
  its lease expires.
- ``test_lock.py::test_a_lock_of_another_machine_is_stale_only_when_it_stops_changing``: machines are
  distinguished by host name and PID namespace only, so a live owner on another machine of the same name loses its
  lock at once.
- ``test_misfortune.py::test_a_folder_that_is_moved_away_is_created_again``: a lease whose folder was moved is not
  reported as lost, although another process can then lock the same run.
- ``test_kills.py``, with some kills: a process killed during a takeover leaves a ``.break.`` file that is never
  removed.

Its heartbeat also stops for good once the folder could not be written for the duration of a lease.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import platform
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmark.common.atomic import reason
from benchmark.common.errors import UserError, printable
from benchmark.common.reading import read_bytes, require_regular

HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 120.0
"""How long the lock of another machine may stay unchanged before it is stale."""
INCOMPLETE_SECONDS = 10.0
"""How long a lock file may lack its owner, who is written right after the file is created."""
LIMIT = 1 << 16
"""Bytes of a lock file."""
HOST = 64
"""Characters of a host's name in messages."""
PIDS = 1 << 31
TRIES = 50
"""How many stale locks in a row a process removes before it leaves the run to others."""


class LockedError(Exception):
    """Another process has locked the run: ``owner``."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(str(owner))
        self.owner = owner


@dataclass(frozen=True)
class Owner:
    """A process that has locked a run.

    Attributes:
        token: identifies this one lock.
        host: host name, for messages.
        machine: identifies the machine, its boot and the PID namespace, within which ``pid`` is unique.
        pid: process ID.
        started: start time of the process, which distinguishes it from a later one with the same ID.
    """

    token: str
    host: str = ""
    machine: str = ""
    pid: int = 0
    started: str = ""

    @classmethod
    def new(cls) -> Owner:
        """Return this process as the owner of a new lock."""
        return cls(uuid.uuid4().hex, platform.node(), _machine(), os.getpid(), _started(os.getpid()) or "")

    def ended(self) -> bool:
        """Return whether the process ran on this machine and has ended."""
        if self.machine != _machine():
            return False
        started = _started(self.pid)
        return started is None or bool(started and started != self.started)

    def __str__(self) -> str:
        if not self.pid:
            return "an unknown process (incomplete lock file)"
        return f"process {self.pid} on {printable(str(self.host))[:HOST]}"


@dataclass(frozen=True)
class _State:
    """What a lock file contains, and a stamp that changes with each heartbeat."""

    owner: Owner
    stamp: tuple[int, int]


def path_of(record: Path) -> Path:
    """Return the path of the lock file of a record's run."""
    return record.with_suffix(".lock")


class RunLock:
    """Context manager that locks a run and sends heartbeats from a thread.

    Attributes:
        lost: the process that has taken the lock over because heartbeats timed out; None while it is held.
        recreated: whether the lock file was deleted, for example with its folder, and has been created again.
    """

    def __init__(self, record: Path) -> None:
        self.path, self.owner = path_of(record), Owner.new()
        self.lost: Owner | None = None
        self.recreated = False
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._send_heartbeats, daemon=True)

    def __enter__(self) -> RunLock:
        """Lock the run and delete temporary files that killed processes left next to its record.

        Raises:
            LockedError: another process has locked it.
            UserError: the folder cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _create(self.path, self.owner)
            for path in leftovers(self.path):
                if path != self.path:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{self.path}: cannot lock the run: {reason(error)}") from None
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._released.set()
        self._thread.join()
        with suppress(OSError):
            try:
                _remove(self.path, self.owner.token)
            except OSError:  # disk full: no removal lock; not needed, since the lock of a live owner is not removed
                self.path.unlink(missing_ok=True)

    def _send_heartbeats(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            with suppress(OSError, UserError):
                self.heartbeat()

    def heartbeat(self) -> None:
        """Update the modification time of the lock file; create the file again if it was deleted."""
        state = _read(self.path)
        if state is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                _create(self.path, self.owner)
                self.recreated = True
            except LockedError as error:
                self.lost = error.owner
        elif state.owner.token == self.owner.token:
            os.utime(self.path)
        else:
            self.lost = state.owner


class Watch:
    """Finds stale locks by observing lock files repeatedly."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[_State, float]] = {}

    def owner(self, record: Path) -> Owner | None:
        """Return the process that has locked the record's run; None if there is none. A stale lock is removed."""
        return self._owner(path_of(record))

    def _owner(self, path: Path) -> Owner | None:
        state = _read(path)
        if state is None:
            return None
        if not state.owner.ended() and not self._timed_out(path, state):
            return state.owner
        if (remover := self._owner(_removal_lock(path, state.owner.token))) is not None:
            return remover
        with suppress(OSError):  # RunLock reports why the folder cannot be written
            _remove(path, state.owner.token)
        return None

    def _timed_out(self, path: Path, state: _State) -> bool:
        now = time.monotonic()
        before, since = self._seen.get(path, (None, now))
        if before != state:
            since = now
        self._seen[path] = (state, since)
        return now - since > (STALE_SECONDS if state.owner.pid else INCOMPLETE_SECONDS)


def leftovers(path: Path) -> Iterator[Path]:
    """Yield the lock and temporary files next to a record: it is locked, or a process was killed."""
    run = f".{path.stem}."
    for entry in list(path.parent.iterdir()):
        if entry.name.startswith(path.name) or (entry.name.startswith(run) and entry.name.endswith(".tmp")):
            yield entry


def _create(path: Path, owner: Owner) -> None:
    """Create the lock file ``path``, after removing one whose owner has ended.

    Raises:
        LockedError: the owner of an existing lock has not ended, as far as this process knows.
        OSError: the file cannot be written; it does not exist then.
    """
    tries = 0
    while True:
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            if (state := _read(path)) is None:
                continue
            if not state.owner.ended() or tries == TRIES:
                raise LockedError(state.owner) from None
            tries += 1
            _remove(path, state.owner.token)
            continue
        try:
            os.write(handle, json.dumps(asdict(owner)).encode())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
        return


def _remove(path: Path, token: str) -> None:
    """Remove the lock file ``path`` if it has this token, unless another process is removing it."""
    removal = _removal_lock(path, token)
    try:
        _create(removal, Owner.new())
    except LockedError:
        time.sleep(0.01)
        return
    try:
        state = _read(path)
        if state is not None and state.owner.token == token:
            path.unlink(missing_ok=True)
    finally:
        removal.unlink(missing_ok=True)


def _removal_lock(path: Path, token: str) -> Path:
    return path.with_name(f"{path.name}.{token}")


def _read(path: Path) -> _State | None:
    """Return the state of the lock file ``path``; None if there is none.

    The file is read even for its times alone: network file systems contact the server only on open.

    Raises:
        UserError: what is there is not a lock file, which no run has left.
        OSError: it cannot be read.
    """
    try:
        content = read_bytes(path, LIMIT)
        status = require_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EFBIG, errno.ELOOP, errno.EISDIR):
            raise UserError(f"{path}: not a lock file: {error.strerror}; remove it") from None
        raise
    stamp = (status.st_mtime_ns, status.st_ino)
    try:
        owner = Owner(**json.loads(content))
        if re.fullmatch("[0-9a-f]{32}", owner.token) and type(owner.pid) is int and 0 < owner.pid < PIDS:
            return _State(owner, stamp)
    except (TypeError, ValueError, RecursionError):
        pass
    return _State(Owner(f"{stamp[0]:x}-{stamp[1]:x}"), stamp)


@functools.cache
def _machine() -> str:
    """Return an ID of the machine, its current boot and, in a container, the PID namespace."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(str(os.readlink("/proc/self/ns/pid")))
    return " ".join(parts)


def _started(pid: int) -> str | None:
    """Return the start time of a process of this machine; "" if unknown, None if it has ended or is a zombie.

    On Linux, it is in clock ticks since boot, which setting the system clock does not change.
    """
    with suppress(OSError):
        state, *fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
        return None if state in "ZX" else fields[18]
    if not psutil.pid_exists(pid):
        return None
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    return ""
