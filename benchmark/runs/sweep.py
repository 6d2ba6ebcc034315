"""``python -m benchmark run``: from the user's words to runs, and from their records to the closing table."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from benchmark import protocol, tables
from benchmark.common import registry
from benchmark.common.atomic import writing
from benchmark.common.errors import UserError
from benchmark.data.location import make_ready, place_for, require
from benchmark.evaluation import detectron
from benchmark.models.catalogue import find_backbone
from benchmark.records import read
from benchmark.runs import distributed, pool, slurm, tracking
from benchmark.runs import request as requests
from benchmark.runs.display import Display, title
from benchmark.runs.job import Job
from benchmark.runs.pending import find_pending
from benchmark.training.runtime import RuntimeOptions

BYTES_PER_RUN = 1.5e9
Launch = Callable[[list[Job], Console], list[pool.Outcome]]


@dataclass(frozen=True)
class Request:
    """The options of ``run``, as the user gave them."""

    protocol: str
    all_methods: bool
    methods: str
    seeds: str
    backbone: str | None
    weights: Path | None
    revision: str | None
    vfm: tuple[str, ...]
    data_root: Path | None
    records: Path
    quick: bool
    force: bool
    workers: int | None
    threads: int
    given: tuple[str, ...]
    evaluator: str | None = None
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    track: str | None = None
    launcher: str | None = None
    slurm: tuple[str, ...] = ()
    detach: bool = False


def run(request: Request) -> None:
    """Execute what is due, then print where the records lie and the table they make.

    Raises:
        UserError: anything that can be known before training starts.
        SystemExit: code 1 where a run did not finish.
    """
    console = Console(stderr=True, quiet=not _leads())
    fixed = protocol.with_vfm(protocol.load(request.protocol, "quick" if request.quick else None), request.vfm)
    wanted = wanted_by(request, fixed)
    if request.evaluator is not None:
        detectron.require()
    if request.track is not None:
        tracking.require(request.track)
    launch = _launch(request)
    place = place_for(fixed, request.data_root)
    wanted = [replace(job, data_root=place) for job in wanted]
    started = time.monotonic()
    outcomes = carry_out(wanted, request.workers, console, launch, force=request.force, every=request.all_methods)
    if _leads():
        _close(wanted, console, time.monotonic() - started)
    end(outcomes, console)


def wanted_by(request: Request, fixed: protocol.Protocol) -> list[Job]:
    """Return the runs of the protocol that the user asks for, done already or not; where data lie is not looked up.

    Raises:
        UserError: an unknown method or backbone, settings that nobody has.
    """
    names = _methods(request)
    backbone = find_backbone(request.backbone or fixed.backbone).name
    return requests.plan(
        fixed, backbone, names, requests.parse_seeds(request.seeds), requests.parse_given(request.given),
        data_root=request.data_root or Path(), folder=request.records,
        weights=request.weights, revision=request.revision, threads=request.threads, evaluator=request.evaluator,
        runtime=request.runtime, tracker=request.track,
    )  # fmt: skip


def carry_out(
    wanted: list[Job],
    workers: int | None,
    console: Console,
    launch: Launch | None = None,
    *,
    force: bool = False,
    every: bool = False,
) -> list[pool.Outcome]:
    """Execute those of the wanted runs that are due; first make their data, where these are rendered.

    Args:
        wanted: runs of one protocol.
        workers: how many at a time; by cores and memory if None.
        console: where progress is shown.
        launch: executes the runs elsewhere; None does here.
        force: repeat finished runs, too.
        every: leave out the methods that cannot serve the backbone, and say so, instead of refusing them.

    Raises:
        UserError: anything that can be known before training starts.
    """
    before = {job: pool.stamp(job) for job in wanted}
    due = find_pending(wanted, force)
    for job in set(wanted) - set(due):
        pool.tidy(job)
    if len(due) < len(wanted):
        console.print(f"{len(wanted) - len(due)} of {len(wanted)} runs are finished already", highlight=False)
    due = _try_out(due, every, console)
    if not due:
        return []
    with _one_per_machine():
        due[0].make_backbone()  # fetched once, and refused before data are rendered or read
        make_ready(due[0].protocol, due[0].data_root, console)
    require(due[0].protocol, due[0].data_root)
    signal.signal(signal.SIGTERM, _interrupted)
    return _execute(due, workers, console, before) if launch is None else launch(due, console)


def end(outcomes: list[pool.Outcome], console: Console) -> None:
    """Say which runs did not finish, and why.

    Raises:
        SystemExit: code 2 where one was refused, 1 where one ended in another way.
    """
    unfinished = [outcome for outcome in outcomes if outcome.state != "finished"]
    if any(outcome.state == "crashed" for outcome in unfinished):
        console.quiet = False  # of several processes that share a run the one that speaks for all may be gone
    for outcome in unfinished:
        console.print(f"{outcome.state}: {title(outcome.job)}: {outcome.text}", markup=False, soft_wrap=True)
    if unfinished:
        sys.exit(2 if any(outcome.state == "refused" for outcome in unfinished) else 1)


def _methods(request: Request) -> list[str]:
    if request.all_methods and request.methods:
        raise UserError("--all and --methods: give one of them")
    if request.all_methods:
        return registry.main_methods()
    return requests.parse_methods(request.methods)


def _launch(request: Request) -> Launch | None:
    if request.launcher is None:
        if request.slurm or request.detach:
            raise UserError("--slurm and --detach say how runs are submitted: give --launcher slurm, too")
        return None
    if request.workers is not None:
        raise UserError("--workers counts runs on this machine; with --launcher slurm, --slurm array_parallelism=N")
    if _together():
        raise UserError("--launcher slurm submits runs once: call it without accelerate launch or torchrun")
    return slurm.make_launcher(request.slurm, request.force, request.detach)


def _try_out(due: list[Job], every: bool, console: Console) -> list[Job]:
    """Find out what would fail before anything is fetched, rendered or trained; return the jobs that can run.

    Args:
        due: the jobs to look at.
        every: leave out a method that cannot serve the backbone, and say so; given settings that it refuses are
            still refused.
        console: where to say so.

    Raises:
        UserError: settings, a method that cannot serve the backbone, the records' folder or its permissions.
    """
    unserved = set()
    for name, job in {job.method_name: job for job in due}.items():
        refusal = _refusal(job)
        if refusal is None:
            continue
        if not every or _refusal(replace(job, given={})) is None:
            raise refusal
        console.print(f"left out: {refusal}", markup=False, highlight=False, soft_wrap=True)
        unserved.add(name)
    due = [job for job in due if job.method_name not in unserved]
    for place in {job.record.parent for job in due}:
        check_writable(place)
    return due


def _refusal(job: Job) -> UserError | None:
    """Return why the method refuses the settings, the backbone or the decoder; no weights are needed for that."""
    from benchmark.models.decoder import check_queries, queries_taken  # here, since torch comes with it
    from benchmark.parameters.counting import count

    try:
        made, taken = job.make_method(), queries_taken(job.protocol.decoder)
        with suppress(RuntimeError):  # it reads the weights' values, and so only the run can tell
            count(made, job.backbone, job.make_perturbation())
            if taken and (queries := made.queries()):
                check_queries((queries().shape[0], queries().shape[1]), taken)
    except UserError as error:
        return error
    return None


def check_writable(place: Path) -> None:
    """Make the folder ``place`` and see that records can be written to it.

    Raises:
        UserError: they cannot.
    """
    with writing(place, "give another --records"):
        place.mkdir(parents=True, exist_ok=True)
    if not os.access(place, os.W_OK):
        raise UserError(f"{place}: no permission to write records; give another --records")


def _execute(
    due: list[Job], workers: int | None, console: Console, before: Mapping[Job, pool.Stamp]
) -> list[pool.Outcome]:
    with Display(len(due), console) as display:
        if _together():
            return distributed.run_here(due, display.event, before)
        return pool.run_apart(due, workers or _workers(due[0].threads), display.event, before)


def _together() -> bool:
    """Return whether ``accelerate launch`` or ``torchrun`` started this process, to run jobs with others."""
    return "LOCAL_RANK" in os.environ


def _leads() -> bool:
    """Return whether this process speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def _one_per_machine() -> AbstractContextManager[None]:
    """Let one process of each machine do what follows first, so that the others find it done."""
    if not _together():
        return nullcontext()
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available()).local_main_process_first()


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _workers(threads: int) -> int:
    """Return how many runs fit side by side: by cores and memory without a GPU, one with."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return 1
    cores = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1
    memory = int(psutil.virtual_memory().available // BYTES_PER_RUN)
    return max(1, min(cores // threads, memory))


def _close(wanted: list[Job], console: Console, seconds: float) -> None:
    """Print the table of the wanted runs' records, and where these are."""
    records = [read(job.record) for job in wanted if job.record.exists()]
    if not records:
        return
    for table in tables.build(records, methods={job.method for job in wanted}):
        print(tables.markdown(table))
    folder = wanted[0].record.parent.parent
    console.print(
        f"{len(records)} of {len(wanted)} records in {folder} ({seconds:.0f} s); as LaTeX: "
        f"python -m benchmark table --records {wanted[0].folder} --protocol {wanted[0].protocol.name}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
