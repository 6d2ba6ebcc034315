"""Commands for what runs need: ``data show``, ``check``, ``render`` and ``get``, and ``pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from benchmark.cli import options


def show(
    protocol: options.ProtocolName = "streets",
    data_root: options.DataRoot = None,
    output: Annotated[Path, typer.Option(help="Image file to write.")] = Path("contact-sheet.png"),
    columns: Annotated[int, typer.Option(min=1, max=20, help="Images per domain.")] = 3,
) -> None:
    """Draw a contact sheet: images of every domain of a protocol, with their labels."""
    from benchmark.data import command

    typer.echo(command.show(protocol, data_root, output, columns))


def check(
    protocol: Annotated[
        Optional[str],
        typer.Option("--protocol", "-p", help="Check its data; default: all data sets in --data-root, or streets."),
    ] = None,
    data_root: options.DataRoot = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Accept fewer frames than the official release has.")
    ] = False,
) -> None:
    """Read every file of a protocol or a data root, and report what is missing and where to get it."""
    from benchmark.data import command

    command.check(protocol, data_root, partial=partial)


def render(
    protocol: Annotated[
        Optional[str], typer.Option("--protocol", "-p", help="Render what it needs; default: everything.")
    ] = None,
    output: Annotated[Optional[Path], typer.Option(help="Folder to write to instead of the cache.")] = None,
) -> None:
    """Render the data sets streets and streets-large; a run does this when needed."""
    from benchmark.data import command

    typer.echo(command.render(protocol, output))


def get(
    data_root: Annotated[Path, typer.Option(help="Folder in which each data set gets a folder.")],
    protocol: options.ProtocolName = "streets-to-photos",
    accept_licences: Annotated[
        bool, typer.Option("--accept-licences", help="Accept the licences that the command shows without it.")
    ] = False,
) -> None:
    """Download a protocol's openly available data sets, and say where to get the others."""
    from benchmark.data import command

    typer.echo(command.get(protocol, data_root, accept_licences=accept_licences))


def pretrain(
    output: Annotated[Path, typer.Option(help="Folder for frames, checkpoint, log and, at the end, weights and card.")],
    steps: Annotated[Optional[int], typer.Option(min=1, help="Training steps, instead of the recipe's.")] = None,
    frames: Annotated[Optional[int], typer.Option(min=1, help="Rendered geometries, instead of the recipe's.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Rendering processes.")] = 2,
    probe: Annotated[bool, typer.Option("--probe", help="Afterwards, evaluate it on held-out seeds (slow).")] = False,
) -> None:
    """Pre-train vit-tiny-streets, the embedded foundation model; re-run to resume."""
    from benchmark.pretrain import command

    command.run(output, steps, frames, workers, probe)
