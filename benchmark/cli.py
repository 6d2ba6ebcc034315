"""The command line: words in, calls out. Heavy imports wait until a command needs them."""

from __future__ import annotations

import os
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from benchmark import __version__
from benchmark.errors import UserError, printable

app = typer.Typer(
    name="python -m benchmark",
    help="FisherTune and its rivals under one protocol for domain generalised semantic segmentation.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at, check and render data sets.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data_app, name="data")

ProtocolName = Annotated[str, typer.Option("--protocol", "-p", help="A protocol's name, or a YAML file.")]
DataRoot = Annotated[
    Optional[Path], typer.Option(help="Folder with one folder per data set; rendered protocols need none.")
]
Records = Annotated[Path, typer.Option(help="Folder of the records.")]
RUNS = Path("runs")
PULLED = Path("pulled")


class Format(str, Enum):
    """Of a printed table."""

    latex = "latex"
    markdown = "markdown"
    csv = "csv"
    html = "html"


class Which(str, Enum):
    """Of the tables: FisherTune's by number, or the suite's own."""

    one = "1"
    two = "2"
    three = "3"
    four = "4"
    five = "5"
    main = "main"


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


class Kind(str, Enum):
    """Of things that can be listed."""

    protocols = "protocols"
    methods = "methods"
    backbones = "backbones"
    datasets = "datasets"
    runs = "runs"


def _version(value: bool) -> None:
    if value:
        typer.echo(f"dgss-benchmark {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    protocol: ProtocolName = "streets",
    all_methods: Annotated[bool, typer.Option("--all", help="Every method but the ablations.")] = False,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            "-m",
            help="Methods, table4, table5, figure3, figure5, separated by commas; lora+perturbed perturbs.",
        ),
    ] = "",
    seeds: Annotated[str, typer.Option(help="Seeds: 0, 0,1,2 or 0-4.")] = "0",
    backbone: Annotated[Optional[str], typer.Option(help="Instead of the protocol's own.")] = None,
    weights: Annotated[
        Optional[Path], typer.Option(help="Safetensors file with the backbone's weights, not to download them.")
    ] = None,
    revision: Annotated[
        Optional[str], typer.Option(help="Commit of the backbone's hub repository, instead of the pinned one.")
    ] = None,
    vfm: Annotated[
        Optional[list[str]],
        typer.Option("--vfm", help="resample=bicubic|pi (timm's), normalisation=imagenet|own; again for both."),
    ] = None,
    data_root: DataRoot = None,
    records: Records = RUNS,
    quick: Annotated[bool, typer.Option("--quick", help="The protocol's tiny variant: a first look.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Repeat finished runs.")] = False,
    workers: Annotated[
        Optional[int], typer.Option(min=1, help="Runs at a time; default: one per core without a GPU, else 1.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads of each run.")] = 1,
    given: Annotated[
        Optional[list[str]],
        typer.Option("--set", help="METHOD.SETTING=VALUE, such as lora.rank=4; given twice, both are run."),
    ] = None,
    evaluator: Annotated[
        Optional[Evaluator], typer.Option(help="Have every mIoU computed again by it; a run fails where it differs.")
    ] = None,
    accumulate: Annotated[
        int, typer.Option(min=1, help="Steps in which a process takes its images of a batch, which stays as large.")
    ] = 1,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Compute blocks again in the backward pass: less memory, more time.")
    ] = False,
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
    from benchmark import sweep

    sweep.run(
        sweep.Request(
            protocol=protocol, all_methods=all_methods, methods=methods, seeds=seeds, backbone=backbone,
            weights=weights, revision=revision, vfm=tuple(vfm or ()), data_root=data_root, records=records,
            quick=quick, force=force, workers=workers, threads=threads, given=tuple(given or ()),
            evaluator=evaluator.value if evaluator else None, track=track.value if track else None,
            accumulate=accumulate, checkpointing=checkpointing, launcher=launcher.value if launcher else None,
            slurm=tuple(slurm or ()), detach=detach,
        )
    )  # fmt: skip


