"""Options and choices that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

RUNS = Path("runs")

ProtocolName = Annotated[str, typer.Option("--protocol", "-p", help="A protocol's name, or a YAML file.")]
OnlyProtocol = Annotated[Optional[str], typer.Option("--protocol", "-p", help="Only this protocol.")]
OnlyBackbone = Annotated[Optional[str], typer.Option("--backbone", help="Only this backbone.")]
DataRoot = Annotated[
    Optional[Path], typer.Option(help="Folder with one folder per data set; rendered protocols need none.")
]
Records = Annotated[Path, typer.Option(help="Folder of the records.")]
AllMethods = Annotated[bool, typer.Option("--all", help="Every method but the ablations.")]
Methods = Annotated[
    str,
    typer.Option(
        "--methods",
        "-m",
        help="Methods, table4, table5, figure3, figure5, separated by commas; lora+perturbed perturbs.",
    ),
]
Seeds = Annotated[str, typer.Option(help="Seeds: 0, 0,1,2 or 0-4.")]
Backbone = Annotated[Optional[str], typer.Option(help="Instead of the protocol's own.")]
Weights = Annotated[
    Optional[Path], typer.Option(help="Safetensors file with the backbone's weights, not to download them.")
]
Revision = Annotated[
    Optional[str], typer.Option(help="Commit of the backbone's hub repository, instead of the pinned one.")
]
Vfm = Annotated[
    Optional[list[str]],
    typer.Option("--vfm", help="resample=bicubic|pi (timm's), normalisation=imagenet|own; again for both."),
]
Quick = Annotated[bool, typer.Option("--quick", help="The protocol's tiny variant: a first look.")]
Given = Annotated[
    Optional[list[str]],
    typer.Option("--set", help="METHOD.SETTING=VALUE, such as lora.rank=4; given twice, both are run."),
]
Accumulate = Annotated[
    int, typer.Option(min=1, help="Steps in which a process takes its images of a batch, which stays as large.")
]
Checkpointing = Annotated[
    bool, typer.Option("--checkpointing", help="Compute blocks again in the backward pass: less memory, more time.")
]
Workers = Annotated[
    Optional[int], typer.Option(min=1, help="Runs at a time; default: one per core without a GPU, else 1.")
]


class Format(str, Enum):
    """Of a printed table."""

    latex = "latex"
    markdown = "markdown"
    csv = "csv"
    html = "html"
