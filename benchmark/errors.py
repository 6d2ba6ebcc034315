"""The one exception that a user is meant to read."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake that the user can mend: one line that names the file, the field and the fix.

    The command line prints it without a traceback and exits with code 2.
    """


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return a closing phrase for an unknown-name message: the likely intention, else every valid name."""
    known = sorted(candidates)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known)}" if known else "none is known"
