"""The report page: a summary, a part per protocol and backbone, FisherTune's tables, and an appendix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark import __version__
from benchmark.records import Record
from benchmark.records.naming import is_tool
from benchmark.report import facts, summary
from benchmark.report.assets import environment, inline
from benchmark.report.grids import Grids, build
from benchmark.report.pictures import Pictures, figures
from benchmark.report.sheets import Sheet, sheet
from benchmark.tables import apart, command, order, paper, shown
from benchmark.tables.paper import NUMBERS
from benchmark.tables.published import layout
from benchmark.tables.runs import Runs

HERE = Path(__file__).parent
ABLATIONS = "Ablations and variants"


@dataclass(frozen=True)
class Part:
    """The content for one protocol and backbone; ``ablations`` also has the variants."""

    id: str
    protocol: str
    backbone: str
    ablations: tuple[Sheet, ...]
    results: tuple[Sheet, ...]
    figures: Pictures
    grids: Grids
    cost: Sheet
    runs: Sheet
    conditions: list[tuple[str, str]]
    fields: str
    environment: list[tuple[str, str]]


def html(records: Sequence[Record], folder: Path, root: Path, data_root: Path | None) -> str:
    """Return the page; equal records give equal pages.

    Args:
        records: the records to show.
        folder: the folder of the page; links to records are relative to it.
        root: the records folder.
        data_root: the user's datasets, for images in grids and figures; rendered ones need none.

    Raises:
        UserError: records that are not comparable, or files next to them that do not belong to them.
    """
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.protocol, record.backbone].append(record)
    backbones = {protocol: sum(each == protocol for each, _ in groups) for protocol, _ in groups}
    across = [
        (protocol, figures([each for each in records if each.protocol == protocol], root, data_root, across=True))
        for protocol in sorted(backbones)
        if backbones[protocol] > 1
    ]
    keys = sorted(groups, key=lambda key: (is_tool(key[0]), key))
    parts = [_part(f"part{place}", groups[key], folder, root, data_root) for place, key in enumerate(keys, start=1)]
    return (
        environment(HERE)
        .get_template("page.html")
        .render(
            summary=summary.build([(f"#{part.id}", groups[key]) for key, part in zip(keys, parts, strict=True)]),
            parts=[part for part in parts if not is_tool(part.protocol)],
            tools=[part for part in parts if is_tool(part.protocol)],
            across=across,
            papers=_papers(records),
            runs=len(records),
            last=max(record.finished for record in records),
            version=__version__,
            **inline([HERE / "page.css"], [HERE / "page.js"]),
        )
    )


def _part(id_: str, records: list[Record], folder: Path, root: Path, data_root: Path | None) -> Part:
    main, own = apart(records)
    records = sorted(records, key=lambda record: (order(record.method), record.seed))
    first = records[0]
    made, more = (command.main(records, None, None, names, published=True) if names else [] for names in (main, own))
    more = [replace(table, caption=f"{ABLATIONS}. {table.caption}") for table in more]
    return Part(
        id_,
        first.protocol,
        first.backbone,
        tuple(map(sheet, more)),
        tuple(map(sheet, made)),
        figures(records, root, data_root, across=False),
        build(records, data_root),
        facts.cost(Runs.of(shown(records, None, None, main or own))),
        facts.listing(records, folder),
        facts.conditions(records),
        facts.protocol(first.protocol_fields),
        facts.environment(records),
    )


def _papers(records: Sequence[Record]) -> list[Sheet]:
    """Return FisherTune's tables with published figures, if these records have a run for them."""
    held = {record.protocol for record in records}
    found = []
    for number in NUMBERS:
        bases = layout(number).protocols()
        variants = {name if "@" in name else None for name in held if name.partition("@")[0] in bases}
        for variant in sorted(variants, key=str):
            made = paper.build(number, records, variant, published=True)
            found += [sheet(table) for table in made if any(cell.n for row in table.rows for cell in row.cells)]
    return found
