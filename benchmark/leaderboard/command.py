"""``python -m benchmark leaderboard``."""

from __future__ import annotations

from pathlib import Path

from benchmark.common import atomic, reading, strict_json
from benchmark.common.atomic import writing
from benchmark.common.errors import UserError
from benchmark.leaderboard.site import MANIFEST, files
from benchmark.records import read_all

AGAIN = "give another --out"


def run(records: Path, out: Path, protocol: str | None, backbone: str | None) -> None:
    """Write the site and print the path of its first page.

    A site that is there is replaced: files that only the old one had are removed.

    Args:
        records: the records folder.
        out: the folder of the site.
        protocol: show only this protocol.
        backbone: show only this backbone.

    Raises:
        UserError: no such record or folder, records that cannot be shown, or a folder that is in use or cannot be
            written.
    """
    old = _old(out)
    made = files(read_all(records), protocol, backbone)
    for path, content in made.items():
        with writing(out / path, AGAIN):
            atomic.write_file(out / path, content)
    for path in sorted(old - made.keys()):
        (out / path).unlink(missing_ok=True)
    pages = sum(path.endswith(".html") for path in made)
    size = sum(map(len, made.values())) / 1e6
    print(f"{out / 'index.html'}: {pages} pages, {len(made) - pages - 1} records, {size:.1f} MB")


def _old(out: Path) -> set[str]:
    """Return the files of the site that the folder contains, by its manifest.

    Raises:
        UserError: the folder contains something else.
    """
    try:
        listed = strict_json.load(reading.read_text(out / MANIFEST))
    except FileNotFoundError:
        if out.is_dir() and any(out.iterdir()):
            raise UserError(f"--out {out}: not empty, and not a leaderboard; {AGAIN}") from None
        return set()
    except (OSError, ValueError):
        listed = None
    inside = out.resolve()
    if not isinstance(listed, dict) or not all((inside / path).resolve().is_relative_to(inside) for path in listed):
        raise UserError(f"{out / MANIFEST}: not that of a leaderboard; {AGAIN}")
    return set(listed)
