"""``python -m benchmark run``: execute the pending runs of a selection, then print the table of their records."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmark import tables
from benchmark.common.atomic import writing
from benchmark.common.errors import UserError
from benchmark.common.signals import sigterm_interrupts
from benchmark.data.location import make_ready, place_for, require
from benchmark.evaluation import detectron
from benchmark.records import read
from benchmark.runs import distributed, pool, slurm, tracking
from benchmark.runs.display import Display
from benchmark.runs.job import Job
from benchmark.runs.pending import find_pending, longest_first
from benchmark.runs.request import Selection
from benchmark.tables import terminal
from benchmark.training.runtime import RuntimeOptions

BYTES_PER_RUN = 1.5e9
Launch = Callable[[list[Job], Console], list[pool.Outcome]]
"""Executes jobs elsewhere and returns how they ended."""


def run(
    selection: Selection,
    runtime: RuntimeOptions,
    data_root: Path | None,
    records: Path,
    *,
    workers: int | None = None,
    force: bool = False,
    launch: Launch | None = None,
) -> None:
    """Execute the pending runs, then print their table and the folder of their records.

    Args:
        selection: which runs.
        runtime: how they execute.
        data_root: contains one folder per dataset; rendered ones need none.
        records: folder of all records.
        workers: runs at a time; by cores and memory if None.
        force: repeat finished runs.
        launch: executes runs elsewhere; None for this machine.

    Raises:
        UserError: anything that can be known before training starts.
        SystemExit: code 1 if a run did not finish, 2 if one was refused.
    """
    console = Console(stderr=True, quiet=not is_first())
    jobs = prepare(selection, runtime, data_root, records)
    started = time.monotonic()
    outcomes = run_pending(jobs, workers, console, launch, force=force, skip_unserved=selection.every)
    if is_first():
        _print_table(jobs, console, time.monotonic() - started)
    report_unfinished(outcomes, console)


def prepare(selection: Selection, runtime: RuntimeOptions, data_root: Path | None, records: Path) -> list[Job]:
    """Return the selected jobs, finished or not.

    Args:
        selection, runtime, data_root, records: as for :func:`run`.

    Raises:
        UserError: an unknown name, an invalid value, no data root where one is needed, or an optional package that is
            not installed.
    """
    fixed = selection.load()
    jobs = selection.jobs(fixed, None, records, runtime)
    if runtime.evaluator is not None:
        detectron.require()
    if runtime.tracker is not None:
        tracking.require(runtime.tracker)
    place = place_for(fixed, data_root)
    return [replace(job, data_root=place) for job in jobs]


def make_launch(
    launcher: str | None, resources: tuple[str, ...], *, workers: int | None, force: bool, detach: bool
) -> Launch | None:
    """Return what executes runs for ``--launcher``; None without one.

    Args:
        launcher: ``slurm`` or None.
        resources: of each cluster job, as :meth:`benchmark.runs.slurm.resources.Resources.parse` reads them.
        workers: of the command line; it has no meaning on a cluster.
        force: repeat finished runs.
        detach: do not wait for the runs.

    Raises:
        UserError: options that contradict each other, invalid resources, or no SLURM on this machine.
    """
    if launcher is None:
        if resources or detach:
            raise UserError("--slurm and --detach only apply to submitted runs: add --launcher slurm")
        return None
    if workers is not None:
        raise UserError("--workers counts runs on this machine; with --launcher slurm, use --slurm array_parallelism=N")
    if _several_ranks():
        raise UserError("--launcher slurm submits runs once: call it without accelerate launch or torchrun")
    return slurm.make_launcher(resources, force, detach)


def run_pending(
    jobs: list[Job],
    workers: int | None,
    console: Console,
    launch: Launch | None = None,
    *,
    force: bool = False,
    skip_unserved: bool = False,
) -> list[pool.Outcome]:
    """Execute the pending ones of some jobs; first render the data that they need.

    Args:
        jobs: runs of one protocol.
        workers: runs at a time; by cores and memory if None.
        console: for progress.
        launch: executes the runs elsewhere; None for this machine.
        force: repeat finished runs.
        skip_unserved: skip methods that do not support backbone or protocol, with a note, instead of refusing them.

    Raises:
        UserError: anything that can be known before training starts.
    """
    before = {job: pool.stamp(job) for job in jobs}
    pending = find_pending(jobs, force)
    for job in set(jobs) - set(pending):
        pool.tidy(job)
    if len(pending) < len(jobs):
        console.print(f"{len(jobs) - len(pending)} of {len(jobs)} runs are finished already", highlight=False)
    if pending and launch is None and not _several_ranks():
        pool.start_server(pending[0].runtime.threads)  # its imports and the checks take seconds: side by side
    pending = _check(pending, skip_unserved, console)
    if not pending:
        return []
    first = pending[0]
    require(first.spec.protocol, first.data_root)
    with sigterm_interrupts(), _one_rank_per_machine_first():
        first.spec.read_pretrained()  # downloads once, and refuses bad weights before data are rendered or read
        make_ready(first.spec.protocol, first.data_root, console)
    with sigterm_interrupts():
        if launch is not None:
            return launch(pending, console)
        with Display(len(pending), console) as display:
            if _several_ranks():
                return distributed.run_on_ranks(pending, display.show, before)
            workers = workers or _workers(first.runtime.threads)
            return pool.run_in_processes(longest_first(pending), workers, display.show, before)


def report_unfinished(outcomes: list[pool.Outcome], console: Console) -> None:
    """Print which runs did not finish; why is printed as each one ends.

    Raises:
        SystemExit: code 2 if one was refused, 1 if one ended in another way.
    """
    unfinished = [outcome for outcome in outcomes if outcome.state != "finished"]
    # The rank that prints may be gone; the others, which have printed nothing yet, then say why.
    lost = console.quiet and any(outcome.state == "crashed" for outcome in unfinished)
    console.quiet = console.quiet and not lost
    if unfinished:
        names = "; ".join(
            f"{each.job.spec.title} ({each.state}{f': {each.text}' if lost else ''})" for each in unfinished
        )
        why = "" if lost else "; the lines above say why"
        console.print(f"not finished: {names}{why}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2 if any(outcome.state == "refused" for outcome in unfinished) else 1)


def _check(pending: list[Job], skip_unserved: bool, console: Console) -> list[Job]:
    """Find what would fail before anything is downloaded, rendered or trained; return the jobs that can run.

    Args:
        pending: the jobs.
        skip_unserved: skip a method that does not support backbone or protocol, with a note; hyperparameters of the
            user that it refuses are still refused.
        console: for the note.

    Raises:
        UserError: hyperparameters, a method that does not support backbone or protocol, a records folder that cannot
            be written.
    """
    unserved, notes = set(), dict[str, None]()
    for name, job in {job.spec.method_name: job for job in pending}.items():
        refusal = _refusal(job)
        if refusal is None:
            continue
        if not skip_unserved or _refusal(replace(job, spec=replace(job.spec, given={}))) is None:
            raise refusal
        notes[f"skipped: {refusal}"] = None  # once for all its hyperparameters
        unserved.add(name)
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    pending = [job for job in pending if job.spec.method_name not in unserved]
    for folder in {job.record.parent for job in pending}:
        check_writable(folder)
    return pending


def _refusal(job: Job) -> UserError | None:
    """Return why the method refuses its hyperparameters, the backbone or the protocol; this needs no weights."""
    from benchmark.models.decoder import check_queries, queries_taken  # here, since they import torch
    from benchmark.parameters.counting import count
    from benchmark.training.schedule import phases

    spec = job.spec
    try:
        made, taken = spec.make_method(), queries_taken(spec.protocol.decoder)
        with suppress(RuntimeError):  # it reads the weights' values, so this is only known in the run
            count(made, spec.backbone, spec.make_perturbation())
            phases(made, spec.protocol)
            if taken and (queries := made.queries()):
                check_queries((queries().shape[0], queries().shape[1]), taken)
    except UserError as error:
        return error
    return None


def check_writable(folder: Path, option: str = "--records") -> None:
    """Create a folder that ``option`` names, and check that records can be written to it.

    Raises:
        UserError: they cannot.
    """
    with writing(folder, f"give another {option}"):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder}: no permission to write records; give another {option}")


def _several_ranks() -> bool:
    """Return whether ``accelerate launch`` or ``torchrun`` started this process as one of several ranks."""
    return "LOCAL_RANK" in os.environ


def ranks() -> int:
    """Return the number of ranks of each run."""
    return int(os.environ.get("WORLD_SIZE", "1")) if _several_ranks() else 1


def is_first() -> bool:
    """Return whether this rank prints for all."""
    return os.environ.get("RANK", "0") == "0"


def _one_rank_per_machine_first() -> AbstractContextManager[None]:
    """Let one rank of each machine execute the block first, so that the others find its results."""
    if not _several_ranks():
        return nullcontext()
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available()).local_main_process_first()


def _workers(threads: int) -> int:
    """Return how many runs to execute at a time: by cores and memory without a GPU, one with a GPU."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return 1
    cores = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1
    memory = int(psutil.virtual_memory().available // BYTES_PER_RUN)
    return max(1, min(cores // threads, memory))


def _print_table(jobs: list[Job], console: Console, seconds: float) -> None:
    """Print the table of the jobs' records, and where these are."""
    records = [read(job.record) for job in jobs if job.record.exists()]
    if not records:
        return
    terminal.show(tables.build(records, methods={job.spec.method for job in jobs}))
    first = jobs[0]
    console.print(
        f"{len(records)} of {len(jobs)} records in {first.record.parent.parent} ({seconds:.0f} s); as LaTeX: "
        f"python -m benchmark table --records {first.folder} --protocol {first.spec.protocol.name}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
