"""Measures every main method on one GPU in at most eight minutes, without data or network.

``python -m tests.gpu`` writes ``results/performance/gpu.json`` after each method, and the page at the end. Weights are
random and frames are made up, so no score means anything.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmark.common import atomic, machine, registry
from benchmark.common.errors import UserError
from benchmark.common.signals import handled
from tests.gpu import facts, limits, same, sizes
from tests.gpu.measure import Row, free, measure, peak_at
from tests.gpu.page import FILE
from tests.gpu.sizes import Models, Size

SECONDS = 450.0
"""Time limit; starting and ending take the rest of the eight minutes."""
FIRST = ("full", "fishertune")
LAST = ("recyclelora", "geco", "soma")
"""Methods that decompose every matrix on the CPU when they are attached, for about a minute each."""
STOPPED = "stopped at the time limit"


class OutOfTimeError(Exception):
    """The time limit is reached."""


def main(words: Sequence[str] | None = None) -> int:
    """Measure and write; return the exit code: 1 if a method failed, 2 for a mistake of the user."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--tiny", action="store_true", help="tiny models, for a trial on any CPU")
    parser.add_argument("--methods", help="names separated by commas, instead of all main methods")
    parser.add_argument("--out", type=Path, help="JSON file to write instead of the committed one and its page")
    given = parser.parse_args(words)
    if not given.tiny and not torch.cuda.is_available():
        return _refuse("torch finds no CUDA device; use a machine with a GPU, or --tiny --out FILE for a trial")
    if given.out is None and (given.tiny or given.methods):
        return _refuse("--tiny and --methods need --out FILE: the page shows all methods at full size")
    methods = [name.strip() for name in given.methods.split(",")] if given.methods else registry.main_methods()
    try:
        for name in methods:
            registry.require("method", name)
    except UserError as error:
        return _refuse(str(error))
    size = sizes.tiny() if given.tiny else sizes.full()
    found = run(size, in_order(methods), given.out or FILE, SECONDS)
    if given.out is None:
        from tests.benchmarks import summary

        summary.main([])
    return 1 if any(row.get("error", STOPPED) != STOPPED for row in found["rows"]) else 0


def _refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return 2


def in_order(methods: Sequence[str]) -> list[str]:
    """Return the methods in the order in which they are measured: what others are compared with first."""
    return sorted(methods, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name in LAST))


def run(size: Size, methods: Sequence[str], out: Path, seconds: float) -> dict[str, Any]:
    """Measure methods one after another until the time is up; write the file after each, and return its content."""
    began = time.monotonic()
    end, models, rows, batches = began + seconds, Models(size), list[Row](), dict[int, int | None]()
    found: dict[str, Any] = {
        "machine": facts.of_machine(),
        "commit": machine.commit(),
        "settings": facts.of_settings(size, methods, seconds),
        "rows": rows,
        "peaks_of_full_by_batch": batches,
        "errors": {},
    }

    def tried(what: str, work: Callable[[], object]) -> None:
        if error := attempt(work, end):
            found["errors"][what] = error

    tried("float32", lambda: found.update(float32=same.compare(sizes.tiny())))
    for name in methods:
        _write(found, out, size, began)
        if time.monotonic() >= end:
            break
        row: Row = {"method": name}
        started = time.monotonic()
        error = attempt(partial(measure, name, size, models, row), end)
        if error:
            row["error"] = error
        rows.append(row | {"seconds": round(time.monotonic() - started, 1)})
        print(_line(row), flush=True)
        if name == limits.FULL:
            tried("full, twice the batch", partial(_larger_batches, size, models, row, batches))
    if not size.decoder:  # the plan knows only the published one
        tried("plan", partial(limits.add_plans, size, rows))
    _write(found, out, size, began)
    if found["not_reached"]:
        print(f"not reached within {seconds:.0f} s: {', '.join(found['not_reached'])}", flush=True)
    return found


def _larger_batches(size: Size, models: Models, row: Row, batches: dict[int, int | None]) -> None:
    """Measure full fine-tuning with twice the batch, too."""
    batch = size.protocol.batch
    batches[batch] = row.get("peak_bytes")
    batches[2 * batch] = peak_at(limits.FULL, size, models, 2 * batch)


def _write(found: dict[str, Any], out: Path, size: Size, began: float) -> None:
    """Write the file, with what follows from the rows so far."""
    rows: list[Row] = found["rows"]
    reached = {row["method"]: row for row in rows}
    for row in rows:
        row["to_full"] = limits.to_full(row, reached.get(limits.FULL, {}), size.protocol.iterations)
    found["not_reached"] = [name for name in found["settings"]["methods"] if name not in reached]
    found["fits"] = limits.first_too_large(rows, found["peaks_of_full_by_batch"])
    found["seconds"] = round(time.monotonic() - began, 1)
    atomic.write_file(out, (json.dumps(found, indent=1) + "\n").encode())


def attempt(work: Callable[[], object], end: float) -> str | None:
    """Call ``work`` until ``end`` at most, then free its memory; return its error in one line, if any."""
    if time.monotonic() >= end:
        return STOPPED
    message: str | None = None
    try:
        with _ending(end):
            work()
    except OutOfTimeError:
        message = STOPPED
    except Exception as error:  # whatever fails, the other methods are measured
        message = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:200]
    free()
    return message


@contextmanager
def _ending(end: float) -> Iterator[None]:
    """Raise :class:`OutOfTimeError` in the block at ``end``; without alarm signals (Windows) it is not interrupted."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise OutOfTimeError

    with handled(signal.SIGALRM, stop):
        signal.setitimer(signal.ITIMER_REAL, max(end - time.monotonic(), 1e-3))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _line(row: Row) -> str:
    step = f"{1000 * row['step_seconds']:.0f} ms per step" if "step_seconds" in row else "no step"
    memory = f", {row['peak_bytes'] / 1e9:.1f} GB" if row.get("peak_bytes") else ""
    return f"{row['method']}: {step}{memory}" + (f"; {row['error']}" if "error" in row else "")


if __name__ == "__main__":
    sys.exit(main())
