"""What differs between the executions of a table's runs: package versions, machine, precision, commit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from benchmark.common.errors import UserError, printable
from benchmark.records import Record
from benchmark.tables.runs import Runs

HARDWARE = ("system", "processor", "threads", "accelerator", "processes")
"""Fields of a record's ``machine`` that change its CPU time."""
SHORT = 7
Facts = tuple[tuple[str, str], ...]


def differences(runs: Runs) -> list[str]:
    """Return notes on runs that were executed under different conditions, naming what differs and the rows.

    A fact that a record does not state is not compared.
    """
    finished = [record for seeds in runs.finished.values() for record in seeds.values()]
    notes = []
    groups = _groups(finished, [_conditions(record) for record in finished])
    if len(groups) > 1:
        notes.append(f"Computed under different conditions: {_listed(runs, groups)}.")
    commits = _groups(finished, [{"commit": record.commit[:SHORT]} if record.commit else {} for record in finished])
    if len(commits) > 1:
        notes.append(f"Computed at different commits: {_listed(runs, commits)}.")
    edited = [record for record in finished if record.commit and record.commit.endswith("+changes")]
    if edited:
        notes.append(f"Computed with uncommitted changes: {_rows(runs, edited)}.")
    return [*notes, *_resumed(runs, finished)]


def same_hardware(records: Iterable[Record]) -> bool:
    """Return whether the records' times can be compared: no two, and no two parts of one, state different hardware."""
    finished = [record for record in records if record.state == "finished"]
    return same_machine(
        machine
        for record in finished
        for machine in (record.machine, *(segment.machine for segment in record.segments))
    )


def same_machine(machines: Iterable[Mapping[str, object]]) -> bool:
    """Return whether no two of these facts about machines state different hardware."""
    found = list(machines)
    return all(
        len({str(machine[name]) for machine in found if machine.get(name) is not None}) < 2
        and (name != "accelerator" or len({str(machine.get(name)) for machine in found}) < 2)
        for name in HARDWARE
    )


def require_same(runs: Runs) -> None:
    """Check that all runs state how they were executed, and that no two differ.

    Raises:
        UserError: they do not; the message is the first note, or names what is not stated.
    """
    if found := differences(runs) or _unstated(runs):
        raise UserError(f"--strict: {runs.all[0].protocol}, {runs.all[0].backbone}: {found[0]}")


def _unstated(runs: Runs) -> list[str]:
    """Return a note per fact that some runs do not state; an installed package has no commit, so all may lack it."""
    finished = [record for seeds in runs.finished.values() for record in seeds.values()]
    notes = []
    for name in ("machine", "versions", "commit"):
        silent = [record for record in finished if not getattr(record, name)]
        if silent and (name != "commit" or len(silent) < len(finished)):
            notes.append(f"No {name} is stated: {_rows(runs, silent)}.")
    return notes


def _conditions(record: Record) -> dict[str, str]:
    """Return what decides numbers and cost besides the code: versions, hardware and precision, as far as stated."""
    names = (*HARDWARE, "precision") if record.machine else ()
    return dict(record.versions) | _stated({name: record.machine.get(name) for name in names})


def _groups(records: Sequence[Record], facts: Sequence[dict[str, str]]) -> dict[Facts, list[Record]]:
    """Return the records by those facts that differ among them."""
    values: dict[str, set[str]] = defaultdict(set)
    for each in facts:
        for name, value in each.items():
            values[name].add(value)
    differing = [name for name, found in values.items() if len(found) > 1]
    groups: dict[Facts, list[Record]] = defaultdict(list)
    for record, each in zip(records, facts, strict=True):
        groups[tuple((name, each[name]) for name in differing if name in each)].append(record)
    return groups


def _listed(runs: Runs, groups: dict[Facts, list[Record]]) -> str:
    """Return the groups as text, the smallest first; the rows of the largest are the others."""
    ordered = sorted(groups.items(), key=lambda group: len(group[1]))
    parts = []
    for place, (facts, records) in enumerate(ordered):
        rows = "all others" if place == len(ordered) - 1 else _rows(runs, records)
        parts.append(f"{', '.join(f'{name} {value}' for name, value in facts) or 'not stated'} ({rows})")
    return "; ".join(parts)


def _rows(runs: Runs, records: Sequence[Record]) -> str:
    """Return the rows of some runs by label, with the seeds unless all of a row's runs are meant."""
    counts = Counter(record.method for record in records)
    named = []
    for method in dict.fromkeys(record.method for record in records):
        seeds = ", ".join(str(record.seed) for record in records if record.method == method)
        whole = counts[method] == len(runs.finished[method])
        named.append(runs.label(method) + ("" if whole else f" seed {seeds}"))
    return ", ".join(named)


def _resumed(runs: Runs, finished: Sequence[Record]) -> list[str]:
    """Return a note per run that was resumed under other conditions."""
    notes = []
    for record in finished:
        for before, after in zip(record.segments, record.segments[1:], strict=False):
            old, new = (
                each.versions | ({"commit": each.commit} if each.commit else {}) | _stated(each.machine)
                for each in (before, after)
            )
            changed = [
                f"{name} {old.get(name, 'not stated')} to {new.get(name, 'not stated')}"
                for name in dict.fromkeys([*new, *old])
                if old.get(name) != new.get(name)
            ]
            notes.append(
                f"{runs.label(record.method)}, seed {record.seed}, was resumed at iteration {after.first} under other "
                f"conditions: {', '.join(changed) or 'not stated'}."
            )
    return notes


def _stated(machine: Mapping[str, object]) -> dict[str, str]:
    """Return the facts about a machine as text; one that is stated without an accelerator has none."""
    known: dict[str, object] = {"accelerator": "none"} if machine else {}
    known |= {name: value for name, value in machine.items() if value is not None}
    return {name: printable(str(value)) for name, value in known.items()}