@app.command()
def plan(
    protocol: ProtocolName = "streets",
    all_methods: Annotated[bool, typer.Option("--all", help="Every method but the ablations.")] = False,
    methods: Annotated[str, typer.Option("--methods", "-m", help="As for run.")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds: 0, 0,1,2 or 0-4.")] = "0",
    backbone: Annotated[Optional[str], typer.Option(help="Instead of the protocol's own.")] = None,
    weights: Annotated[Optional[Path], typer.Option(help="Safetensors file with the backbone's weights.")] = None,
    revision: Annotated[Optional[str], typer.Option(help="Commit of the backbone's hub repository.")] = None,
    vfm: Annotated[Optional[list[str]], typer.Option("--vfm", help="As for run.")] = None,
    data_root: DataRoot = None,
    records: Records = RUNS,
    quick: Annotated[bool, typer.Option("--quick", help="The protocol's tiny variant.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Finished runs are due, too.")] = False,
    given: Annotated[
        Optional[list[str]], typer.Option("--set", help="METHOD.SETTING=VALUE, such as lora.rank=4.")
    ] = None,
    accumulate: Annotated[int, typer.Option(min=1, help="As for run.")] = 1,
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="As for run.")] = False,
    processes: Annotated[int, typer.Option(min=1, help="GPUs that share each run (torchrun).")] = 1,
) -> None:
    """Say what run would do with these options, what it would take and what is missing; nothing is executed."""
    from benchmark import sweep
    from benchmark.plan import command

    typer.echo(
        command.run(
            sweep.Request(
                protocol=protocol, all_methods=all_methods, methods=methods, seeds=seeds, backbone=backbone,
                weights=weights, revision=revision, vfm=tuple(vfm or ()), data_root=data_root, records=records,
                quick=quick, force=force, workers=None, threads=1, given=tuple(given or ()), accumulate=accumulate,
                checkpointing=checkpointing,
            ),
            processes,
        )
    )  # fmt: skip


@app.command()
def tune(
    protocol: ProtocolName = "streets",
    methods: Annotated[str, typer.Option("--methods", "-m", help="Only these; default: all with a rate.")] = "",
    rates: Annotated[str, typer.Option(help="The learning rates, the same for every method.")] = "1e-4,3e-4,1e-3,3e-3",
    backbone: Annotated[Optional[str], typer.Option(help="Instead of the protocol's own.")] = None,
    weights: Annotated[Optional[Path], typer.Option(help="Safetensors file with the backbone's weights.")] = None,
    data_root: DataRoot = None,
    records: Records = RUNS,
    workers: Annotated[Optional[int], typer.Option(min=1, help="Runs at a time.")] = None,
) -> None:
    """Search every method's learning rate with equal effort, on held-out source images; print what it found."""
    from benchmark import tune as search

    search.run(
        protocol, methods, rates, backbone=backbone, weights=weights, data_root=data_root, records=records,
        workers=workers,
    )  # fmt: skip


@app.command()
def stability(
    protocol: ProtocolName = "streets",
    seeds: Annotated[str, typer.Option(help="Seeds: 0, 0,1,2 or 0-4; two estimates each.")] = "0",
    images: Annotated[str, typer.Option(help="Numbers of images, such as 8,16,32; default: 1 to 32 batches.")] = "",
    backbone: Annotated[Optional[str], typer.Option(help="Instead of the protocol's own.")] = None,
    weights: Annotated[Optional[Path], typer.Option(help="Safetensors file with the backbone's weights.")] = None,
    data_root: DataRoot = None,
    records: Records = RUNS,
    force: Annotated[bool, typer.Option("--force", help="Repeat finished seeds.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads.")] = 1,
) -> None:
    """Measure how far two independent Fisher estimates choose the same weights; print the table, draw the curve."""
    from benchmark.stability import command

    command.run(
        protocol, seeds, images, backbone=backbone, weights=weights, data_root=data_root, records=records,
        force=force, threads=threads,
    )  # fmt: skip


@app.command()
def table(
    records: Records = RUNS,
    which: Annotated[Which, typer.Option("--table", help="FisherTune's by number, or the suite's own.")] = Which.main,
    protocol: Annotated[
        Optional[str], typer.Option("--protocol", "-p", help="Only this protocol; or the paper's rows on this one.")
    ] = None,
    backbone: Annotated[Optional[str], typer.Option(help="Only this backbone.")] = None,
    methods: Annotated[
        str, typer.Option("--methods", "-m", help="Rows, as of run; default: all but ablations and perturbed ones.")
    ] = "",
    published: Annotated[bool, typer.Option("--published", help="With the figures that papers print.")] = False,
    output_format: Annotated[Format, typer.Option("--format", help="Of the table.")] = Format.latex,
    output: Annotated[Optional[Path], typer.Option(help="Write here instead of printing.")] = None,
) -> None:
    """Print a table that the records make: LaTeX (booktabs) unless another format is asked for."""
    from benchmark import tablecommand

    tablecommand.run(
        records, which.value, output_format.value, output, name=protocol, backbone=backbone, methods=methods,
        published=published,
    )  # fmt: skip


