"""Commands that move runs between machines: ``export``, ``push``, ``pull``, ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from benchmark.cli import options

PULLED = Path("pulled")


def export(
    record: Annotated[str, typer.Argument(help="A record's file, its name, or a part of it that only one has.")],
    records: options.Records = options.RUNS,
    output: Annotated[
        Optional[Path],
        typer.Option(help="The .safetensors file to write, its card beside it; or a folder for the whole run."),
    ] = None,
    decoder: Annotated[bool, typer.Option("--decoder", help="Put the decoder into the file as well.")] = False,
) -> None:
    """Write what a run changed of its backbone as one file for the pre-trained weights, or the whole run to share."""
    from benchmark.sharing import export as exporting

    for path in exporting.export(record, records, output, decoder):
        typer.echo(path)


def push(
    record: Annotated[str, typer.Argument(help="As of export.")],
    repository: Annotated[str, typer.Argument(help="OWNER/NAME on the hub; made where there is none.")],
    records: options.Records = options.RUNS,
    private: Annotated[bool, typer.Option("--private", help="If it is made, make it private.")] = False,
) -> None:
    """Share a run on the hub: its weights, record and card. Log in with: hf auth login, or set HF_TOKEN."""
    from benchmark.sharing import transfer

    commit = transfer.push(record, repository, records, private)
    typer.echo(f"python -m benchmark pull {repository} --revision {commit}")


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


def evaluate(
    record: Annotated[str, typer.Argument(help="As of export.")],
    records: options.Records = options.RUNS,
    weights: Annotated[
        Optional[Path], typer.Option(help="The backbone's pre-trained weights, if the run had them from a file.")
    ] = None,
    data_root: options.DataRoot = None,
) -> None:
    """Score a run again from its weights and compare with its record, image by image; code 1 where they differ."""
    from benchmark.sharing import rescore

    rescore.run(record, records, data_root, weights)
