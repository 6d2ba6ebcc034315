"""The opening table of the report: per protocol and backbone, the best methods, what the runs cost, and warnings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from benchmark.records import Record
from benchmark.report.sheets import Entry, Head, Sheet, plain
from benchmark.tables import apart
from benchmark.tables.resamples import Resamples
from benchmark.tables.runs import Runs
from benchmark.tables.separation import groups

CAPTION = "Summary: mIoU in %, mean over the unseen domains and over seeds"
BEST = (
    "Best: the methods than which no other is significantly better (paired bootstrap over images and seeds, every pair "
    "at 95 %, uncorrected), the highest mean first; in parentheses how many were compared. Methods with one seed are "
    "not compared, ablations and variants are in the appendix."
)
HEADS = (
    Head("Protocol", number=False), Head("Backbone", number=False), Head("Methods"), Head("Seeds"),
    Head("Best", number=False), Head("Avg."), Head("CPU hours"), Head("Warnings"),
)  # fmt: skip


def build(parts: Sequence[tuple[str, Sequence[Record]]]) -> Sheet:
    """Return the summary.

    Args:
        parts: the address on the page and the records of each protocol and backbone.

    Raises:
        UserError: a file next to a record does not belong to it.
    """
    return plain(CAPTION, HEADS, [_row(place, *part) for place, part in enumerate(parts)], BEST)


def _row(place: int, href: str, records: Sequence[Record]) -> tuple[Entry, ...]:
    runs = Runs.of(_compared(records))
    means = {
        method: fmean(record.average for record in seeds.values() if record.average is not None)
        for method, seeds in runs.finished.items()
        if seeds
    }
    seeds = sorted({len(runs.finished[method]) for method in means})
    best, average = _best(runs, means)
    hours = sum(record.cpu_seconds for record in records) / 3600
    doubtful = sum(bool(record.warnings) or record.state != "finished" for record in records)
    return (
        Entry(records[0].protocol, place, href=href),
        Entry(records[0].backbone, records[0].backbone),
        Entry(str(len(means)), len(means)),
        Entry("–".join(str(each) for each in dict.fromkeys([*seeds[:1], *seeds[-1:]])), max(seeds, default=None)),
        Entry(best, best),
        Entry() if average is None else Entry(f"{100 * average:.1f}", average),
        Entry(f"{hours:.1f}", hours),
        Entry(str(doubtful), doubtful, title="runs that failed or have a warning"),
    )


def _compared(records: Sequence[Record]) -> list[Record]:
    """Return the runs of methods with the protocol's hyperparameters; of a search, which has only others, all runs."""
    names, _ = apart(records)
    main = [record for record in records if record.method.partition("[")[0] in names]
    return [record for record in main if record.method in names] or main


def _best(runs: Runs, means: dict[str, float]) -> tuple[str, float | None]:
    """Return the names of the best methods, and the highest of their means."""
    ranks = groups(runs.finished, runs.targets, Resamples())
    first = sorted((method for method, rank in ranks.items() if rank == 1), key=lambda method: -means[method])
    if not first:
        return "not compared: needs two methods with two seeds", None
    return f"{_listed(map(runs.label, first))} ({len(first)} of {len(ranks)})", means[first[0]]


def _listed(names: Iterable[str], most: int = 4) -> str:
    held = list(names)
    return ", ".join(held if len(held) <= most else [*held[: most - 1], "…"])