@app.command()
def figure(
    name: Annotated[Optional[str], typer.Argument(help="Which figure; without one, what there is to draw.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every figure that the records allow.")] = False,
    records: Records = RUNS,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("figures"),
    protocol: Annotated[Optional[str], typer.Option("--protocol", "-p", help="Only this protocol.")] = None,
    backbone: Annotated[Optional[str], typer.Option(help="Only this backbone.")] = None,
    methods: Annotated[
        str, typer.Option("--methods", "-m", help="To compare, as recorded; default: all but ablations and variants.")
    ] = "",
    reference: Annotated[
        Optional[str], typer.Option(help="Method that others are compared with; default: freeze.")
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Draw figures from records: PDF, PNG and caption in a folder per protocol and backbone."""
    from benchmark.figures import _command

    _command.run(_command.Request(name, every, records, out, protocol, backbone, methods, reference, data_root))


@app.command()
def report(
    records: Records = RUNS,
    output: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    protocol: Annotated[Optional[str], typer.Option("--protocol", "-p", help="Only this protocol.")] = None,
    backbone: Annotated[Optional[str], typer.Option(help="Only this backbone.")] = None,
    data_root: DataRoot = None,
) -> None:
    """Write one page of all that the records hold: tables, figures, predictions, cost, conditions."""
    from benchmark.report import command

    command.run(records, output, protocol, backbone, data_root)


@app.command()
def check(
    protocol: ProtocolName = "streets",
    against: Annotated[
        Optional[str], typer.Option(metavar="GIT_REF", help="Compare with this commit, not with the reference records.")
    ] = None,
    methods: Annotated[str, typer.Option("--methods", "-m", help="Only these rows; default: all.")] = "",
    seeds: Annotated[str, typer.Option(help="Only these; default: all.")] = "",
    data_root: DataRoot = None,
    records: Annotated[
        Optional[Path], typer.Option(help="Keep the runs here, and resume; default: a temporary folder.")
    ] = None,
    reference: Annotated[Path, typer.Option(help="Folder of the reference records.")] = Path("results"),
    workers: Annotated[Optional[int], typer.Option(min=1, help="Runs at a time.")] = None,
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
    from benchmark import check as checking

    if rounding:
        checking.measure_rounding(protocol, data_root=data_root, records=records, reference=reference, workers=workers)
        return
    checking.run(
        protocol, against=against, methods=methods, seeds=seeds, data_root=data_root, records=records,
        reference=reference, workers=workers, miou_only=miou_only,
    )  # fmt: skip


@app.command()
def params(
    backbone: Annotated[
        Optional[list[str]], typer.Option(help="Columns, separated by commas. Default: those of the papers.")
    ] = None,
    methods: Annotated[str, typer.Option("--methods", "-m", help="Rows, separated by commas; default: as --all.")] = "",
    output_format: Annotated[Format, typer.Option("--format", help="Of the table.")] = Format.markdown,
) -> None:
    """Count what each method trains on the real backbones (no weights needed), beside what papers print."""
    from benchmark import jobs, parameters, tablecommand

    columns = [name.strip() for text in backbone or () for name in text.split(",") if name.strip()]
    made = parameters.build(columns, jobs.parse_methods(methods) if methods else ())
    typer.echo(tablecommand.FORMATS[output_format.value]([made]))


@app.command()
def export(
    record: Annotated[str, typer.Argument(help="A record's file, its name, or a part of it that only one has.")],
    records: Records = RUNS,
    output: Annotated[
        Optional[Path],
        typer.Option(help="The .safetensors file to write, its card beside it; or a folder for the whole run."),
    ] = None,
    decoder: Annotated[bool, typer.Option("--decoder", help="Put the decoder into the file as well.")] = False,
) -> None:
    """Write what a run changed of its backbone as one file for the pre-trained weights, or the whole run to share."""
    from benchmark import export as exporting

    for path in exporting.export(record, records, output, decoder):
        typer.echo(path)


@app.command()
def push(
    record: Annotated[str, typer.Argument(help="As of export.")],
    repository: Annotated[str, typer.Argument(help="OWNER/NAME on the hub; made where there is none.")],
    records: Records = RUNS,
    private: Annotated[bool, typer.Option("--private", help="If it is made, make it private.")] = False,
) -> None:
    """Share a run on the hub: its weights, record and card. Log in with: hf auth login, or set HF_TOKEN."""
    from benchmark.sharing import transfer

    commit = transfer.push(record, repository, records, private)
    typer.echo(f"python -m benchmark pull {repository} --revision {commit}")


@app.command()
def pull(
    source: Annotated[str, typer.Argument(help="OWNER/NAME on the hub, or a folder that export wrote.")],
    records: Annotated[Path, typer.Option(help="Folder of the records that it is placed among.")] = PULLED,
    revision: Annotated[Optional[str], typer.Option(help="Commit, tag or branch; default: main as it is now.")] = None,
) -> None:
    """Fetch a shared run, check every file, and place it among other records; nothing in it is ever executed."""
    from benchmark.sharing import transfer

    found, origin = transfer.pull(source, records, revision)
    typer.echo(f"{origin}: {found.path}", err=True)
    typer.echo(f"python -m benchmark evaluate {found.path}")


@app.command()
def evaluate(
    record: Annotated[str, typer.Argument(help="As of export.")],
    records: Records = RUNS,
    weights: Annotated[
        Optional[Path], typer.Option(help="The backbone's pre-trained weights, if the run had them from a file.")
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Score a run again from its weights and compare with its record, image by image; code 1 where they differ."""
    from benchmark import rescore

    rescore.run(record, records, data_root, weights)


@app.command("list")
def list_(
    kind: Annotated[Optional[Kind], typer.Argument(help="What to list; everything by default.")] = None,
    records: Records = RUNS,
) -> None:
    """List protocols, methods, backbones, data sets, and runs with their state."""
    from benchmark import listing

    listing.show(kind.value if kind else None, records)


@data_app.command("show")
def data_show(
    protocol: ProtocolName = "streets",
    data_root: DataRoot = None,
    output: Annotated[Path, typer.Option(help="The picture to write.")] = Path("contact-sheet.png"),
    columns: Annotated[int, typer.Option(min=1, max=20, help="Images per domain.")] = 3,
) -> None:
    """Draw a contact sheet: images of every domain of a protocol beside their labels."""
    from benchmark import datacommands

    typer.echo(datacommands.show(protocol, data_root, output, columns))


@data_app.command("check")
def data_check(
    protocol: Annotated[
        Optional[str],
        typer.Option("--protocol", "-p", help="What it needs; without it, every data set in --data-root, or streets."),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Read every file of a protocol or a data root, and say what is missing and where it is to be had."""
    from benchmark import datacommands

    datacommands.check(protocol, data_root)


@data_app.command("render")
def data_render(
    output: Annotated[Optional[Path], typer.Option(help="Instead of the cache.")] = None,
) -> None:
    """Render the embedded default now; a run does it when needed."""
    from benchmark import datacommands

    typer.echo(datacommands.render(output))


@app.command()
def pretrain(
    output: Annotated[Path, typer.Option(help="Gets frames, checkpoint, log and, at the end, weights and card.")],
    steps: Annotated[Optional[int], typer.Option(min=1, help="Instead of the recipe's own.")] = None,
    frames: Annotated[Optional[int], typer.Option(min=1, help="Rendered geometries, instead of the recipe's.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render.")] = 2,
    probe: Annotated[bool, typer.Option("--probe", help="Afterwards, score it on held-out seeds (slow).")] = False,
) -> None:
    """Pre-train vit-tiny-streets, the embedded foundation model; stopped anywhere, the same call goes on."""
    from benchmark.pretrain import command

    command.run(output, steps, frames, workers, probe)


def main() -> None:
    """Run the command line; a user's mistake ends in one line and code 2, an interrupt in code 130."""
    try:
        code = app(standalone_mode=False)
    except UserError as error:
        _fail(f"error: {error}", 2)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of a pipe left early, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        # Typer's own usage errors carry their message and code; anything else is a defect and keeps its trace.
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help itself
            _fail(error.format_message(), 2)
        _fail(f"error: {printable(error.format_message())} (see --help)", getattr(error, "exit_code", 2))
    sys.exit(code if isinstance(code, int) else 0)


def _fail(line: str, code: int) -> None:
    print(line, file=sys.stderr)
    sys.exit(code)
