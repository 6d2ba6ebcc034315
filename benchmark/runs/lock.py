"""Whose a run is while it runs: a file beside its record, so that several sweeps on one folder do no run twice.

No locks, which network folders may lack or only pretend to have. A claim is made by creating a file that must not be
there yet, which is atomic on NFS, too; it tells its owner's machine, process and that process's start. An owner of this
machine that is gone has lost its claim at once. Another machine's has lost it when its claim has not changed for
``STALE_SECONDS`` of watching: each watcher counts on its own steady clock, so that no clock is compared with another,
and none may do harm by jumping. A lost claim is removed by whoever creates a file of that claim's own name first; so
nobody removes a new claim that stands in the place of the lost one.
"""

from __future__ import annotations

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
from benchmark.common.errors import UserError

BEAT_SECONDS = 15.0
STALE_SECONDS = 120.0
"""How long another machine's owner may show no sign of life; it gives one every ``BEAT_SECONDS``."""
UNSIGNED_SECONDS = 10.0
"""How long a claim may stand without its owner's name, which is written at once."""
TRIES = 50


class LockedError(Exception):
    """Somebody else is at the run; ``owner`` tells who."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(str(owner))
        self.owner = owner


@dataclass(frozen=True)
class Owner:
    """A process that claims a run.

    Attributes:
        token: of this one claim.
        host: name of its machine, to be read by people.
        machine: its machine, boot and process namespace, within which ``pid`` means one process at a time.
        pid: of the process.
        started: when it started, as its system tells; so that it is not taken for another one of the same number.
    """

    token: str
    host: str = ""
    machine: str = ""
    pid: int = 0
    started: str = ""

    @classmethod
    def new(cls) -> Owner:
        """Return this process as the owner of a new claim."""
        return cls(uuid.uuid4().hex, platform.node(), _machine(), os.getpid(), _started(os.getpid()) or "")

    def gone(self) -> bool:
        """Return whether it was a process of this machine and is no longer there."""
        if self.machine != _machine():
            return False
        started = _started(self.pid)
        return started is None or bool(started and started != self.started)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.pid else "a process that has not given its name yet"


@dataclass(frozen=True)
class _Seen:
    """A claim as it lies there: its owner, and what changes with each of the owner's signs of life."""

    owner: Owner
    beat: tuple[int, int]


def path_of(record: Path) -> Path:
    """Return where the claim of a record's run lies."""
    return record.with_suffix(".claim")


class RunLock:
    """The right to execute a run, as a context manager; within, its owner shows signs of life.

    Attributes:
        lost: who has it instead, where this process was taken for gone.
        remade: whether the claim had been deleted, as with its folder, and was made again.
    """

    def __init__(self, record: Path) -> None:
        self.path, self.owner = path_of(record), Owner.new()
        self.lost: Owner | None = None
        self.remade = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> RunLock:
        """Claim the run, and remove what others left of it half written.

        Raises:
            TakenError: somebody else has it.
            UserError: the folder cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _take(self.path, self.owner)
            for left in leftovers(self.path):
                if left != self.path:
                    left.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{self.path}: cannot claim the run: {reason(error)}") from None
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            try:
                _remove(self.path, self.owner.token)
            except OSError:  # no room for one more file; nobody else takes a claim whose owner lives
                self.path.unlink(missing_ok=True)

    def _live(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(OSError):
                self.beat()

    def beat(self) -> None:
        """Show a sign of life, and see whether the claim is still this process's."""
        seen = _look(self.path)
        if seen is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                _take(self.path, self.owner)
                self.remade = True
            except LockedError as error:
                self.lost = error.owner
        elif seen.owner.token == self.owner.token:
            os.utime(self.path)
        else:
            self.lost = seen.owner


class Watch:
    """Looks at claims again and again, and so finds out which of other machines are lost."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[_Seen, float]] = {}

    def owner(self, record: Path) -> Owner | None:
        """Return who is at the record's run; None where it may be claimed."""
        return self._owner(path_of(record))

    def _owner(self, path: Path) -> Owner | None:
        seen = _look(path)
        if seen is None:
            return None
        if not seen.owner.gone() and not self._silent(path, seen):
            return seen.owner
        if (remover := self._owner(_right(path, seen.owner.token))) is not None:
            return remover
        with suppress(OSError):  # whoever claims the run says why nothing can be written
            _remove(path, seen.owner.token)
        return None

    def _silent(self, path: Path, seen: _Seen) -> bool:
        """Return whether a claim has not changed for too long."""
        now = time.monotonic()
        before, since = self._seen.get(path, (None, now))
        if before != seen:
            since = now
        self._seen[path] = (seen, since)
        return now - since > (STALE_SECONDS if seen.owner.pid else UNSIGNED_SECONDS)


def leftovers(path: Path) -> Iterator[Path]:
    """Yield what lies beside a claim's record only while somebody is at it, or because somebody was killed."""
    run = f".{path.stem}."
    for entry in list(path.parent.iterdir()):
        if entry.name.startswith(path.name) or (entry.name.startswith(run) and entry.name.endswith(".tmp")):
            yield entry


def _take(path: Path, owner: Owner) -> None:
    """Create the claim at ``path``.

    Raises:
        TakenError: there is one of somebody who is not known to be gone.
        OSError: no file can be written there; none is.
    """
    tries = 0
    while True:
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            if (seen := _look(path)) is None:
                continue
            if not seen.owner.gone() or tries == TRIES:
                raise LockedError(seen.owner) from None
            tries += 1
            _remove(path, seen.owner.token)
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
    """Remove the claim at ``path`` if it is the one of ``token``; where somebody else is about to, leave it to them."""
    right = _right(path, token)
    try:
        _take(right, Owner.new())
    except LockedError:
        time.sleep(0.01)
        return
    try:
        seen = _look(path)
        if seen is not None and seen.owner.token == token:
            path.unlink(missing_ok=True)
    finally:
        right.unlink(missing_ok=True)


def _right(path: Path, token: str) -> Path:
    """Return where the right to remove a claim is claimed."""
    return path.with_name(f"{path.name}.{token}")


def _look(path: Path) -> _Seen | None:
    """Return the claim at ``path``; None where there is none.

    It is opened even for its times alone: network file systems ask their server only then.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read()
    except FileNotFoundError:
        return None
    beat = (status.st_mtime_ns, status.st_ino)
    try:
        owner = Owner(**json.loads(content))
        if re.fullmatch("[0-9a-f]{32}", owner.token) and isinstance(owner.pid, int) and owner.pid > 0:
            return _Seen(owner, beat)
    except (TypeError, ValueError):
        pass
    return _Seen(Owner(f"{beat[0]:x}-{beat[1]:x}"), beat)


@functools.cache
def _machine() -> str:
    """Return what tells this machine, its present boot and, in a container, its processes from all others."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(str(os.readlink("/proc/self/ns/pid")))
    return " ".join(parts)


def _started(pid: int) -> str | None:
    """Return when a process of this machine started, "" where that cannot be known; None where there is none.

    On Linux in ticks since the machine's start, which no change of its clock moves. One that is dead and not yet
    waited for is gone.
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
