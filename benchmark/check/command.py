"""``python -m benchmark check``: run a short fixed set again; red where it lost mIoU or computes something else.

What is run are the methods and seeds of the reference records, under a protocol's variant ``check``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from rich.console import Console

from benchmark import protocol, tables
from benchmark.check import rounding, worktree
from benchmark.check.regression import AGAIN, FALSE_ALARMS, Comparison, Reference, compare
from benchmark.check.rounding import Runs
from benchmark.common.errors import UserError
from benchmark.data.location import place_for
from benchmark.records import Record, read, read_all
from benchmark.runs import request, sweep
from benchmark.runs.job import Job
from benchmark.tables.layout import Cell, Column, Row, Table
from benchmark.training.runtime import RuntimeOptions

VARIANT = "check"


def run(
    name: str,
    *,
    against: str | None,
    methods: str,
    seeds: str,
    data_root: Path | None,
    records: Path | None,
    reference: Path,
    workers: int | None,
    miou_only: bool,
) -> None:
    """Make the runs, compare them and print what was found.

    Raises:
        UserError: anything that the user can mend.
        SystemExit: code 1 where a run broke off, lost mIoU or, unless ``miou_only``, computes something else.
    """
    console = Console(stderr=True)
    fixed = protocol.load(name, VARIANT)
    data = place_for(fixed, data_root)
    chance = references(reference, fixed)
    wanted = chosen(chance.runs, methods, seeds)
    with place(records) as folder:
        planned = plan(fixed, wanted, data_root=data, folder=folder / worktree.key())
        now = _here(planned, workers, console)
        before = _there(against, name, data_root, planned, folder, workers) if against else chance.runs
        found = compare(chance, before, now)
    print(tables.markdown(table(found, fixed.name, before, now)))
    _end(found, miou_only, console)


def table(found: Comparison, name: str, before: Runs, now: Runs) -> Table:
    """Return mIoU before and now by method and score, with what may be lost and what would be found."""
    old, new = (_commits(runs) for runs in (before, now))
    rows = [
        Row(
            row.label, f"{row.label}, {row.score}",
            (*(Cell(100 * x) for x in (row.before, row.now, row.now - row.before, row.tolerance, row.detectable)),
             Cell(text="regressed" if row.regressed else "passed")),
        )
        for row in found.rows
    ]  # fmt: skip
    heads = ("Before", "Now", "Change", "Tolerance", "Detects")
    notes = (
        f"Tolerance: by how much a row may fall; derived from the spread over seeds so that all rows together raise a "
        f"false alarm with a probability of about {FALSE_ALARMS:g}. Detects: the smallest drop that is found four "
        "times out of five. Source: held-out images of the source; unseen: mean over the unseen domains.",
    )
    seeds = sorted({seed for _, seed in now})
    return Table(
        f"check/{name}",
        f"Protocol {name}: mIoU in %, mean over seeds {', '.join(map(str, seeds))}, before ({old}) and now ({new}).",
        (*(Column(head, 2) for head in heads), Column("Verdict", 0)),
        tuple(rows),
        notes,
    )


def _end(found: Comparison, miou_only: bool, console: Console) -> None:
    lines = [f"failed: {line}" for line in found.failures]
    lines += [
        f"regressed: {row.label}, {row.score}: {100 * row.now:.2f}, was {100 * row.before:.2f}, "
        f"may fall by {100 * row.tolerance:.2f}"
        for row in found.rows
        if row.regressed
    ]
    if not miou_only:
        lines += [f"changed: {line}" for line in found.changes]
    for line in (*found.notes, *lines):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if lines:
        sys.exit(1)
    console.print("as before: no run lost mIoU" + ("" if miou_only else " or computes something else"))


def measure_rounding(
    name: str, *, data_root: Path | None, records: Path | None, reference: Path, workers: int | None
) -> None:
    """Make the reference runs again under other rounding, and keep beside them what that moves.

    Raises:
        UserError: anything that the user can mend.
        SystemExit: a run was refused or crashed.
    """
    console = Console(stderr=True)
    fixed = protocol.load(name, VARIANT)
    runs = _runs(reference / fixed.name)
    os.environ.update(rounding.ENVIRONMENT)  # runs have processes of their own, which read it as they start
    with place(records) as folder:
        planned = plan(
            fixed, list(runs), data_root=place_for(fixed, data_root), folder=folder / f"{worktree.key()}-rounding",
            threads=rounding.THREADS,
        )  # fmt: skip
        path = rounding.write(reference / fixed.name, runs, _here(planned, workers, console))
    console.print(f"what rounding moves: {path}", markup=False, highlight=False, soft_wrap=True)


def _runs(folder: Path) -> dict[tuple[str, int], Record]:
    if not folder.is_dir():
        raise UserError(f"--reference: no folder {folder}; {AGAIN}")
    return {(record.method, record.seed): record for record in read_all(folder)}


def references(folder: Path, fixed: protocol.Protocol) -> Reference:
    """Return a protocol's reference records below ``folder``, and what rounding moves in them.

    Raises:
        UserError: there are none, or they were made under other conditions; see also :class:`Reference` and
            :func:`benchmark.check.rounding.read`.
    """
    runs = _runs(folder / fixed.name)
    tables.as_protocol(list(runs.values()), fixed)
    return Reference(runs, rounding.read(folder / fixed.name, runs, AGAIN))


def chosen(runs: Runs, methods: str, seeds: str) -> list[tuple[str, int]]:
    """Return which of the reference runs to make again; all unless told otherwise.

    Raises:
        UserError: one that is not among them.
    """
    names = set(request.parse_methods(methods)) if methods else {method for method, _ in runs}
    numbers = set(request.parse_seeds(seeds)) if seeds else {seed for _, seed in runs}
    chosen = [key for key in runs if key[0] in names and key[1] in numbers]
    missing = [*sorted(names - {method for method, _ in runs}), *sorted(numbers - {seed for _, seed in runs})]
    if missing or not chosen:
        raise UserError(f"no reference record of {', '.join(map(str, missing)) or 'these together'}; leave it out")
    return chosen


@contextmanager
def place(given: Path | None) -> Iterator[Path]:
    """Yield the folder for the runs: the given one, or a temporary one."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="dgss-check-") as folder:
        yield Path(folder)


