"""``python -m benchmark tune``: search every method's learning rate by one rule, on held-out source images.

1. A coarse grid, by default 1e-6 to 1e-1 in steps of ten, is tried at a third of the length: iterations and warm-up of
   the protocol's variant ``tune``, whose only "target" is a part of the source domain that is used for nothing else.
2. While the best rate is at an end of the grid, the grid grows by a step of ten at that end. The limits of the method's
   settings, and 1, bound it.
3. The best rate and the two beside it in the series 1, 3, 10, 30, ... (1e-4: 3e-5 and 3e-4) are tried at full length:
   three runs for every method. The best of them is chosen. If it is an end of the three, the table notes that, and
   nothing further is tried: at reduced length, the next rate was not better, or there is none.

A rate at which training diverges counts as tried and is never chosen. Of equal scores, one inside the range comes
before one at an end, then the lower rate. A curve is flat if the best rate of full length is not significantly better
than the worst; see :func:`benchmark.runs.trials.flat_curves`. Each combination of other hyperparameters (``--set``) is
searched as a method of its own. All runs have the same seed, and no choice depends on a target image. The rates found
belong in the protocol's section ``searched``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from rich.console import Console

from benchmark import protocol
from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.data.location import place_for
from benchmark.models.catalogue import find_backbone
from benchmark.protocol import SHORT, Protocol
from benchmark.records import Record, read
from benchmark.records.naming import base
from benchmark.runs import rates, request, sweep, trials
from benchmark.runs.job import Job
from benchmark.runs.pending import find_pending
from benchmark.runs.pool import Outcome
from benchmark.runs.spec import Given
from benchmark.tables import terminal

VARIANT = "tune"
SEED = 1000  # far from the seeds that results are reported for
Rates = Mapping[Job, Sequence[float]]
"""Rates by method, which is a run without a rate."""
Found = Mapping[Job, Mapping[float, Record]]
"""Records by method and rate."""


def run(
    name: str,
    methods: str,
    grid: str,
    given: Sequence[str] = (),
    *,
    backbone: str | None,
    weights: Path | None,
    data_root: Path | None,
    records: Path,
    workers: int | None,
) -> None:
    """Execute the pending runs of the search, then print its tables, the rates that it found, and flat curves.

    Args:
        name: a protocol with a variant ``tune``.
        methods: as :func:`benchmark.runs.request.parse_methods` reads them; empty for :func:`tunable`.
        grid: the coarse grid, as :func:`benchmark.runs.rates.parse` reads it.
        given: other hyperparameters, as :func:`benchmark.runs.request.parse_given` reads them.
        backbone: instead of the protocol's own.
        weights: of the backbone, instead of its own.
        data_root: contains one folder per dataset; rendered ones need none.
        records: folder of all records.
        workers: runs at a time; by cores and memory if None.

    Raises:
        UserError: anything that can be known before training starts.
        SystemExit: code 1 if a run crashed, 2 if one was refused.
    """
    if "@" in name:
        raise UserError(f"--protocol {name}: tune uses variant {VARIANT}; give {name.partition('@')[0]}")
    full, short = protocol.load(name, VARIANT), protocol.load(name, VARIANT + SHORT)
    names = request.parse_methods(methods) if methods else tunable()
    wanted = plan(
        full, find_backbone(backbone or full.backbone).name, names, rates.parse(grid), request.parse_given(given),
        data_root=None, folder=records, weights=weights,
    )  # fmt: skip
    place = place_for(full, data_root)
    search = Search(workers, Console(stderr=True), skip_unserved=not methods)
    coarse = search.widen(short, {replace(job, data_root=place): each for job, each in wanted.items()})
    best = {job: rates.best(trials.scores(tried)) for job, tried in complete(short, coarse).items()}
    fine = {job: rates.beside(rate, rates.allowed(job.spec.method)) for job, rate in best.items() if rate is not None}
    search.run(full, fine)
    tried = _listed(recorded(short, coarse))
    if tried:
        _print(tried, _listed(complete(full, fine)))
    sweep.report_unfinished(search.unfinished, search.console)
    if not tried:
        raise UserError(f"nothing was searched: no method supports backbone {next(iter(coarse)).spec.backbone!r}")


def tunable() -> list[str]:
    """Return the methods of the main comparison that have a learning rate."""
    return [name for name in registry.main_methods() if _has_rate(name)]


def plan(
    full: Protocol,
    backbone: str,
    methods: Sequence[str],
    grid: Sequence[float],
    given: Given,
    *,
    data_root: Path | None,
    folder: Path,
    weights: Path | None = None,
) -> dict[Job, list[float]]:
    """Return the coarse grid of each method, with each combination of its given hyperparameters.

    Raises:
        UserError: an unknown method, one without a learning rate or whose limits exclude the whole grid, or a given
            learning rate.
    """
    for name in methods:
        registry.require("method", base(name))
        if not _has_rate(name):
            raise UserError(f"method {name!r} has no learning rate to search for; leave it out of --methods")
        if "lr" in given.get(name, {}):
            raise UserError(f"--set {name}.lr: tune searches the learning rate; give the coarse grid as --rates")
    jobs = request.plan(full, backbone, methods, [SEED], given, data_root=data_root, folder=folder, weights=weights)
    found = {job: [rate for rate in grid if rates.allowed(job.spec.method)(rate)] for job in jobs}
    for job, within in found.items():
        if not within:
            raise UserError(f"--rates: method {job.spec.method!r} allows none of {', '.join(map(str, grid))}")
    return found


def at(method: Job, fixed: Protocol, rate: float) -> Job:
    """Return the run of a method under this protocol at this rate."""
    return replace(method, spec=replace(method.spec, protocol=fixed, given={**method.spec.given, "lr": rate}))


def recorded(fixed: Protocol, wanted: Rates) -> Found:
    """Return the records of those of the wanted runs that have one."""
    jobs = {method: {rate: at(method, fixed, rate) for rate in sorted(each)} for method, each in wanted.items()}
    return {
        method: {rate: read(job.record) for rate, job in each.items() if job.record.exists()}
        for method, each in jobs.items()
    }


class Search:
    """Executes the runs of a search.

    Args:
        workers: runs at a time; by cores and memory if None.
        console: for progress.
        skip_unserved: skip methods that do not support the backbone instead of refusing them.

    Attributes:
        unfinished: outcomes of runs that have no record.
    """

    def __init__(self, workers: int | None, console: Console, *, skip_unserved: bool) -> None:
        self.workers, self.console, self.skip_unserved = workers, console, skip_unserved
        self.unfinished: list[Outcome] = []

    def run(self, fixed: Protocol, wanted: Rates) -> None:
        """Execute the pending ones of these runs."""
        jobs = [at(method, fixed, rate) for method, each in wanted.items() for rate in each]
        # A run that diverged has a record too; it would diverge again.
        diverged = {job for job in find_pending(jobs, force=False) if job.record.exists()}
        jobs = [job for job in jobs if job not in diverged]
        outcomes = sweep.run_pending(jobs, self.workers, self.console, skip_unserved=self.skip_unserved)
        self.unfinished += [outcome for outcome in outcomes if outcome.state not in ("finished", "failed")]

    def widen(self, fixed: Protocol, grid: Rates) -> Rates:
        """Execute the grid, and wider ones while a method's best rate is at an end; return the grids at last.

        A method with a run that has no record is not tried further.
        """
        new = grid
        while any(new.values()):
            self.run(fixed, new)
            done = complete(fixed, grid)
            new = {
                job: rates.wider(trials.scores(tried), rates.allowed(job.spec.method)) for job, tried in done.items()
            }
            grid = {job: [*each, *new.get(job, [])] for job, each in grid.items()}
        return grid


def complete(fixed: Protocol, wanted: Rates) -> Found:
    """Return the records of those methods that have one at every wanted rate."""
    return {job: tried for job, tried in recorded(fixed, wanted).items() if len(tried) == len(wanted[job])}


def _print(coarse: Sequence[Record], full: Sequence[Record]) -> None:
    """Print the table of either length, then the rates and the flat curves as YAML."""
    flat = trials.flat_curves(full)
    terminal.show([trials.table(coarse), *([trials.table(full, flat)] if full else [])])
    found = {"searched": {coarse[0].backbone: trials.choose(full)}, "flat": flat}
    print(yaml.safe_dump(found, sort_keys=False).rstrip())


def _has_rate(method: str) -> bool:
    return "lr" in registry.find("method", base(method)).Settings.model_fields


def _listed(found: Found) -> list[Record]:
    return [record for tried in found.values() for record in tried.values()]
