"""The interface of a figure: the records it gets, and the shared sentences of captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import figure as mpl

from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.records import SOURCE, Record
from benchmark.tables import order
from benchmark.tables.notes import unseen


class NothingToDrawError(UserError):
    """The records lack the data of a figure; the message says which data and which command creates it."""


@dataclass(frozen=True)
class Selection:
    """The records that a figure may draw, checked to be comparable.

    Attributes:
        records: finished runs of one protocol, and of one backbone unless the figure compares backbones.
        asked: the methods to show, as recorded (``lora[rank=4]``); empty for the figure's default.
        reference: the method that others are compared with.
        missing: pairs of a method and one of its runs that cannot be drawn, with the reason.
        data_root: folder of the datasets, for the figure that needs images; rendered ones need none.
    """

    records: tuple[Record, ...]
    asked: tuple[str, ...] = ()
    reference: str = "freeze"
    missing: tuple[tuple[str, str], ...] = ()
    data_root: Path | None = None

    def methods(self) -> list[str]:
        """Return the methods to compare, in table order: those requested, else all except ablations and variants."""
        if self.asked:
            return [name for name in self._all() if name in self.asked]
        apart = self._apart()
        return [name for name in self._all() if name not in apart]

    def passed_over(self) -> list[str]:
        """Describe what has a record but is not shown: runs, ablations and variants."""
        apart = [] if self.asked else self._apart()
        lost = [words for method, words in self.missing if method not in apart]
        return [*lost, *([f"{', '.join(apart)} (ablations and variants, only with --methods)"] if apart else [])]

    def lacks(self, wanted: Iterable[str]) -> list[str]:
        """Describe which of the wanted methods have no run to draw, or runs that cannot be drawn."""
        wanted = list(wanted)
        lost = [words for method, words in self.missing if method in wanted]
        return [*(f"{name} (no finished run)" for name in wanted if not self.runs(name)), *lost]

    def runs(self, method: str, backbone: str | None = None) -> dict[int, Record]:
        """Return a method's runs by seed, optionally only those with ``backbone``."""
        return {
            record.seed: record
            for record in self.records
            if record.method == method and backbone in (None, record.backbone)
        }

    def backbones(self) -> list[str]:
        """Return the backbones of the runs, sorted."""
        return sorted({record.backbone for record in self.records})

    def label(self, method: str) -> str:
        """Return a method's printed name."""
        return next(record.label for record in self.records if record.method == method)

    def conditions(self, drawn: Iterable[Record], *, spread: bool = True) -> str:
        """Return the last sentences of a caption: protocol, number of seeds, and the meaning of error bars, if any."""
        first = self.records[0]
        length = f", {first.protocol_fields['iterations']} iterations" if "iterations" in first.protocol_fields else ""
        backbones = self.backbones()
        backbone = f", backbone {backbones[0]}" if len(backbones) == 1 else ""
        return (
            f"Protocol {first.protocol}{backbone}{length}, fingerprint {first.fingerprint[:12]}."
            f"{unseen(first.protocol_fields)} {seeds(drawn, spread)}"
        )

    def _all(self) -> list[str]:
        return sorted({record.method for record in self.records}, key=order)

    def _apart(self) -> list[str]:
        """Return the ablations, and the methods with given hyperparameters or feature perturbation."""
        known = registry.names("method")
        ablations = {name for name, place in known.items() if registry.is_ablation(place)}
        return [name for name in self._all() if "[" in name or "+" in name or name in ablations]


@dataclass(frozen=True)
class Drawing:
    """A drawn figure.

    Attributes:
        figure: the matplotlib figure.
        caption: full sentences, including the number of seeds.
        left_out: descriptions of runs and methods that are not shown.
    """

    figure: mpl.Figure
    caption: str
    left_out: Sequence[str] = ()


@dataclass(frozen=True)
class Figure:
    """A kind of figure.

    Attributes:
        title: one line, for the list of figures.
        draw: function that draws it.
        across: whether it compares backbones, and so is drawn once per protocol.
    """

    title: str
    draw: Callable[[Selection], Drawing]
    across: bool = False


def seeds(drawn: Iterable[Record], spread: bool) -> str:
    """Return one sentence: the number of seeds averaged, which ones, and whether their spread is shown."""
    runs: dict[tuple[str, str], list[Record]] = {}
    for record in drawn:
        runs.setdefault((record.backbone, record.method), []).append(record)
    everyone = ", ".join(map(str, sorted({record.seed for each in runs.values() for record in each})))
    counts = Counter(len(each) for each in runs.values())
    most = counts.most_common(1)[0][0]
    if set(counts) == {1}:
        return f"n = 1 (seed {everyone})" + (", so no spread is shown." if spread else ".")
    what = "Mean and standard deviation" if spread else "Means"
    if len(counts) == 1:
        return f"{what} over n = {most} seeds ({everyone})."
    apart = len({backbone for backbone, _ in runs}) > 1
    others = [
        f"{each[0].label}{f' on {backbone}' if apart else ''}: n = {len(each)}"
        for (backbone, _), each in runs.items()
        if len(each) != most
    ]
    return f"{what} over n = {most} of the seeds {everyone} ({'; '.join(others)})."


def require(found: Sequence[object], needed: str, command: str) -> None:
    """Check that there is something to draw.

    Args:
        found: the runs or methods found.
        needed: what is needed, for the error message.
        command: options of ``run`` that create it.

    Raises:
        NothingToDrawError: ``found`` is empty.
    """
    if not found:
        raise NothingToDrawError(f"no finished run of {needed}; create one with: python -m benchmark run {command}")


def compared(selection: Selection, command: str = "--all") -> list[str]:
    """Return the methods to compare.

    Args:
        selection: the records.
        command: options of ``run`` that create such runs, for the error message.

    Raises:
        NothingToDrawError: no method to compare.
    """
    methods = selection.methods()
    require(methods, "a method of the main comparison", command)
    return methods


def percent(record: Record) -> float:
    """Return a finished run's mIoU in %, averaged over the unseen domains."""
    assert record.average is not None, "only finished runs are selected"
    return 100 * record.average


def source_percent(record: Record) -> float:
    """Return a finished run's mIoU in % on the source domain."""
    return 100 * record.scores()[SOURCE].miou
