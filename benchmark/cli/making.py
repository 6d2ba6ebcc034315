"""Commands about what runs start from: ``data show``, ``data check``, ``data render``, and ``pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from benchmark.cli import options


def show(
    protocol: options.ProtocolName = "streets",
    data_root: options.DataRoot = None,
    output: Annotated[Path, typer.Option(help="The picture to write.")] = Path("contact-sheet.png"),
    columns: Annotated[int, typer.Option(min=1, max=20, help="Images per domain.")] = 3,
) -> None:
    """Draw a contact sheet: images of every domain of a protocol beside their labels."""
    from benchmark.data import command

    typer.echo(command.show(protocol, data_root, output, columns))


def check(
    protocol: Annotated[
        Optional[str],
        typer.Option("--protocol", "-p", help="What it needs; without it, every data set in --data-root, or streets."),
    ] = None,
    data_root: options.DataRoot = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Fewer frames than the official release are no fault.")
    ] = False,
) -> None:
    """Read every file of a protocol or a data root, and say what is missing and where it is to be had."""
    from benchmark.data import command

    command.check(protocol, data_root, partial=partial)


def render(
    output: Annotated[Optional[Path], typer.Option(help="Instead of the cache.")] = None,
) -> None:
    """Render the embedded default now; a run does it when needed."""
    from benchmark.data import command

    typer.echo(command.render(output))


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
