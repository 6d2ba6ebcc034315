"""Pictures embedded in the page as ``data:`` URLs, and the figures drawn from the records."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.common import registry
from benchmark.figures._command import SVG, Request, drawn, selections
from benchmark.figures._figure import Figure, NothingToDrawError
from benchmark.records import Record


@dataclass(frozen=True)
class Picture:
    """A figure: title, URL and caption."""

    title: str
    source: str
    caption: str


@dataclass(frozen=True)
class Pictures:
    """The figures of some records, and one line for each figure that cannot be drawn."""

    drawn: tuple[Picture, ...]
    refused: tuple[str, ...]


def address(kind: str, content: bytes) -> str:
    """Return the ``data:`` URL of a picture of type ``svg+xml``, ``png`` or ``jpeg``."""
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def figures(records: Sequence[Record], folder: Path, data_root: Path | None, *, across: bool) -> Pictures:
    """Draw every figure that the records have data for.

    Args:
        records: records of one protocol, and of one backbone unless ``across``.
        folder: the records folder, for messages.
        data_root: the user's datasets; rendered ones need none.
        across: draw only the figures that compare backbones; else only the others.

    Raises:
        UserError: records under different conditions.
    """
    request = Request(
        name=None, every=True, records=folder, out=folder, protocol=None, backbone=None, methods="", reference=None,
        data_root=data_root,
    )  # fmt: skip
    made, refused = [], []
    for name in sorted(registry.names("figure")):
        figure: Figure = registry.find("figure", name)
        if figure.across != across:
            continue
        for _, selection in selections(records, figure, request):
            try:
                drawing, saved = drawn(figure, selection, SVG)
            except NothingToDrawError as error:
                refused.append(f"{figure.title}: {error}.")
                continue
            left_out = f" Not shown: {'; '.join(drawing.left_out)}." if drawing.left_out else ""
            made.append(Picture(figure.title, address("svg+xml", saved[SVG]), drawing.caption + left_out))
    return Pictures(tuple(made), tuple(refused))
