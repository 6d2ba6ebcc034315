"""Exceptions whose messages are written for the user."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """An error that the user can fix: one line that names the file, the field and the fix.

    The command line prints it without a traceback and exits with code 2. Messages contain names and values from the
    user's files and arguments, so line breaks and control characters are escaped.
    """

    def __init__(self, line: str) -> None:
        super().__init__(printable(line))


class LostWorkerError(UserError):
    """A data-loader worker has died; not the user's mistake, and the run can resume from its checkpoint."""


def printable(text: str) -> str:
    """Return ``text`` with line breaks, control characters and lone surrogates written as Python escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def spelled(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that ``name`` is, whatever the case of its letters; None if there is none, or no single one.

    A candidate with the exact spelling comes first.
    """
    known = list(candidates)
    if name in known:
        return name
    alike = [each for each in known if each.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else None


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return the last part of an unknown-name message: the closest valid name in any case, or all valid names."""
    known = sorted(candidates)
    lower = {each.lower(): each for each in reversed(known)}
    close = get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    if close:
        return f"did you mean {lower[close[0]]!r}?"
    return f"known: {', '.join(known)}" if known else "none is known"
