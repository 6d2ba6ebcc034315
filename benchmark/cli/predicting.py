"""The command ``predict``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from benchmark.cli import options


class Ids(str, Enum):
    """Ids in class maps."""

    train = "train"
    cityscapes = "cityscapes"
    acdc = "acdc"


def predict(
    run: Annotated[
        str,
        typer.Argument(help="A record, as for export; a folder from export or pull; or a file from export --decoder."),
    ],
    images: Annotated[
        list[str], typer.Argument(help="Image files, folders of images, or quoted patterns ('a/*.jpg').")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write to. What is there already is not predicted again.")],
    ids: Annotated[
        Ids,
        typer.Option(
            case_sensitive=False,
            help="Ids in the class maps: train ids, or what the test server of this data set takes.",
        ),
    ] = Ids.train,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also draw the classes over the images.")] = False,
    confidence: Annotated[
        bool, typer.Option("--confidence", help="Also write confidence.csv: mean confidence and entropy per image.")
    ] = False,
    submission: Annotated[
        bool, typer.Option("--submission", help="Also write submission.zip, all class maps for a test server.")
    ] = False,
    test_size: Annotated[
        Optional[str],
        typer.Option(help="Scale images to fit WIDTHxHEIGHT before inference, or `own`; default: as the protocol."),
    ] = None,
    records: options.Records = options.RUNS,
    weights: Annotated[
        Optional[Path], typer.Option(help="The backbone's pre-trained weights, if the run loaded them from a file.")
    ] = None,
) -> None:
    """Predict images without labels: one PNG of class ids per image, at its own size; code 1 if files were skipped."""
    from benchmark.prediction import command

    command.run(
        command.Request(
            which=run, images=images, out=out, records=records, weights=weights, ids=ids.value, test_size=test_size,
            overlays=overlay, table=confidence, archive=submission,
        )
    )  # fmt: skip
