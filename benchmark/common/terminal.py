"""Text that fits the terminal: columns that do not fit are left out by a stated order, and text is wrapped at words."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Sequence

GAP = 2
"""Spaces between two columns."""
MORE = "a wider terminal shows them, and so does the output written to a file (> FILE)"
"""How to see the columns that were left out."""
CODES = re.compile(r"\x1b\[\d+m")
BOLD, UNDERLINED, PLAIN = "\x1b[1m", "\x1b[4m", "\x1b[0m"


def width() -> int | None:
    """Return the terminal's width in characters; None if the output is piped or written to a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def length(text: str) -> int:
    """Return how many characters a text takes on the terminal."""
    return len(CODES.sub("", text))


def wrapped(text: str, room: int | None, indent: str = "") -> str:
    """Return the text in lines of at most ``room`` characters, broken between words only.

    Args:
        text: one paragraph.
        room: width; None leaves the text on one line.
        indent: of all lines except the first.
    """
    if room is None:
        return text
    return textwrap.fill(text, room, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def fitting(widths: Sequence[int], spare: Sequence[int], room: int | None, gap: int = GAP) -> list[int]:
    """Return the indices of the columns to print, in order.

    Columns are left out one by one until the others fit; then those come back, the last first, for which there is room.

    Args:
        widths: of each column.
        spare: which are left out first: those with the highest number, of equals the last; those with 0 never.
        room: width of all of them; None for no limit.
        gap: space between two columns.
    """

    def fit(places: Sequence[int]) -> bool:
        return room is None or sum(widths[place] + gap for place in places) - gap <= room

    kept, out = list(range(len(widths))), []
    for place in sorted(kept, key=lambda place: (-spare[place], -place)):
        if fit(kept) or not spare[place]:
            break
        kept.remove(place)
        out.append(place)
    for place in reversed(out):
        if fit([*kept, place]):
            kept.append(place)
    return sorted(kept)


def aligned(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """Return one line per row, with columns of equal width; ``right`` says which are aligned to the right."""
    widths = [max(map(length, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for cell, size, flush in zip(row, widths, right, strict=True):
            blank = " " * (size - length(cell))
            cells.append(blank + cell if flush else cell + blank)
        lines.append((" " * GAP).join(cells).rstrip())
    return lines
