"""The pages of the site and the records that it contains, as files by path."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from benchmark import __version__, protocol, report
from benchmark.common import reading
from benchmark.common.errors import UserError, nearest, spelled
from benchmark.leaderboard.board import Board, build
from benchmark.leaderboard.rows import place
from benchmark.records import Record
from benchmark.records.naming import is_tool
from benchmark.report.assets import environment, inline
from benchmark.tables import published as papers

HERE, REPORT = Path(__file__).parent, Path(report.__file__).parent
MANIFEST = "manifest.json"
"""The list of the site's files with their hashes."""
KINDS = {"method": "Methods", "variant": "Ablations and variants", "published": "Published"}


def files(records: Sequence[Record], only_protocol: str | None = None, backbone: str | None = None) -> dict[str, bytes]:
    """Return every file of the site by its path; equal records give equal files.

    Args:
        records: the records to show, as read from files.
        only_protocol: show only this protocol.
        backbone: show only this backbone.

    Raises:
        UserError: nothing to show, records that are not comparable, or of another version of their protocol.
    """
    boards = _boards(records, only_protocol, backbone)
    assets = inline([REPORT / "page.css", HERE / "board.css"], [REPORT / "page.js", HERE / "board.js"])
    templates = environment(HERE, REPORT)
    common = {"version": __version__, "kinds": KINDS, **assets}
    made: dict[str, str | bytes] = {"index.html": templates.get_template("index.html").render(
        boards=boards, runs=sum(len(board.records) for board in boards), links=[quote(board.path) for board in boards],
        last=max((board.last for board in boards if board.last), default=None), root="", **common,
    )}  # fmt: skip
    for board in boards:
        made[board.path] = templates.get_template("board.html").render(board=board, root="../../", **common)
        for record in board.records:
            assert record.path is not None
            made[place(record)] = reading.read_bytes(record.path, reading.TEXT_LIMIT)
    encoded = {path: text.encode() if isinstance(text, str) else text for path, text in sorted(made.items())}
    manifest = {path: hashlib.sha256(content).hexdigest() for path, content in encoded.items()}
    return encoded | {MANIFEST: (json.dumps(manifest, indent=1) + "\n").encode()}


def _boards(records: Sequence[Record], only_protocol: str | None, backbone: str | None) -> list[Board]:
    """Return the boards, those with runs first; searches and checks have one only if their protocol is asked for.

    Published figures of a protocol have a board without runs, too: under its default variant if it names none.
    """
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        if only_protocol or not is_tool(record.protocol):
            groups[record.protocol, record.backbone].append(record)
    for stated, name in papers.boards():
        if not any(other == name and run.partition("@")[0] == stated for run, other in groups):
            groups.setdefault((protocol.load(stated).name, name), [])
    for field, index, wanted in (("protocol", 0, only_protocol), ("backbone", 1, backbone)):
        known = {key[index] for key in groups}
        chosen = None if wanted is None else spelled(wanted, known)
        if wanted is not None and chosen is None:
            raise UserError(f"--{field} {wanted}: no record and no published figure: {nearest(wanted, known)}")
        groups = defaultdict(list, {key: each for key, each in groups.items() if chosen in (None, key[index])})
    return [build(*key, groups[key]) for key in sorted(groups, key=lambda key: (not groups[key], key))]
