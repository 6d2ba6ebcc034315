"""Commands that move runs between machines: ``export``, ``push``, ``pull``, ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from benchmark.cli import options

PULLED = Path("pulled")


def export(
    record: Annotated[str, typer.Argument(help="A record's file, its name, or a unique part of its name.")],
    records: options.Records = options.RUNS,
    output: Annotated[
        Optional[Path],
        typer.Option(help="The .safetensors file to write, with a card beside it; or a folder for the whole run."),
    ] = None,
    decoder: Annotated[bool, typer.Option("--decoder", help="Include the decoder in the file.")] = False,
) -> None:
    """Export a run: the changes to its backbone as one file, or the whole run as a folder to share."""
    from benchmark.sharing import export as exporting

    for path in exporting.export(record, records, output, decoder):
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
    record: Annotated[str, typer.Argument(help="As for export.")],
    records: options.Records = options.RUNS,
    weights: Annotated[
        Optional[Path], typer.Option(help="The backbone's pre-trained weights, if the run loaded them from a file.")
    ] = None,
    data_root: options.DataRoot = None,
) -> None:
    """Evaluate a run again from its weights and compare with its record, image by image; code 1 if they differ."""
    from benchmark.sharing import rescore

    rescore.run(record, records, data_root, weights)
