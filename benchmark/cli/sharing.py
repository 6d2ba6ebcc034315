"""Commands that move runs between machines: ``export``, ``push``, ``pull``, ``evaluate``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from benchmark.cli import options
from benchmark.common.errors import UserError

PULLED = Path("pulled")


class WeightFormat(str, Enum):
    """Format of exported weights, if not the suite's own."""

    mmseg = "mmseg"


class Names(str, Enum):
    """Whose names the tensors of a merged backbone have."""

    timm = "timm"
    transformers = "transformers"


def export(
    record: Annotated[str, typer.Argument(help="A record's file, its name, or a unique part of its name.")],
    records: options.Records = options.RUNS,
    output: Annotated[
        Optional[Path],
        typer.Option(help="The .safetensors file to write, with a card beside it; or a folder for the whole run."),
    ] = None,
    decoder: Annotated[
        bool, typer.Option("--decoder", help="Include the decoder in the file, as predict needs.")
    ] = False,
    layout: Annotated[
        Optional[WeightFormat],
        typer.Option(
            "--format", case_sensitive=False, help="mmseg: the whole model as a .pth file for mmsegmentation."
        ),
    ] = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="Write the whole tuned backbone as a plain state dict, for other code.")
    ] = False,
    names: Annotated[
        Optional[Names],
        typer.Option(
            case_sensitive=False, help="With --merged: names of the tensors; transformers' are for DINOv2 only."
        ),
    ] = None,
    weights: Annotated[
        Optional[Path],
        typer.Option(help="With --merged or --format: the pre-trained weights, if the run loaded them from a file."),
    ] = None,
) -> None:
    """Export a run: the changes to its backbone as one file, or the whole run as a folder to share."""
    if layout is not None:
        for name, given in {"--decoder": decoder, "--merged": merged, "--names": names is not None}.items():
            if given:
                raise UserError(f"{name}: omit it with --format mmseg, which always writes the whole model")
        from benchmark.released import writing

        typer.echo(writing.export(record, records, output, weights))
        return
    from benchmark.sharing import export as exporting

    named = None if names is None else names.value
    for path in exporting.export(record, records, output, decoder, merged=merged, names=named, weights=weights):
        typer.echo(path)


def push(
    record: Annotated[str, typer.Argument(help="As for export.")],
    repository: Annotated[str, typer.Argument(help="OWNER/NAME on the hub; created if it does not exist.")],
    records: options.Records = options.RUNS,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Share a run on the hub: weights, record and card. Log in with `hf auth login`, or set HF_TOKEN."""
    from benchmark.sharing import transfer

    commit = transfer.push(record, repository, records, private)
    typer.echo(f"python -m benchmark pull {repository} --revision {commit}")


def pull(
    source: Annotated[str, typer.Argument(help="OWNER/NAME on the hub, or a folder that export wrote.")],
    records: Annotated[Path, typer.Option(help="Records folder to place it in.")] = PULLED,
    revision: Annotated[Optional[str], typer.Option(help="Commit, tag or branch; default: the newest main.")] = None,
) -> None:
    """Download a shared run, check every file, and add it to a records folder. Nothing in it is executed."""
    from benchmark.sharing import transfer

    found, origin = transfer.pull(source, records, revision)
    typer.echo(f"{origin}: {found.path}", err=True)
    typer.echo(f"python -m benchmark evaluate {found.path}")


def evaluate(
    record: Annotated[Optional[str], typer.Argument(help="As for export; none with --checkpoint.")] = None,
    records: options.Records = options.RUNS,
    weights: Annotated[
        Optional[Path], typer.Option(help="The backbone's pre-trained weights, if the run loaded them from a file.")
    ] = None,
    data_root: options.DataRoot = None,
    checkpoint: Annotated[
        Optional[Path],
        typer.Option(help="Instead of a run: a checkpoint in mmsegmentation's format, as official repositories have."),
    ] = None,
    taken_as: Annotated[
        Optional[str], typer.Option("--as", help="The checkpoint's method: rein, soma, geco, freeze or full.")
    ] = None,
    protocol: Annotated[
        Optional[str], typer.Option("--protocol", "-p", help="The checkpoint's: name of a protocol, or a YAML file.")
    ] = None,
    backbone: options.Backbone = None,
    revision: options.Revision = None,
) -> None:
    """Evaluate a run again from its weights and compare with its record, image by image; code 1 if they differ.

    With --checkpoint FILE --as METHOD --protocol NAME, evaluate a released checkpoint on the targets and record it.
    """
    if checkpoint is not None:
        if record is not None:
            raise UserError(f"--checkpoint {checkpoint}: leave out the record {record!r}")
        from benchmark.released import command

        command.run(
            checkpoint, taken_as, protocol, backbone, data_root=data_root, records=records, weights=weights,
            revision=revision,
        )  # fmt: skip
        return
    given = {"--as": taken_as, "--protocol": protocol, "--backbone": backbone, "--revision": revision}
    for option, value in given.items():
        if value is not None:
            raise UserError(f"{option} {value}: only with --checkpoint; a run has its own")
    if record is None:
        raise UserError("name a record, or give --checkpoint FILE (see --help)")
    from benchmark.sharing import rescore

    rescore.run(record, records, data_root, weights)
