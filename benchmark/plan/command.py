"""``python -m benchmark plan``. Nothing is trained, rendered, downloaded or written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tabulate import tabulate

from benchmark.common import atomic
from benchmark.common.errors import UserError
from benchmark.common.terminal import MORE, aligned, fitting, wrapped
from benchmark.plan import costs, hours, needs, verdict
from benchmark.plan.hours import Hours
from benchmark.protocol import Protocol
from benchmark.runs.job import Job
from benchmark.runs.pending import find_pending
from benchmark.runs.request import Selection
from benchmark.runs.spec import RunSpec
from benchmark.training.runtime import RuntimeOptions

SPARE = (0, 2, 5, 4, 0, 3, 0, 1)
"""Which columns a narrow terminal leaves out first, see :func:`benchmark.common.terminal.fitting`."""
HEAD = ("Method", "Pending", "Iterations", "Trainable (M)", "Memory (GB)", "Disk (GB)", "Hours", "Based on")


@dataclass(frozen=True)
class Row:
    """One method's runs.

    Attributes:
        cells: the printed cells.
        pending: number of pending runs.
        memory: estimated bytes of one run, or of each of its ranks.
        hours: kind of hours (``GPU``, ``CPU``) and their number for all pending runs.
        kept: bytes on disk that all pending runs leave.
        room: bytes on disk that one pending run takes while it trains; 0 if none is pending.
    """

    cells: tuple[str, ...]
    pending: int
    memory: float
    hours: tuple[str, float]
    kept: float
    room: float


def show(
    wanted: Sequence[Job],
    data_root: Path | None,
    *,
    force: bool = False,
    skip_unserved: bool = False,
    processes: int = 1,
    room: int | None = None,
) -> str:
    """Return the plan of some runs of one protocol and backbone.

    Args:
        wanted: runs of one protocol and backbone.
        data_root: contains one folder per dataset; None if the user gave none.
        force: finished runs are repeated.
        skip_unserved: skip methods that do not support backbone or protocol instead of refusing them.
        processes: ranks per run.
        room: width of the terminal; None for lines of any length.

    Raises:
        UserError: a method does not support backbone or protocol; the batch cannot be split equally across the ranks.
    """
    from benchmark.parameters.counting import architecture
    from benchmark.training.ranks import images_per_rank

    spec = wanted[0].spec
    images_per_rank(spec.protocol, processes, wanted[0].runtime.accumulate)  # refused before anything is measured
    fixed, backbone = spec.protocol, architecture(spec.backbone)
    own = sum(parameter.numel() for parameter in backbone.parameters())
    found = needs.frames(fixed, data_root)
    decoder = costs.decoder_cost(fixed, backbone, _classes(fixed))
    images = {each.part: each.count for each in found if each.count and not each.part.startswith("source")}
    pending = {id(job) for job in find_pending(wanted, force)}
    methods = _by_method(wanted)

    def price(job: Job) -> costs.Cost:
        return costs.cost(job, backbone, decoder, images, processes)

    cost_of, refused = _priced(methods, price, skip_unserved)
    takes = _hours([(methods[name][0], cost) for name, cost in cost_of.items()], price)
    rows = [
        _row(name, methods[name], sum(id(job) in pending for job in methods[name]), cost, each)
        for (name, cost), each in zip(cost_of.items(), takes, strict=True)
    ]
    lines = [
        _verdict(rows),
        "",
        *_conditions(spec, own, decoder.parameters, processes),
        "",
        *_table(rows, room),
        *refused,
        "",
        *_totals(rows),
        _disk(rows, wanted[0].folder),
        "",
        *_needed(found),
        f"weights: {needs.weights(spec.backbone, spec.weights, spec.revision, own)}",
        "",
        *_how(fixed),
    ]
    return "\n".join(line if line.startswith("|") else wrapped(line, room) for line in lines)


def _conditions(spec: RunSpec, own: int, decoder: int, processes: int) -> list[str]:
    """Return the lines about protocol and models, given the parameters of backbone and decoder."""
    fixed, crop = spec.protocol, spec.protocol.augmentation.crop
    shared = f", split across {processes} ranks" if processes > 1 else ""
    return [
        f"protocol {fixed.name}: {fixed.title}",
        f"backbone {spec.backbone} ({own / 1e6:.1f} M), decoder {fixed.decoder.name} "
        f"({decoder / 1e6:.1f} M); {fixed.batch} images of {crop}x{crop} per iteration{shared}",
    ]


def _verdict(rows: Sequence[Row]) -> str:
    """Return the first line, about the pending runs of all methods."""
    pending = [row for row in rows if row.pending]
    largest = max(pending, key=lambda row: row.memory, default=None)
    total = sum(row.pending for row in pending)
    name, memory = (largest.cells[0], largest.memory) if largest else ("", 0.0)
    return verdict.verdict(memory, name, _hours_by_kind(pending), total, verdict.here())


def _table(rows: Sequence[Row], room: int | None) -> list[str]:
    """Return the lines of the table: of the columns that fit the terminal, or of all as markdown if it is piped."""
    cells = [row.cells for row in rows]
    if room is None:
        return tabulate(cells, HEAD, tablefmt="github", disable_numparse=True, colalign=_align()).splitlines()
    kept = fitting([max(map(len, column)) for column in zip(HEAD, *cells, strict=True)], SPARE, room)
    grid = aligned([[row[place] for place in kept] for row in (HEAD, *cells)], [_align()[at] == "right" for at in kept])
    left = ", ".join(head for place, head in enumerate(HEAD) if place not in kept)
    return [*grid, *([f"Left out to fit {room} characters: {left}; {MORE}."] if left else [])]


def _needed(found: Sequence[needs.Frames]) -> list[str]:
    """Return a line per split, or a single line if all are missing for the same reason."""
    texts = {each.text for each in found}
    if len(texts) == 1 and not any(each.here for each in found):
        return [f"data: missing: {texts.pop()}"]
    return [f"data: {each.part}: {each.text if each.here else 'missing: ' + each.text}" for each in found]


def _by_method(wanted: Sequence[Job]) -> dict[str, list[Job]]:
    found: dict[str, list[Job]] = {}
    for job in wanted:
        found.setdefault(job.spec.method_name, []).append(job)
    return found


def _classes(fixed: Protocol) -> int:
    return len(fixed.label_set().classes)


def _priced(
    methods: Mapping[str, Sequence[Job]], price: Callable[[Job], costs.Cost], skip_unserved: bool
) -> tuple[dict[str, costs.Cost], list[str]]:
    """Return the cost of a run of each method, and a line for each that is skipped.

    Raises:
        UserError: a method does not support backbone or protocol, and ``skip_unserved`` is false.
    """
    cost_of, refused = {}, []
    for name, jobs in methods.items():
        try:
            cost_of[name] = price(jobs[0])
        except UserError as error:
            if not skip_unserved:
                raise
            refused.append(f"omitted: {error}")
    return cost_of, refused


def _hours(priced: Sequence[tuple[Job, costs.Cost]], price: Callable[[Job], costs.Cost]) -> list[Hours]:
    """Return the time of one run of each method, from a job of it and its cost."""
    made = [hours.recorded(job) for job, _ in priced]
    known = hours.speed([(each, cost) for each, (_, cost) in zip(made, priced, strict=True)])
    if known is None and priced:
        spec = priced[0][0].spec
        full = replace(priced[0][0], spec=replace(spec, method="full", given={}))
        found = hours.recorded(full)
        known = None if found is None else hours.speed([(found, price(full))])
    return [each or hours.estimated(job, cost, known) for each, (job, cost) in zip(made, priced, strict=True)]


def _row(name: str, of_method: Sequence[Job], pending: int, cost: costs.Cost, takes: Hours) -> Row:
    phases = " + ".join(f"{phase.iterations} {phase.name}{' on top' * phase.extra}" for phase in cost.phases)
    cells = (
        name, f"{pending} of {len(of_method)}", phases, f"{cost.trainable / 1e6:.3f}", f"{cost.memory / 1e9:.1f}",
        f"{cost.checkpoint / 1e9:.2f}", f"{takes.each:.2f} {takes.kind}", takes.basis,
    )  # fmt: skip
    room = 2 * cost.checkpoint if pending else 0.0
    return Row(cells, pending, cost.memory, (takes.kind, takes.each * pending), cost.kept * pending, room)


def _hours_by_kind(rows: Sequence[Row]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in rows:
        kind, each = row.hours
        found[kind] = found.get(kind, 0.0) + each
    return found


def _totals(rows: Sequence[Row]) -> list[str]:
    total = ", ".join(f"{value:.1f} {kind}-hours" for kind, value in _hours_by_kind(rows).items())
    return [f"all pending runs: {total}; {sum(row.kept for row in rows) / 1e9:.2f} GB of trained weights are saved"]


def _disk(rows: Sequence[Row], folder: Path) -> str:
    free, room = atomic.free(folder), max((row.room for row in rows), default=0.0)
    verdict = "" if room + sum(row.kept for row in rows) < free else ": not enough, give another --records"
    return f"disk: {free / 1e9:.2f} GB are free in {folder}; each run needs up to {room / 1e9:.2f} GB{verdict}"


def _how(fixed: Protocol) -> list[str]:
    return [
        "Trainable: parameters that get a gradient, counted on the real architecture, decoder excluded. Memory per "
        "rank: weights, gradients, optimizer states, and activations saved for the backward pass, measured in small "
        "runs of backbone, method and decoder; if the scores of weights (FisherTune, ChildTune-D) are larger than the "
        "optimizer states, they count instead. Disk: a run's largest checkpoint; two exist while one replaces the "
        "other, and none after the run. During FisherTune's estimate, a temporary file (TMPDIR) takes 20 bytes per "
        "candidate weight. The first line adds 10 % to the memory and, on a GPU, 1.5 GB for what libraries take.",
        hours.explained(fixed.precision),
    ]


def _align() -> tuple[str, ...]:
    return ("left", "right", "left", "right", "right", "right", "right", "left")


def run(
    selection: Selection,
    runtime: RuntimeOptions,
    data_root: Path | None,
    records: Path,
    *,
    force: bool = False,
    processes: int = 1,
    room: int | None = None,
) -> str:
    """Return the plan of what ``run`` would do with the same options.

    Raises:
        UserError: what ``run`` would refuse, except for missing data and weights, which the plan names.
    """
    jobs = selection.jobs(selection.load(), data_root, records, runtime)
    return show(jobs, data_root, force=force, skip_unserved=selection.every, processes=processes, room=room)
