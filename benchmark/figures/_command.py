"""``python -m benchmark figure``: selects records, draws figures and writes them atomically."""

from __future__ import annotations

import io
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib

from benchmark import __version__
from benchmark.common import atomic, registry
from benchmark.common.atomic import writing
from benchmark.common.errors import UserError, nearest, spelled
from benchmark.figures import _style
from benchmark.figures._figure import Drawing, Figure, NothingToDrawError, Selection
from benchmark.records import Record, read_all
from benchmark.records.naming import is_tool
from benchmark.tables import check, scale

Fields = dict[str, Any]
PDF, PNG, SVG = "pdf", "png", "svg"


@dataclass(frozen=True)
class Request:
    """The options of ``figure``, as given by the user; ``small``: ``--scale cpu``."""

    name: str | None
    every: bool
    records: Path
    out: Path
    protocol: str | None
    backbone: str | None
    methods: str
    reference: str | None
    data_root: Path | None = None
    small: bool = False


def known(name: str | None) -> bool:
    """Return whether this is the name of a figure, or its number in the paper."""
    return name is not None and (name in scale.FIGURES or spelled(name, registry.names("figure")) is not None)


def run(request: Request) -> None:
    """Draw and write the requested figures; print each file, and what was omitted.

    Raises:
        UserError: no such figure, record or method; records under different conditions; nothing to draw; a file
            that cannot be written.
    """
    if request.every and request.name:
        raise UserError(f"figure {request.name}: give either a name or --all, not both")
    if not request.every and not request.name:
        for name in registry.names("figure"):
            print(f"{name:<12} {registry.find('figure', name).title}")
        return
    number, (name, small) = request.name, scale.FIGURES.get(request.name or "", (request.name or "", ()))
    if request.small and (not small or request.protocol):
        raise UserError(f"--scale cpu: only for figures {', '.join(scale.FIGURES)} of the paper, without --protocol")
    names = sorted(registry.names("figure")) if request.every else [spelled(name, registry.names("figure")) or name]
    figures: dict[str, Figure] = {name: registry.find("figure", name) for name in names}
    records = [record for record in _wanted(request) if not request.small or record.protocol in small]
    if not records:
        raise UserError(f"{request.records}: no record of {' or '.join(small)}, from which figure {number} is drawn")
    refusals, drawn = [], 0
    for name, figure in figures.items():
        for place, selection in selections(records, figure, request):
            try:
                drawing = _write(
                    name, _counterpart(figure, number) if request.small else figure, selection, request.out / place
                )
            except NothingToDrawError as error:
                refusals.append(f"{place / name}: {error}")
                continue
            drawn += 1
            if drawing.left_out:
                print(f"omitted from {place / name}: {'; '.join(drawing.left_out)}", file=sys.stderr)
    if not drawn:
        raise UserError(refusals[0])
    for refusal in refusals:
        print(f"not drawn: {refusal}", file=sys.stderr)


def _counterpart(figure: Figure, number: str | None) -> Figure:
    """Return the figure with a caption that says that its conditions are not those of the paper."""

    def draw(selection: Selection) -> Drawing:
        made = figure.draw(selection)
        about = f"Counterpart of Figure {number} at CPU size, not the paper's conditions. "
        return replace(made, caption=about + made.caption)

    return replace(figure, draw=draw)


def drawn(figure: Figure, selection: Selection, *kinds: str) -> tuple[Drawing, dict[str, bytes]]:
    """Draw one figure; return it with the contents of its files by format (``pdf``, ``png``, ``svg``).

    Raises:
        NothingToDrawError: the records lack the data that it shows.
    """
    with matplotlib.rc_context(_style.RC):
        drawing = figure.draw(selection)
        return drawing, {kind: _saved(drawing, kind) for kind in kinds}


def _write(name: str, figure: Figure, selection: Selection, folder: Path) -> Drawing:
    """Draw one figure and write it as PDF and PNG, with its caption as a text file."""
    drawing, saved = drawn(figure, selection, PNG, PDF)
    contents = {folder / f"{name}.txt": (drawing.caption + "\n").encode()}
    contents |= {folder / f"{name}.{kind}": content for kind, content in saved.items()}
    with writing(folder, "give another --out"):
        atomic.write_files(contents)
    for path in contents:
        print(path)
    return drawing


def _saved(drawing: Drawing, kind: str) -> bytes:
    """Return the file's content, without dates: equal records give equal files."""
    about: dict[str, Fields] = {
        PDF: {"Subject": drawing.caption, "Creator": f"dgss-benchmark {__version__}", "CreationDate": None},
        PNG: {"Description": drawing.caption},
        SVG: {"Description": drawing.caption, "Date": None},
    }
    buffer = io.BytesIO()
    drawing.figure.savefig(buffer, format=kind, metadata=about[kind])
    return buffer.getvalue()


def _wanted(request: Request) -> list[Record]:
    """Return the records of the requested protocol and backbone; without one, not those of searches and checks."""
    records = read_all(request.records)
    if request.protocol is None:
        records = [record for record in records if not is_tool(record.protocol)] or records
    for field, wanted in (("protocol", request.protocol), ("backbone", request.backbone)):
        if wanted is None:
            continue
        known = {str(getattr(record, field)) for record in records}
        name = spelled(wanted, known)
        if name is None:
            raise UserError(f"{request.records}: no record of {field} {wanted!r}: {nearest(wanted, known)}")
        records = [record for record in records if getattr(record, field) == name]
    known = {record.method for record in records}
    for option, named in (("--methods", _asked(request)), ("--reference", [request.reference or ""])):
        for method in filter(None, named):
            if method not in known:
                raise UserError(f"{option} {method}: no record in {request.records}: {nearest(method, known)}")
    return records


def _asked(request: Request) -> tuple[str, ...]:
    """Split ``--methods`` at commas outside brackets (``lora[lr=0.1,rank=4]`` is one name)."""
    names, depth = [""], 0
    for letter in request.methods:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            names.append("")
        else:
            names[-1] += letter
    return tuple(name.strip() for name in names if name.strip())


def selections(records: Sequence[Record], figure: Figure, request: Request) -> Iterator[tuple[Path, Selection]]:
    """Yield each selection of records to draw the figure from, and the folder of its files."""
    groups: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in records:
        groups[(record.protocol,) if figure.across else (record.protocol, record.backbone)].append(record)
    for key in sorted(groups):
        check(groups[key], use="figure", across=figure.across)
        asked = _asked(request)
        flaws = {record.name: _flaw(record) for record in groups[key]}
        whole = tuple(record for record in groups[key] if not flaws[record.name])
        missing = tuple(
            (record.method, f"{record.method} seed {record.seed} ({flaws[record.name]})")
            for record in groups[key]
            if flaws[record.name] and (not asked or record.method in asked)
        )
        yield Path(*key), Selection(whole, asked, request.reference or "freeze", missing, request.data_root)


def _flaw(record: Record) -> str:
    """Return why a run cannot be drawn; empty if it can."""
    if record.state != "finished":
        return "failed"
    stated = record.protocol_fields.get("targets")
    lacking = set(stated if isinstance(stated, dict) else ()) - set(record.targets)
    return f"not evaluated on {', '.join(sorted(lacking))}" if lacking else ""
