"""``python -m benchmark table``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from benchmark import protocol, tables
from benchmark.common import atomic
from benchmark.common.atomic import writing
from benchmark.common.errors import UserError
from benchmark.common.terminal import width
from benchmark.records import Record, read_all
from benchmark.records.naming import is_tool
from benchmark.tables import Table, agreement, executed, factors, paper, terminal
from benchmark.tables import published as papers
from benchmark.tables import scale as scales
from benchmark.tables.beside import nothing
from benchmark.tables.runs import Runs

MAIN, FACTORS, AGREEMENT, CPU, LATEX = "main", "factors", "agreement", "cpu", "latex"
COLUMNS = 120
"""Width of text that does not go to a terminal."""
FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    LATEX: lambda made: "\n".join(map(tables.latex, made)),
    "markdown": lambda made: "\n".join(map(tables.markdown, made)),
    "csv": tables.comma_separated,
    "html": tables.html,
    "text": lambda made: "\n".join(terminal.text(table, width() or COLUMNS, MORE) for table in made),
}

MORE = "--format markdown, csv, html or latex prints all columns"


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
    scale: str = "full",
    strict: bool = False,
    columns: int | None = None,
) -> None:
    """Print a table, or write it to a file.

    Args:
        records: the records folder.
        which: ``main``, ``factors``, ``agreement``, or the number of one of the paper's tables.
        output_format: a key of :data:`FORMATS`.
        output: file to write; None prints the table.
        name: name of the protocol to show; None for all.
        backbone: the backbone to show; None for all.
        methods: rows of the main table, by registered name; empty for the default.
        published: add published figures.
        strict: refuse a main table of runs that were executed under different conditions.
        scale: of a paper's table: ``full``, the paper's conditions, or ``cpu``, the suite's counterpart.
        columns: of the pages of a LaTeX document, 1 or 2; None for the default, 1.

    Raises:
        UserError: no such record, records that are not comparable, ``columns`` for another format, or a file that
            cannot be written.
    """
    if columns is not None and output_format != LATEX:
        raise UserError(f"--columns: only for --format latex, not {output_format}")
    made = select(
        read_all(records, checkpoints=which == MAIN), which,
        name=name, backbone=backbone, methods=methods, published=published, scale=scale, strict=strict,
    )  # fmt: skip
    text = "\n".join(tables.latex(t, columns) for t in made) if columns else FORMATS[output_format](made)
    if output is None:
        print(text, end="" if output_format == "csv" else "\n")
        return
    with writing(output, "give another --output"):
        atomic.write_file(output, text.encode())


def select(
    found: Sequence[Record],
    which: str,
    *,
    name: str | None = None,
    backbone: str | None = None,
    methods: Collection[str] = (),
    published: bool = False,
    scale: str = "full",
    strict: bool = False,
) -> list[Table]:
    """Return the requested tables; the arguments are those of :func:`run`.

    Raises:
        UserError: no such record, records that are not comparable, or arguments that exclude each other.
    """
    if scale == CPU and (not which.isdigit() or name or published):
        raise UserError("--scale cpu: only for --table 1 to 5, without --protocol and --published")
    if strict and which != MAIN:
        raise UserError("--strict: only for --table main")
    if which == MAIN:
        return main(found, name, backbone, methods, published, strict=strict)
    if methods:
        raise UserError(f"--methods: table {which} has fixed rows; use --table main to choose the rows")
    if which == FACTORS:
        return factors.build(found, name, backbone)
    if which == AGREEMENT:
        return [agreement.build(found, backbone)]
    if scale == CPU:
        return scales.build(int(which), found, backbone)
    return paper.build(int(which), found, name, backbone, published)


def main(
    records: Sequence[Record],
    name: str | None,
    backbone: str | None,
    methods: Collection[str],
    published: bool,
    *,
    strict: bool = False,
) -> list[Table]:
    """Return the main tables, after checking the records against the current protocols.

    Args:
        records: records of any runs.
        name: name of the protocol to show; None for all, without searches and checks if there are other records.
        backbone: the backbone to show; None for all.
        methods: rows, by registered name; by default all except ablations and methods with feature perturbation.
        published: add published figures.
        strict: refuse runs that were executed under different conditions.

    Raises:
        UserError: no such record, or records that are not comparable.
    """
    results = [record for record in records if not is_tool(record.protocol)]
    shown = tables.shown(records if name else results or records, name, backbone, methods)
    for stated in {record.protocol for record in shown}:
        if stated.partition("@")[0] in protocol.available():
            tables.as_protocol([record for record in shown if record.protocol == stated], protocol.load(stated))
    if strict:
        for place in sorted({(record.protocol, record.backbone) for record in shown}):
            executed.require_same(Runs.of(r for r in shown if (r.protocol, r.backbone) == place))
    return tables.build(shown, methods=methods, published=papers.find if published else nothing)
