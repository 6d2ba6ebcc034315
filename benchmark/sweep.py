"""``python -m benchmark run``: from the user's words to runs, and from their records to the closing table."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmark import jobs, protocol, registry, runs, tables
from benchmark.console import Display, title
from benchmark.errors import UserError
from benchmark.models.catalogue import find_backbone
from benchmark.records import read
from benchmark.roots import data_root_for

BYTES_PER_RUN = 1.5e9


@dataclass(frozen=True)
class Request:
    """The options of ``run``, as the user gave them."""

    protocol: str
    all_methods: bool
    methods: str
    seeds: str
    backbone: str | None
    weights: Path | None
    data_root: Path | None
    records: Path
    quick: bool
    force: bool
    workers: int | None
    threads: int
    given: tuple[str, ...]


def run(request: Request) -> None:
    """Execute what is due, then print where the records lie and the table they make.

    Raises:
        UserError: anything that can be known before training starts.
        SystemExit: code 1 where a run did not finish.
    """
    console = Console(stderr=True)
    fixed = protocol.load(request.protocol, "quick" if request.quick else None)
    names = _methods(request)
    backbone = find_backbone(request.backbone or fixed.backbone).name
    wanted = jobs.plan(
        fixed, backbone, names, jobs.parse_seeds(request.seeds), jobs.parse_given(request.given),
        data_root=data_root_for(fixed, request.data_root, console), folder=request.records,
        weights=request.weights, threads=request.threads,
    )  # fmt: skip
    started = time.monotonic()
    outcomes = carry_out(wanted, request.workers, console, force=request.force)
    _close(wanted, console, time.monotonic() - started)
    end(outcomes, console)


def carry_out(
    wanted: list[jobs.Job], workers: int | None, console: Console, *, force: bool = False
) -> list[runs.Outcome]:
    """Execute those of the wanted runs that are due.

    Raises:
        UserError: anything that can be known before training starts.
    """
    due = runs.due(wanted, force)
    _try_out(due)
    if len(due) < len(wanted):
        console.print(f"{len(wanted) - len(due)} of {len(wanted)} runs are finished already", highlight=False)
    return _execute(due, workers, console) if due else []


def end(outcomes: list[runs.Outcome], console: Console) -> None:
    """Say which runs did not finish, and why.

    Raises:
        SystemExit: code 2 where one was refused, 1 where one ended in another way.
    """
    unfinished = [outcome for outcome in outcomes if outcome.state != "finished"]
    for outcome in unfinished:
        console.print(f"{outcome.state}: {title(outcome.job)}: {outcome.text}", markup=False, soft_wrap=True)
    if unfinished:
        sys.exit(2 if any(outcome.state == "refused" for outcome in unfinished) else 1)


def _methods(request: Request) -> list[str]:
    if request.all_methods and request.methods:
        raise UserError("--all and --methods: give one of them")
    if request.all_methods:
        return list(registry.names("method"))
    names = listed(request.methods)
    if not names:
        raise UserError("nothing to run: give --all, or --methods with names from: python -m benchmark list methods")
    return names


def listed(text: str) -> list[str]:
    """Return the names in a text that separates them by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _try_out(due: list[jobs.Job]) -> None:
    """Find out what would fail before anything trains: settings, the records' folder, its permissions."""
    for job in due:
        job.make_method()
        place = job.record.parent
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{place}: cannot hold records: {error.strerror}; give another --records") from None
        if not os.access(place, os.W_OK):
            raise UserError(f"{place}: no permission to write records; give another --records")


def _execute(due: list[jobs.Job], workers: int | None, console: Console) -> list[runs.Outcome]:
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    with Display(len(due), console) as display:
        if "LOCAL_RANK" in os.environ:
            return runs.run_here(due, display.event)
        return runs.run_apart(due, workers or _workers(due[0].threads), display.event)


def _workers(threads: int) -> int:
    """Return how many runs fit side by side: by cores and memory without a GPU, one with."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return 1
    cores = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1
    memory = int(psutil.virtual_memory().available // BYTES_PER_RUN)
    return max(1, min(cores // threads, memory))


def _close(wanted: list[jobs.Job], console: Console, seconds: float) -> None:
    """Print the table of the wanted runs' records, and where these are."""
    records = [read(job.record) for job in wanted if job.record.exists()]
    if not records:
        return
    for table in tables.build(records):
        print(tables.markdown(table))
    folder = wanted[0].record.parent.parent
    console.print(
        f"{len(records)} of {len(wanted)} records in {folder} ({seconds:.0f} s); as LaTeX: "
        f"python -m benchmark table --records {wanted[0].folder} --protocol {wanted[0].protocol.name}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
