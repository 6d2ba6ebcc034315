"""Commands that train: ``run``, ``plan`` (prints what ``run`` would do), ``tune``, ``stability``, ``check``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from benchmark.cli import options
from benchmark.common.errors import UserError
from benchmark.common.terminal import width
from benchmark.training.runtime import RuntimeOptions

if TYPE_CHECKING:
    from benchmark.runs.request import Selection


class Evaluator(str, Enum):
    """A second evaluator of mIoU."""

    detectron2 = "detectron2"


class Tracker(str, Enum):
    """Where losses and scores are logged."""

    tensorboard = "tensorboard"
    wandb = "wandb"


class CheckPart(str, Enum):
    """One of the two parts of check."""

    micro = "micro"
    runs = "runs"


class Launcher(str, Enum):
    """Where runs execute, if not on this machine."""

    slurm = "slurm"


def _selection(
    protocol: str,
    quick: bool,
    vfm: list[str] | None,
    every: bool,
    methods: str,
    seeds: str,
    given: list[str] | None,
    backbone: str | None,
    weights: Path | None,
    revision: str | None,
) -> Selection:
    from benchmark.runs.request import Selection

    return Selection(
        protocol, quick, tuple(vfm or ()), every, methods, seeds, tuple(given or ()), backbone, weights, revision
    )


def _value(choice: Enum | None) -> str | None:
    return None if choice is None else str(choice.value)


def run(
    protocol: options.ProtocolName = "streets",
    all_methods: options.AllMethods = False,
    methods: options.Methods = "",
    seeds: options.Seeds = "0",
    backbone: options.Backbone = None,
    weights: options.Weights = None,
    revision: options.Revision = None,
    vfm: options.Vfm = None,
    data_root: options.DataRoot = None,
    records: options.Records = options.RUNS,
    quick: options.Quick = False,
    force: Annotated[bool, typer.Option("--force", help="Repeat finished runs.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what plan says about these runs, and start none.")
    ] = False,
    workers: options.Workers = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each run.")] = 1,
    given: options.Given = None,
    evaluator: Annotated[
        Optional[Evaluator],
        typer.Option(
            case_sensitive=False, help="Recompute every mIoU with a second evaluator; a run fails if they differ."
        ),
    ] = None,
    accumulate: options.Accumulate = 1,
    checkpointing: options.Checkpointing = False,
    compiled: Annotated[
        bool,
        typer.Option("--compile", help="Compile the backbone (torch.compile): adds minutes of start-up, then faster."),
    ] = False,
    data_workers: Annotated[
        Optional[int],
        typer.Option(min=0, help="Data-loader workers of each run, or of each rank; default: 0, on a GPU up to 4."),
    ] = None,
    track: Annotated[
        Optional[Tracker],
        typer.Option(case_sensitive=False, help="Log losses and scores to a tracker; W&B writes offline."),
    ] = None,
    launcher: Annotated[
        Optional[Launcher],
        typer.Option(case_sensitive=False, help="Submit the runs as a job array instead of running them here."),
    ] = None,
    slurm: Annotated[
        Optional[list[str]], typer.Option(help="KEY=VALUE,... of each job, such as partition=gpu,gpus_per_node=1.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Submit, and do not wait.")] = False,
) -> None:
    """Train, evaluate and record every pending run, then print the table. Re-run to resume after an interruption."""
    from benchmark.plan import command
    from benchmark.runs import sweep

    selection = _selection(protocol, quick, vfm, all_methods, methods, seeds, given, backbone, weights, revision)
    runtime = RuntimeOptions(
        threads=threads, accumulate=accumulate, checkpointing=checkpointing, compile=compiled,
        data_workers=data_workers, evaluator=_value(evaluator), tracker=_value(track),
    )  # fmt: skip
    if dry_run:
        if sweep.is_first():
            ranks = sweep.ranks()
            typer.echo(command.run(selection, runtime, data_root, records, force=force, processes=ranks, room=width()))
        return
    launch = sweep.make_launch(_value(launcher), tuple(slurm or ()), workers=workers, force=force, detach=detach)
    sweep.run(selection, runtime, data_root, records, workers=workers, force=force, launch=launch)


def plan(
    protocol: options.ProtocolName = "streets",
    all_methods: options.AllMethods = False,
    methods: options.Methods = "",
    seeds: options.Seeds = "0",
    backbone: options.Backbone = None,
    weights: options.Weights = None,
    revision: options.Revision = None,
    vfm: options.Vfm = None,
    data_root: options.DataRoot = None,
    records: options.Records = options.RUNS,
    quick: options.Quick = False,
    force: Annotated[bool, typer.Option("--force", help="Count finished runs as pending.")] = False,
    given: options.Given = None,
    accumulate: options.Accumulate = 1,
    checkpointing: options.Checkpointing = False,
    processes: Annotated[int, typer.Option(min=1, help="Ranks (GPUs) of each run, as torchrun starts them.")] = 1,
) -> None:
    """Print what run would do with these options, what it would need, and what is missing; nothing is executed."""
    from benchmark.plan import command

    selection = _selection(protocol, quick, vfm, all_methods, methods, seeds, given, backbone, weights, revision)
    runtime = RuntimeOptions(accumulate=accumulate, checkpointing=checkpointing)
    typer.echo(command.run(selection, runtime, data_root, records, force=force, processes=processes, room=width()))


def tune(
    protocol: options.ProtocolName = "streets",
    methods: Annotated[
        str, typer.Option("--methods", "-m", help="Only these methods; default: all that have a learning rate.")
    ] = "",
    rates: Annotated[
        str,
        typer.Option(help="Coarse grid of learning rates, the same for every method, tried at a third of the length."),
    ] = "1e-6,1e-5,1e-4,1e-3,1e-2,1e-1",
    backbone: options.Backbone = None,
    weights: options.Weights = None,
    data_root: options.DataRoot = None,
    records: options.Records = options.RUNS,
    workers: options.Workers = None,
    given: options.Given = None,
) -> None:
    """Search every method's learning rate by one rule, on held-out source images; print the rates found."""
    from benchmark.runs import tune as search

    search.run(
        protocol, methods, rates, given or (), backbone=backbone, weights=weights, data_root=data_root, records=records,
        workers=workers,
    )  # fmt: skip


