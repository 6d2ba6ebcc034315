"""The exceptions that a user is meant to read."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake that the user can mend: one line that names the file, the field and the fix.

    The command line prints it without a traceback and exits with code 2. Names and values come from users' files
    and arguments: what would break the line, or steer a terminal, appears as its escape.
    """

    def __init__(self, line: str) -> None:
        super().__init__(printable(line))


class LostWorkerError(UserError):
    """A process that loads data has ended before its time: no mistake, and the run can go on from its checkpoint."""


def printable(text: str) -> str:
    """Return ``text`` with line breaks, control characters and lone surrogates written as Python escapes."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return a closing phrase for an unknown-name message: the likely intention, else every valid name."""
    known = sorted(candidates)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known)}" if known else "none is known"
