"""Texts that people read use the field's terms: the words that the project once had for them do not come back.

Checked are help, messages, table notes, docstrings and comments of the packages, and the documentation.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_cli import ROOT

TERMS = {
    r"scorings?": "evaluation",
    r"tak(?:e|es|en|ing) up|took up|tak(?:e|es|en|ing) (?:it|them) up": "resumed",
    r"parted": "significantly different",
    r"claim(?:s|ed|ing)?": "lock",
    r"signs? of life": "heartbeat",
    r"portions?": "micro-batch",
    r"(?<!RNG )(?<!random )streams?": "RNG stream",
    r"told|tells?|telling": "log, notify, report",
    r"mass(?:es)?": "loss normaliser",
    r"due(?! to)": "pending, scheduled",
    r"(?<!data )(?<!data-)loaders?(?!\.py)": "data-loader worker",
    r"processor[- ]times?|processor threads?": "CPU time, CPU thread",
    r"rivals?": "baseline",
    r"Trained \(M\)": "Trainable (M)",
    r"taps?": "out indices",
    r"shares? of": "fraction of",
    r"backbone's side": "trainable parameters, decoder excluded",
    r"anew": "again, from scratch",
    r"to be had": "available",
    r"whoever|nobody|somebody": "a concrete noun",
}
WORDS = re.compile("|".join(rf"\b(?:{pattern})(?!\w)" for pattern in TERMS), re.IGNORECASE)
PACKAGES = ("benchmark", "methods", "baselines")
FILES = sorted(path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DOCUMENTS = [
    "README.md",
    "LICENCES.md",
    "CONTRIBUTING.md",
    "results/NOTES.md",
    "tox.ini",
    *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")),
]
CODE = re.compile(r"``[^`]+``|`[^`]+`|:\w+:`[^`]+`|\{[^{}]*\}")
"""Names in code are code: record fields, options, arguments."""


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of everything in a file that people read."""
    content = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(content.splitlines(), start=1)
        return
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and re.search(r"\s", token.string)):
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, line


@pytest.mark.parametrize("name", FILES + DOCUMENTS)
def test_the_words_are_the_fields(name: str) -> None:
    found = [
        f"{name}:{number}: {match[0]!r} in {line.strip()!r}"
        for number, line in texts(ROOT / name)
        if (match := WORDS.search(CODE.sub("", line)))
    ]
    assert not found, "\n".join(found)


def test_the_guard_sees_messages_docstrings_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    path.write_text('"""A run that is due."""\nraise ValueError(f"nobody {x}")  # the rivals\nstream = "loader"\n')
    hits = [match[0] for _, line in texts(path) if (match := WORDS.search(CODE.sub("", line)))]
    assert hits == ["due", "nobody", "rivals"]
