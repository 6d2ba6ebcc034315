"""Commands that train: ``run``, ``plan`` (which says what ``run`` would do), ``tune``, ``stability``, ``check``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from benchmark.cli import options
from benchmark.common.errors import UserError
from benchmark.training.runtime import RuntimeOptions


class Evaluator(str, Enum):
    """Of mIoU, beside ours."""

    detectron2 = "detectron2"


class Tracker(str, Enum):
    """Of a run as it goes."""

    tensorboard = "tensorboard"
    wandb = "wandb"


class Launcher(str, Enum):
    """Of runs, instead of this machine."""

    slurm = "slurm"


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
    workers: options.Workers = None,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads of each run.")] = 1,
    given: options.Given = None,
    evaluator: Annotated[
        Optional[Evaluator], typer.Option(help="Have every mIoU computed again by it; a run fails where it differs.")
    ] = None,
    accumulate: options.Accumulate = 1,
    checkpointing: options.Checkpointing = False,
    compiled: Annotated[
        bool,
        typer.Option("--compile", help="Compile the backbone's blocks (torch.compile): slow at first, then faster."),
    ] = False,
    data_workers: Annotated[
        Optional[int],
        typer.Option(min=0, help="Processes that load data, for each that trains; default: 0, on a GPU up to 4."),
    ] = None,
    track: Annotated[
        Optional[Tracker], typer.Option(help="Tell it of losses and scores as they come; W&B writes offline.")
    ] = None,
    launcher: Annotated[
        Optional[Launcher], typer.Option(help="Submit the runs as an array of jobs, instead of running them here.")
    ] = None,
    slurm: Annotated[
        Optional[list[str]], typer.Option(help="KEY=VALUE,... of each job, such as partition=gpu,gpus_per_node=1.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Submit, and do not wait.")] = False,
) -> None:
    """Train, score and record every due run, then print the table. Finished runs are kept; killed ones resume."""
    from benchmark.runs import sweep

    sweep.run(
        sweep.Request(
            protocol=protocol, all_methods=all_methods, methods=methods, seeds=seeds, backbone=backbone,
            weights=weights, revision=revision, vfm=tuple(vfm or ()), data_root=data_root, records=records,
            quick=quick, force=force, workers=workers, threads=threads, given=tuple(given or ()),
            evaluator=evaluator.value if evaluator else None, track=track.value if track else None,
            runtime=RuntimeOptions(accumulate, checkpointing, compiled, data_workers),
            launcher=launcher.value if launcher else None, slurm=tuple(slurm or ()), detach=detach,
        )
    )  # fmt: skip


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
    force: Annotated[bool, typer.Option("--force", help="Finished runs are due, too.")] = False,
    given: options.Given = None,
    accumulate: options.Accumulate = 1,
    checkpointing: options.Checkpointing = False,
    processes: Annotated[int, typer.Option(min=1, help="GPUs that share each run (torchrun).")] = 1,
) -> None:
    """Say what run would do with these options, what it would take and what is missing; nothing is executed."""
    from benchmark.plan import command
    from benchmark.runs import sweep

    typer.echo(
        command.run(
            sweep.Request(
                protocol=protocol, all_methods=all_methods, methods=methods, seeds=seeds, backbone=backbone,
                weights=weights, revision=revision, vfm=tuple(vfm or ()), data_root=data_root, records=records,
                quick=quick, force=force, workers=None, threads=1, given=tuple(given or ()),
                runtime=RuntimeOptions(accumulate, checkpointing),
            ),
            processes,
        )
    )  # fmt: skip


def tune(
    protocol: options.ProtocolName = "streets",
    methods: Annotated[str, typer.Option("--methods", "-m", help="Only these; default: all with a rate.")] = "",
    rates: Annotated[str, typer.Option(help="The learning rates, the same for every method.")] = "1e-4,3e-4,1e-3,3e-3",
    backbone: options.Backbone = None,
    weights: options.Weights = None,
    data_root: options.DataRoot = None,
    records: options.Records = options.RUNS,
    workers: options.Workers = None,
) -> None:
    """Search every method's learning rate with equal effort, on held-out source images; print what it found."""
    from benchmark.runs import tune as search

    search.run(
        protocol, methods, rates, backbone=backbone, weights=weights, data_root=data_root, records=records,
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
    threads: Annotated[int, typer.Option(min=1, help="Processor threads.")] = 1,
) -> None:
    """Measure how far two independent Fisher estimates choose the same weights; print the table, draw the curve."""
    from benchmark.stability import command

    command.run(
        protocol, seeds, images, backbone=backbone, weights=weights, data_root=data_root, records=records,
        force=force, threads=threads,
    )  # fmt: skip


def check(
    protocol: options.ProtocolName = "streets",
    against: Annotated[
        Optional[str], typer.Option(metavar="GIT_REF", help="Compare with this commit, not with the reference records.")
    ] = None,
    methods: Annotated[str, typer.Option("--methods", "-m", help="Only these rows; default: all.")] = "",
    seeds: Annotated[str, typer.Option(help="Only these; default: all.")] = "",
    data_root: options.DataRoot = None,
    records: Annotated[
        Optional[Path], typer.Option(help="Keep the runs here, and resume; default: a temporary folder.")
    ] = None,
    reference: Annotated[Path, typer.Option(help="Folder of the reference records.")] = Path("results"),
    workers: options.Workers = None,
    miou_only: Annotated[
        bool, typer.Option("--miou-only", help="Let runs compute something else, if they lose no mIoU.")
    ] = False,
    rounding: Annotated[
        bool, typer.Option("--rounding", help="Instead, measure what rounding moves in all of the reference runs.")
    ] = False,
) -> None:
    """Run a short fixed set again: code 1 where it lost mIoU, or computes something else than before."""
    if rounding and (against or methods or seeds or miou_only):
        raise UserError("--rounding compares nothing; leave out --against, --methods, --seeds and --miou-only")
    from benchmark.check import command as checking

    if rounding:
        checking.measure_rounding(protocol, data_root=data_root, records=records, reference=reference, workers=workers)
        return
    checking.run(
        protocol, against=against, methods=methods, seeds=seeds, data_root=data_root, records=records,
        reference=reference, workers=workers, miou_only=miou_only,
    )  # fmt: skip
