"""Commands on records: ``table``, ``figure``, ``report``, ``leaderboard``, ``records verify``; ``params``, ``list``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from benchmark.cli import options
from benchmark.common.errors import UserError, nearest


class Which(str, Enum):
    """Which table: one of FisherTune's, by number, or the suite's own."""

    one = "1"
    two = "2"
    three = "3"
    four = "4"
    five = "5"
    factors = "factors"
    agreement = "agreement"
    main = "main"


class Scale(str, Enum):
    """Whose conditions a paper's table or figure shows."""

    full = "full"
    cpu = "cpu"


class Kind(str, Enum):
    """What can be listed."""

    protocols = "protocols"
    methods = "methods"
    backbones = "backbones"
    datasets = "datasets"
    labelsets = "labelsets"
    runs = "runs"


def _kind(text: str) -> Kind:
    """Return what can be listed under this name, in the singular or plural, whatever its case and hyphens.

    Raises:
        UserError: there is no such kind.
    """
    plain = text.lower().replace("-", "").replace(" ", "").removesuffix("s") + "s"
    known = [kind.value for kind in Kind]
    if plain not in known:
        raise UserError(f"list {text}: {nearest(text, known)} (one of {', '.join(known)})")
    return Kind(plain)


def _kinds(incomplete: str) -> list[str]:
    """Return the kinds whose name begins with this text."""
    return [kind.value for kind in Kind if kind.startswith(incomplete)]


def table(
    records: options.Records = options.RUNS,
    which: Annotated[
        Which,
        typer.Option("--table", case_sensitive=False, help="FisherTune's Table 1 to 5, or one of the suite's."),
    ] = Which.main,
    protocol: Annotated[
        Optional[str],
        typer.Option("--protocol", "-p", help="Only this protocol, also for the paper's tables."),
    ] = None,
    backbone: options.OnlyBackbone = None,
    methods: Annotated[
        str,
        typer.Option("--methods", "-m", help="Rows, as for run; default: neither ablations nor perturbed."),
    ] = "",
    published: Annotated[bool, typer.Option("--published", help="Add published numbers.")] = False,
    scale: Annotated[
        Scale,
        typer.Option(
            "--scale", case_sensitive=False, help="The paper's conditions, or the suite's counterpart at CPU size."
        ),
    ] = Scale.full,
    output_format: Annotated[
        options.Format,
        typer.Option("--format", case_sensitive=False, help="Table format; text fits the terminal."),
    ] = options.Format.latex,
    columns: Annotated[
        Optional[int],
        typer.Option("--columns", min=1, max=2, help="Columns of the LaTeX document's pages; default: 1."),
    ] = None,
    output: Annotated[Optional[Path], typer.Option(help="Write to this file instead of printing.")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse runs of different package versions, machines or commits.")
    ] = False,
) -> None:
    """Print a table of the records, in LaTeX (booktabs) by default."""
    from benchmark.runs import request
    from benchmark.tables import command as tablecommand

    rows = request.parse_methods(methods) if methods else []
    tablecommand.run(
        options.shown(records), which.value, output_format.value, output,
        name=protocol, backbone=backbone, methods=rows, published=published, scale=scale.value, strict=strict,
        columns=columns,
    )  # fmt: skip


def figure(
    name: Annotated[
        Optional[str], typer.Argument(help="A name, or a number in the paper; without it, list the figures.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Draw every figure that the records allow.")] = False,
    records: options.Records = options.RUNS,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("figures"),
    protocol: options.OnlyProtocol = None,
    backbone: options.OnlyBackbone = None,
    methods: Annotated[
        str,
        typer.Option("--methods", "-m", help="Methods, as recorded; default: neither ablations nor variants."),
    ] = "",
    reference: Annotated[
        Optional[str], typer.Option(help="Method that the others are compared with; default: freeze.")
    ] = None,
    data_root: options.DataRoot = None,
    scale: Annotated[
        Optional[Scale],
        typer.Option("--scale", case_sensitive=False, help="With cpu: draw it from the suite's protocols of CPU size."),
    ] = None,
) -> None:
    """Draw figures from records: PDF, PNG and caption, in a folder per protocol and backbone."""
    from benchmark.figures import _command

    small = scale is Scale.cpu
    folder = options.shown(records) if every or _command.known(name) else records
    _command.run(_command.Request(name, every, folder, out, protocol, backbone, methods, reference, data_root, small))


def report(
    records: options.Records = options.RUNS,
    output: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    protocol: options.OnlyProtocol = None,
    backbone: options.OnlyBackbone = None,
    data_root: options.DataRoot = None,
) -> None:
    """Write one HTML page with everything in the records: tables, figures, predictions, cost, conditions."""
    from benchmark.report import command

    command.run(options.shown(records), output, protocol, backbone, data_root)


def leaderboard(
    records: options.Records = options.RUNS,
    out: Annotated[Path, typer.Option(help="Folder of the site.")] = Path("leaderboard"),
    protocol: options.OnlyProtocol = None,
    backbone: options.OnlyBackbone = None,
) -> None:
    """Write a static site: a board per protocol and backbone, with the records behind every cell."""
    from benchmark.leaderboard import command

    command.run(options.shown(records), out, protocol, backbone)


def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of records, such as results.")],
) -> None:
    """Check records before their numbers are shown: seals, fingerprints, scores, parameter counts, duplicates.

    Prints one line per fault, with file, field and remedy, and exits with code 1 if there is one.
    """
    from benchmark.verify import command

    command.run(folder)


def params(
    backbone: Annotated[
        Optional[list[str]], typer.Option(help="Backbones, separated by commas; default: those of the papers.")
    ] = None,
    methods: Annotated[str, typer.Option("--methods", "-m", help="Methods; default: all except ablations.")] = "",
    output_format: Annotated[
        Optional[options.Format],
        typer.Option("--format", case_sensitive=False, help="Table format; default: markdown, or text on a terminal."),
    ] = None,
) -> None:
    """Count each method's trainable parameters on the real backbones (needs no weights), beside published numbers."""
    from benchmark import parameters
    from benchmark.runs import request
    from benchmark.tables import command as tablecommand
    from benchmark.tables import terminal

    columns = [name.strip() for text in backbone or () for name in text.split(",") if name.strip()]
    made = parameters.build(columns, request.parse_methods(methods) if methods else ())
    if output_format is None:
        terminal.show([made], tablecommand.MORE)
        return
    typer.echo(tablecommand.FORMATS[output_format.value]([made]))


def list_(
    kind: Annotated[
        Optional[Kind],
        typer.Argument(
            parser=_kind,
            metavar="[" + "|".join(Kind) + "]",
            autocompletion=_kinds,
            help="What to list, in the singular or plural; default: everything.",
        ),
    ] = None,
    records: options.Records = options.RUNS,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also show the modules of methods and data sets.")
    ] = False,
) -> None:
    """List protocols, methods, backbones, data sets, and runs with their state."""
    from benchmark.cli import listing

    listing.show(kind.value if kind else None, records, verbose=verbose)