def stability(
    protocol: options.ProtocolName = "streets",
    seeds: Annotated[str, typer.Option(help="Seeds: 0, 0,1,2 or 0-4; two estimates each.")] = "0",
    images: Annotated[str, typer.Option(help="Numbers of images, such as 8,16,32; default: 1 to 32 batches.")] = "",
    backbone: options.Backbone = None,
    weights: options.Weights = None,
    data_root: options.DataRoot = None,
    records: options.Records = options.RUNS,
    force: Annotated[bool, typer.Option("--force", help="Repeat finished seeds.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Measure how many weights two independent Fisher estimates both select; print a table, draw the curve."""
    from benchmark.stability import command

    command.run(
        protocol, seeds, images, backbone=backbone, weights=weights, data_root=data_root, records=records,
        force=force, threads=threads,
    )  # fmt: skip


def check(
    protocol: options.ProtocolName = "streets",
    against: Annotated[
        Optional[str],
        typer.Option(metavar="GIT_REF", help="Compare with this commit, not with the reference."),
    ] = None,
    methods: Annotated[str, typer.Option("--methods", "-m", help="Only these methods; default: all.")] = "",
    seeds: Annotated[str, typer.Option(help="Only these seeds; default: all.")] = "",
    data_root: options.DataRoot = None,
    records: Annotated[
        Optional[Path], typer.Option(help="Keep the runs in this folder, to resume them; default: a temporary folder.")
    ] = None,
    reference: Annotated[Path, typer.Option(help="Folder of the reference records.")] = Path("results"),
    workers: options.Workers = None,
    miou_only: Annotated[
        bool, typer.Option("--miou-only", help="Accept runs that compute something else, unless they lose mIoU.")
    ] = False,
    only: Annotated[
        Optional[CheckPart],
        typer.Option(
            case_sensitive=False, help="Only the micro-cases (seconds, the same on every machine), or only the runs."
        ),
    ] = None,
    rounding: Annotated[
        bool,
        typer.Option("--rounding", help="Only measure how much rounding changes the reference runs."),
    ] = False,
    micro_reference: Annotated[
        bool,
        typer.Option("--micro-reference", help="Only compute the references of the micro-cases and their tolerances."),
    ] = False,
    pythons: Annotated[
        Optional[list[Path]],
        typer.Option("--python", help="Further Python, with other library versions, to measure tolerances with."),
    ] = None,
) -> None:
    """Repeat micro-cases and short runs; fail (code 1) if a change lowers mIoU or computes something else."""
    if (rounding or micro_reference) and (against or methods or seeds or miou_only or only):
        option = "--rounding" if rounding else "--micro-reference"
        raise UserError(f"{option} does not compare: leave out --against, --methods, --seeds, --miou-only and --only")
    if only is CheckPart.micro and (against or miou_only):
        raise UserError("--only micro compares with the micro-references: leave out --against and --miou-only")
    if pythons and not micro_reference:
        raise UserError("--python is for --micro-reference")
    from benchmark.check import command as checking

    if micro_reference:
        checking.measure_micro(reference, pythons or [])
        return

    if rounding:
        checking.measure_rounding(protocol, data_root=data_root, records=records, reference=reference, workers=workers)
        return
    checking.run(
        protocol, against=against, methods=methods, seeds=seeds, data_root=data_root, records=records,
        reference=reference, workers=workers, miou_only=miou_only, only=_value(only),
    )  # fmt: skip