def plan(
    fixed: protocol.Protocol, wanted: Sequence[tuple[str, int]], *, data_root: Path, folder: Path, threads: int = 1
) -> list[Job]:
    """Return the jobs of the wanted runs (method, seed)."""
    methods, seeds = (list(dict.fromkeys(part)) for part in zip(*wanted, strict=True))
    planned = request.plan(
        fixed, fixed.backbone, methods, seeds, {}, data_root=data_root, folder=folder,
        runtime=RuntimeOptions(threads=threads),
    )  # fmt: skip
    return [job for job in planned if (job.spec.method, job.spec.seed) in wanted]


def _here(planned: list[Job], workers: int | None, console: Console) -> dict[tuple[str, int], Record]:
    outcomes = sweep.run_pending(planned, workers, console)
    sweep.report_unfinished([outcome for outcome in outcomes if outcome.state != "failed"], console)
    return {(job.spec.method, job.spec.seed): read(job.record) for job in planned}


def _there(
    ref: str, name: str, data_root: Path | None, planned: Sequence[Job], folder: Path, workers: int | None
) -> dict[tuple[str, int], Record]:
    """Make the same runs in a worktree of ``ref``, under its own protocol if it has one for checks, else under this."""
    with worktree.checkout(ref) as tree:
        own = (folder / worktree.key(tree)).resolve()
        words: list[object] = [
            "run", "--protocol", f"{_protocol_file(name, tree)}@{VARIANT}",
            "--methods", ",".join(dict.fromkeys(job.spec.method for job in planned)),
            "--seeds", ",".join(dict.fromkeys(str(job.spec.seed) for job in planned)),
            "--records", own,
        ]  # fmt: skip
        words += [
            *(["--data-root", data_root.resolve()] if data_root else []),
            *(["--workers", workers] if workers else []),
        ]
        code = worktree.call(tree, words)
        if code != 0:
            raise UserError(f"--against {ref}: its runs ended with code {code}, for the reason given above")
        return _runs(own / planned[0].spec.protocol.name)


def _protocol_file(name: str, tree: Path) -> Path:
    """Return a protocol's file; of one that comes with the benchmark the tree's own, if it has the variant."""
    if name.endswith((".yaml", ".yml")):
        return Path(name).resolve()
    for folder in ("protocol", "protocols"):  # the second in commits before the folder was renamed
        own = tree / "benchmark" / folder / f"{name}.yaml"
        if own.is_file() and VARIANT in (yaml.safe_load(own.read_text(encoding="utf-8")).get("variants") or {}):
            return own
    return protocol.FOLDER / f"{name}.yaml"


def _commits(runs: Runs) -> str:
    """Return of which commits runs are, shortened; changed ones say so."""
    found = {record.commit or "no commit" for record in runs.values()}
    return ", ".join(sorted(name[:12] + ("+changes" if name.endswith("+changes") else "") for name in found))
