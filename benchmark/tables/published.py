"""Published figures and the layouts of FisherTune's tables, read from ``published.yaml``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from benchmark.tables.beside import Figure

TRAINABLE = "trained"
"""Name of the number of trainable parameters in ``published.yaml``."""


@dataclass(frozen=True)
class Column:
    """A column of a table; ``protocol`` or ``backbone`` is empty if the group sets it.

    Attributes:
        head: heading in the paper.
        scored: a domain, ``average`` over the protocol's domains, or ``class NAME``.
        protocol: name without variant.
        backbone: name in the catalogue.
    """

    head: str
    scored: str
    protocol: str = ""
    backbone: str = ""


@dataclass(frozen=True)
class Group:
    """A group of rows: published figures by method, one per column, the trainable parameters first."""

    head: str
    rows: Mapping[str, tuple[float | None, ...]]
    protocol: str = ""
    backbone: str = ""


@dataclass(frozen=True)
class Layout:
    """The layout of one of the paper's tables; ``trained``: it has a column of trainable parameters."""

    number: int
    title: str
    trained: bool
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]

    def protocols(self) -> list[str]:
        """Return the protocols of its figures, without variants."""
        stated = [*(each.protocol for each in self.columns), *(each.protocol for each in self.groups)]
        return list(dict.fromkeys(filter(None, stated)))


@dataclass(frozen=True)
class _Printed:
    protocol: str
    backbone: str
    method: str
    scored: str
    figure: Figure


def layout(number: int) -> Layout:
    """Return the layout and figures of the paper's table with this number, 1 to 5."""
    table = _file()["tables"][number]
    groups = [{**group, "rows": _with_twins(group["rows"])} for group in table["groups"]]
    return Layout(
        number, table["title"], table["trained"],
        tuple(Column(**column) for column in table["columns"]), tuple(Group(**group) for group in groups),
    )  # fmt: skip


def label(method: str) -> str:
    """Return the printed name of a method in the paper's tables."""
    return str(_file()["labels"][method])


def twins() -> dict[str, str]:
    """Return the pairs of methods that share a row of published figures, as a mapping from first to second."""
    return dict(_file()["twins"])


def find(protocol: str, backbone: str, method: str, scored: str, table: int | None = None) -> Figure | None:
    """Return the published figure of a method: FisherTune's if there is one, else another paper's.

    Args:
        protocol: name, with the variant if there is one. FisherTune's figures apply to every variant, since the
            paper does not state its test image size; those of other papers apply to one variant.
        backbone: name in the catalogue.
        method: registered name; methods with given hyperparameters have no published figures.
        scored: a domain, ``average``, ``class NAME`` or ``trained``.
        table: search only this table of FisherTune.
    """
    wanted = (backbone, method, scored)
    for each in _printed(table):
        if (each.backbone, each.method, each.scored) == wanted and each.protocol in (protocol, protocol.split("@")[0]):
            return each.figure
    return None


@dataclass(frozen=True)
class Printed:
    """One method's figures in one table of a paper: by domain, with ``average`` and ``trained``; and its errata."""

    method: str
    label: str
    source: str
    figures: Mapping[str, float]
    errata: tuple[str, ...]


def boards() -> list[tuple[str, str]]:
    """Return every protocol and backbone with published figures, a protocol without variant as such."""
    return list(dict.fromkeys((each.protocol, each.backbone) for each in _printed(None)))


def rows(protocol: str, backbone: str) -> list[Printed]:
    """Return the published rows of a protocol and backbone, each with its source.

    As in :func:`find`, figures of a protocol without variant apply to all its variants. A row that only repeats figures
    of an earlier table is left out.
    """
    found: dict[tuple[str, str], list[_Printed]] = {}
    for each in _printed(None):
        here = each.backbone == backbone and each.protocol in (protocol, protocol.split("@")[0])
        if here and not each.scored.startswith("class "):
            found.setdefault((each.method, each.figure.source), []).append(each)
    printed: list[Printed] = []
    for (method, source), cells in found.items():
        figures = {each.scored: each.figure.value for each in cells}
        if not any(row.method == method and figures.items() <= row.figures.items() for row in printed):
            errata = dict.fromkeys(text for each in cells for text in each.figure.errata)
            printed.append(Printed(method, label(method), source, figures, tuple(errata)))
    return printed


@cache
def _printed(table: int | None) -> list[_Printed]:
    numbers = list(_file()["tables"]) if table is None else [table]
    found = [each for number in numbers for each in _of_paper(layout(number))]
    return found + (list(_of_others()) if table is None else [])


def _of_paper(table: Layout) -> Iterator[_Printed]:
    source = f"{_file()['paper']}, Table {table.number}"
    first = (Column("", TRAINABLE),) if table.trained else ()
    for group in table.groups:
        for method, figures in group.rows.items():
            for column, value in zip((*first, *table.columns), figures, strict=True):
                protocol, backbone = column.protocol or group.protocol, column.backbone or group.backbone
                errata = tuple(_errata(table.number, protocol, backbone))
                if value is not None:
                    yield _Printed(protocol, backbone, method, column.scored, Figure(value, source, errata))


def _of_others() -> Iterator[_Printed]:
    for entry in _file()["others"]:
        for method, figures in entry["rows"].items():
            for scored, value in zip(entry["scored"], figures, strict=True):
                if value is not None:
                    figure = Figure(value, entry["source"], tuple(filter(None, [entry.get("note")])))
                    yield _Printed(entry["protocol"], entry["backbone"], method, scored, figure)


def _errata(table: int, protocol: str, backbone: str) -> Iterator[str]:
    for entry in _file()["errata"]:
        here = {"table": table, "protocol": protocol, "backbone": backbone}
        if all(here[name] == value for name, value in entry.items() if name != "text"):
            yield entry["text"]


def _with_twins(rows: dict[str, list[float | None]]) -> dict[str, tuple[float | None, ...]]:
    found: dict[str, tuple[float | None, ...]] = {}
    for method, figures in rows.items():
        for name in filter(None, (method, twins().get(method))):
            found[name] = tuple(figures)
    return found


@cache
def _file() -> Any:
    return yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))
