"""``python -m benchmark table``: which records, which table, in which format."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from benchmark import protocol, tables
from benchmark.common import atomic
from benchmark.common.atomic import writing
from benchmark.common.errors import UserError
from benchmark.records import Record, read_all
from benchmark.tables import Table, paper
from benchmark.tables import published as papers
from benchmark.tables.beside import nothing

MAIN = "main"
FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "latex": lambda made: "\n".join(map(tables.latex, made)),
    "markdown": lambda made: "\n".join(map(tables.markdown, made)),
    "csv": tables.comma_separated,
    "html": tables.html,
}


def run(
    records: Path,
    which: str,
    output_format: str,
    output: Path | None,
    *,
    name: str | None,
    backbone: str | None,
    methods: Collection[str],
    published: bool,
) -> None:
    """Print a table, or write it.

    Args:
        records: their folder.
        which: ``main``, or the number of one of the paper's.
        output_format: of :data:`FORMATS`.
        output: a file to write instead of printing.
        name: a protocol's.
        backbone: only this one's.
        methods: rows of the main table, by registered name; none for the default.
        published: with the figures that papers print.

    Raises:
        UserError: no such record, records that do not belong together, or a file that cannot be written.
    """
    found = read_all(records)
    if which == MAIN:
        made = main(found, name, backbone, methods, published)
    elif methods:
        raise UserError(f"--methods: Table {which} has the paper's rows; give --table main to choose some")
    else:
        made = paper.build(int(which), found, name, backbone, published)
    text = FORMATS[output_format](made)
    if output is None:
        print(text, end="" if output_format == "csv" else "\n")
        return
    with writing(output, "give another --output"):
        atomic.write_file(output, text.encode())


def main(
    records: Sequence[Record], name: str | None, backbone: str | None, methods: Collection[str], published: bool
) -> list[Table]:
    """Return the suite's own tables, of records that are of the protocols as these are now.

    Args:
        records: of any runs.
        name: a protocol's.
        backbone: only this one's.
        methods: rows, by registered name; by default all but ablations and methods that carry something.
        published: with the figures that papers print.

    Raises:
        UserError: no such record, or records that do not belong together.
    """
    shown = tables.shown(records, name, backbone, methods)
    for stated in {record.protocol for record in shown}:
        if stated.partition("@")[0] in protocol.available():
            tables.as_protocol([record for record in shown if record.protocol == stated], protocol.load(stated))
    return tables.build(shown, methods=methods, published=papers.find if published else nothing)
