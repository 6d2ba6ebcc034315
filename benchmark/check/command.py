"""``python -m benchmark check``: repeat a few short runs; fails if a change lowers mIoU or changes losses or scores.

The runs are the methods and seeds of the reference records, under the variant ``check`` of a protocol.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from rich.console import Console

from benchmark import protocol, tables
from benchmark.check import rounding, worktree
from benchmark.check.micro import cases, measure
from benchmark.check.micro import reference as micro_reference
from benchmark.check.regression import AGAIN, FALSE_ALARMS, Comparison, Reference, compare
from benchmark.check.rounding import Runs
from benchmark.common.errors import UserError
from benchmark.common.temporary import temporary_folder
from benchmark.data.location import place_for
from benchmark.records import Record, read, read_all
from benchmark.runs import request, sweep
from benchmark.runs.job import Job
from benchmark.tables import terminal
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
    only: str | None = None,
) -> None:
    """Compute the micro-cases and execute the runs, compare both with their references and print the result.

    Args:
        name: of the protocol, or its file.
        against: commit to compare with, of which there are no micro-references; None for the committed references.
        methods: of the runs, separated by commas; all by default.
        seeds: of the runs; all by default.
        data_root: folder of the data.
        records: folder of the runs; None for a temporary one.
        reference: folder of the references.
        workers: number of processes.
        miou_only: accept what computes something else, unless a run loses mIoU.
        only: ``micro`` or ``runs``, to leave out the other.

    Raises:
        UserError: invalid options or data, missing or unusable reference records.
        SystemExit: code 1 if a run failed, mIoU dropped or, unless ``miou_only``, losses, scores or micro-cases
            changed.
    """
    console = Console(stderr=True)
    if only == "micro":
        sys.exit(1 if compare_micro(reference, console) else 0)
    fixed = protocol.load(name, VARIANT)
    data = place_for(fixed, data_root)
    chance = references(reference, fixed)
    wanted = chosen(chance.runs, methods, seeds)
    changed = False
    if only != "runs" and against is None and not miou_only:
        if (reference / micro_reference.PLACE).exists():
            changed = compare_micro(reference, console)
        else:
            console.print(f"{reference}: no {micro_reference.PLACE}, so only runs are compared", markup=False)
    with place(records) as folder:
        planned = plan(fixed, wanted, data_root=data, folder=folder / worktree.key())
        now = _here(planned, workers, console)
        before = _there(against, name, data_root, planned, folder, workers) if against else chance.runs
        found = compare(chance, before, now)
    terminal.show([table(found, fixed.name, before, now)])
    _end(found, miou_only, console)
    if changed:
        sys.exit(1)


def compare_micro(folder: Path, console: Console) -> bool:
    """Compute all micro-cases, print what differs from the references, and return whether anything does.

    Raises:
        UserError: missing or damaged references.
    """
    expected = micro_reference.read(folder)
    found, seconds = {}, 0.0
    for name, numbers, taken in cases.computed(cases.cases()):
        found[name], seconds = numbers, seconds + taken
    lines = micro_reference.differences(expected, found)
    lines += [f"missing: {name}: there is no such case now" for name in expected.cases if name not in found]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    total = sum(len(numbers) for numbers in expected.cases.values())
    verdict = f"{len(lines)} of {len(found)} micro-cases differ" if lines else f"passed: {len(found)} micro-cases"
    console.print(f"{verdict} ({total:,} numbers, {seconds:.0f} CPU-s)", markup=False, highlight=False)
    return bool(lines)


def measure_micro(folder: Path, pythons: Sequence[Path]) -> None:
    """Compute the micro-references under several conditions and write them.

    Args:
        folder: of the references.
        pythons: further interpreters, with other versions of the libraries.

    Raises:
        UserError: see :func:`benchmark.check.micro.measure.run`.
    """
    console = Console(stderr=True)

    def show(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    show(f"micro-references written to {measure.run(folder, pythons, show)}")


def table(found: Comparison, name: str, before: Runs, now: Runs) -> Table:
    """Return mIoU before and now by method and score, with the tolerance and the detectable drop."""
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
        "Tolerance: the largest drop that passes; derived from the spread over seeds so that the probability of a "
        f"false alarm over all rows is about {FALSE_ALARMS:g}. Detects: the smallest drop that is found four times out "
        "of five. Source: held-out source images; unseen: mean over the unseen domains.",
    )
    seeds = sorted({seed for _, seed in now})
    return Table(
        f"check/{name}",
        f"Protocol {name}: mIoU in %, mean over seeds {', '.join(map(str, seeds))}, before ({old}) and now ({new}).",
        (*(Column(head, 2) for head in heads), Column("Verdict", 0, spare=0)),
        tuple(rows),
        notes,
    )


def _end(found: Comparison, miou_only: bool, console: Console) -> None:
    lines = [f"failed: {line}" for line in found.failures]
    lines += [
        f"regressed: {row.label}, {row.score}: {100 * row.now:.2f}, was {100 * row.before:.2f}, "
        f"tolerance {100 * row.tolerance:.2f}"
        for row in found.rows
        if row.regressed
    ]
    if not miou_only:
        lines += [f"changed: {line}" for line in found.changes]
    for line in (*found.notes, *lines):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if lines:
        sys.exit(1)
    console.print("passed: mIoU within tolerance" + ("" if miou_only else ", losses and scores within rounding"))


def measure_rounding(
    name: str, *, data_root: Path | None, records: Path | None, reference: Path, workers: int | None
) -> None:
    """Repeat the reference runs with different rounding, and write the differences next to their records.

    Raises:
        UserError: invalid options or data, missing or unusable reference records.
        SystemExit: a run was refused or crashed.
    """
    console = Console(stderr=True)
    fixed = protocol.load(name, VARIANT)
    runs = _runs(reference / fixed.name)
    os.environ.update(rounding.ENVIRONMENT)  # read by the worker processes when they start
    with place(records) as folder:
        planned = plan(
            fixed, list(runs), data_root=place_for(fixed, data_root), folder=folder / f"{worktree.key()}-rounding",
            threads=rounding.THREADS,
        )  # fmt: skip
        path = rounding.write(reference / fixed.name, runs, _here(planned, workers, console))
    console.print(f"effect of rounding written to {path}", markup=False, highlight=False, soft_wrap=True)


def _runs(folder: Path) -> dict[tuple[str, int], Record]:
    if not folder.is_dir():
        raise UserError(f"--reference: no folder {folder}; {AGAIN}")
    return {(record.method, record.seed): record for record in read_all(folder)}


def references(folder: Path, fixed: protocol.Protocol) -> Reference:
    """Return the reference records of a protocol below ``folder``, with the effect of rounding on them.

    Raises:
        UserError: no records, or records of another version of the protocol; see also :class:`Reference` and
            :func:`benchmark.check.rounding.read`.
    """
    runs = _runs(folder / fixed.name)
    tables.as_protocol(list(runs.values()), fixed)
    return Reference(runs, rounding.read(folder / fixed.name, runs, AGAIN))


def chosen(runs: Runs, methods: str, seeds: str) -> list[tuple[str, int]]:
    """Return the reference runs to repeat; all by default.

    Raises:
        UserError: a method or seed without a reference record.
    """
    names = set(request.parse_methods(methods)) if methods else {method for method, _ in runs}
    numbers = set(request.parse_seeds(seeds)) if seeds else {seed for _, seed in runs}
    chosen = [key for key in runs if key[0] in names and key[1] in numbers]
    missing = [*sorted(names - {method for method, _ in runs}), *sorted(numbers - {seed for _, seed in runs})]
    if missing or not chosen:
        raise UserError(f"no reference record of {', '.join(map(str, missing)) or 'this combination'}; leave it out")
    return chosen


@contextmanager
def place(given: Path | None) -> Iterator[Path]:
    """Yield the given folder, or a temporary one."""
    if given is not None:
        yield given
        return
    with temporary_folder("dgss-check-") as folder:
        yield folder


def plan(
    fixed: protocol.Protocol,
    wanted: Sequence[tuple[str, int]],
    *,
    data_root: Path | None,
    folder: Path,
    threads: int = 1,
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
    """Execute the same runs in a worktree of ``ref``, with its own protocol if that has the variant ``check``."""
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
            raise UserError(f"--against {ref}: its runs ended with code {code}; see the message above")
        return _runs(own / planned[0].spec.protocol.name)


def _protocol_file(name: str, tree: Path) -> Path:
    """Return the file of a protocol; for a bundled one that of the tree, if it has the variant."""
    if name.endswith((".yaml", ".yml")):
        return Path(name).resolve()
    for folder in ("protocol", "protocols"):  # "protocols" in older commits
        own = tree / "benchmark" / folder / f"{name}.yaml"
        if own.is_file() and VARIANT in (yaml.safe_load(own.read_text(encoding="utf-8")).get("variants") or {}):
            return own
    return protocol.FOLDER / f"{name}.yaml"


def _commits(runs: Runs) -> str:
    """Return the abbreviated commits of runs, marked if there were uncommitted changes."""
    found = {record.commit or "no commit" for record in runs.values()}
    return ", ".join(sorted(name[:12] + ("+changes" if name.endswith("+changes") else "") for name in found))
