"""One page per method for the documentation site, written from the method's class."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark import parameters
from benchmark.common import registry
from benchmark.method import Method
from benchmark.tables import Row, Table, order

ORIGINS = {"paper": "the paper or its code", "ours": "our choice"}


def write(folder: Path) -> None:
    """Write the pages of all methods, ablations included, and ``index.md``; the folder is emptied first."""
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.md"):
        path.unlink()
    names = sorted(registry.names("method"), key=order)
    counted = parameters.build(methods=names)
    rows = {row.method: row for row in counted.rows}
    for name in names:
        text = page(name) + parameter_counts(counted, rows[name])
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / "index.md").write_text(index(names), encoding="utf-8")


def index(names: Sequence[str]) -> str:
    """Return the page that lists the methods, one line each."""
    main = set(registry.main_methods())
    lines = ["# Methods", ""]
    for title, wanted in (("Main comparison", True), ("Ablations", False)):
        lines += [f"## {title}", "", "| Name | Method | Source |", "|:--|:--|:--|"]
        for name in names:
            if (name in main) is wanted:
                kind: type[Method] = registry.find("method", name)
                lines.append(f"| [{name}]({name}.md) | {kind.label} | {kind.source} |")
        lines.append("")
    tree = [":::{toctree}", ":hidden:", "", *names, ":::", ""]
    return "\n".join([*lines, *tree])


def page(name: str) -> str:
    """Return the page of one method: source, description, formula and settings with their origin."""
    kind: type[Method] = registry.find("method", name)
    place = Path(inspect.getfile(kind)).resolve().relative_to(registry.ROOT).as_posix()
    parts = [f"# {kind.label}", f"Name `{name}`, code `{place}`. Source: {kind.source}."]
    parts += [plain(inspect.getdoc(kind) or ""), *details(kind)]
    parts += ["## Settings", plain(inspect.getdoc(kind.Settings) or "")]
    return "\n\n".join([*parts, settings(kind.Settings)]) + "\n\n"


def details(kind: type[Method]) -> list[str]:
    """Return what the modules of a method in a folder of its own explain, a section each."""
    folder = Path(inspect.getfile(kind)).parent
    if folder.parent != registry.ROOT / "methods" or folder.name == "ablations":
        return []
    parts = ["## How it works"]
    for path in sorted(folder.glob("*.py"), key=lambda path: path.stem != "method"):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        title, _, rest = text.partition("\n\n")
        if rest and path.stem != "__init__":
            parts += [f"### {plain(title).rstrip('.')}", plain(rest)]
    return parts


def settings(kind: Any) -> str:
    """Return the table of hyperparameters: default, where it comes from, and why."""
    lines = ["| Setting | Default | From | |", "|:--|:--|:--|:--|"]
    for name, field in kind.model_fields.items():
        origin = ORIGINS[(field.json_schema_extra or {}).get("origin", "ours")]
        lines.append(f"| `{name}` | `{field.default}` | {origin} | {cell(field.description or '')} |")
    return "\n".join(lines) if len(lines) > 2 else "None."


def parameter_counts(counted: Table, row: Row) -> str:
    """Return the numbers of trainable parameters on the papers' backbones, counted and printed."""
    lines = ["## Trainable parameters", "", "In millions, decoder excluded: counted, and as papers print them.", ""]
    lines += ["| Backbone | Counted | Printed |", "|:--|--:|--:|"]
    for place, column in enumerate(counted.columns):
        if column.head == "printed":
            continue
        value, beside = row.cells[place], counted.columns[place + 1 : place + 2]
        printed = row.cells[place + 1].text if beside and beside[0].head == "printed" else ""
        shown = "" if value.mean is None else f"{value.mean:.{column.decimals}f}"
        lines.append(f"| {column.head} | {shown or value.text} | {printed} |")
    return "\n".join([*lines, ""])


def plain(text: str) -> str:
    """Return a docstring as Markdown: roles and double backticks become code."""
    return re.sub(r"``([^`]+)``", r"`\1`", re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text))


def cell(text: str) -> str:
    """Return text that does not end a cell of a Markdown table."""
    return plain(text).replace("|", "\\|").replace("\n", " ")
