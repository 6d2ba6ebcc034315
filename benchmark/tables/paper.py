"""The layouts of FisherTune's five tables, filled from records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from benchmark import protocol as protocols
from benchmark.common.errors import UserError, nearest, spelled
from benchmark.protocol import Protocol
from benchmark.records import Record
from benchmark.tables import notes
from benchmark.tables import published as papers
from benchmark.tables.comparable import as_protocol
from benchmark.tables.layout import Cell, Column, Row, Table
from benchmark.tables.marks import MARKS, mark
from benchmark.tables.published import TRAINABLE, Group, Layout
from benchmark.tables.resamples import Resamples
from benchmark.tables.runs import Runs, cell, decimals, mean_score, trainable_cell

NUMBERS = (1, 2, 3, 4, 5)
AVERAGE, CLASS = "average", "class "


def build(
    number: int,
    records: Sequence[Record],
    protocol: str | None = None,
    backbone: str | None = None,
    published: bool = False,
) -> list[Table]:
    """Return one of the paper's tables, filled from records; cells without runs stay empty.

    A per-class table is split into one part per protocol, since it does not fit on a page.

    Args:
        number: number of the table in the paper.
        records: records of any runs; other protocols, backbones and methods are ignored.
        protocol: a variant of the table's protocol (``gtav-to-cbm@full-test``), or another protocol, whose domains
            then become the columns.
        backbone: show only the groups or columns of this backbone.
        published: add published figures.

    Raises:
        UserError: no record to show; a record that does not match its protocol or is not comparable.
    """
    layout = papers.layout(number)
    fixed = {name: protocols.load(name) for name in layout.protocols()}
    if protocol is not None:
        given = protocols.load(protocol)
        base = given.name.partition("@")[0]
        if base in fixed:
            fixed[base] = given
        else:
            layout, fixed = _elsewhere(layout, given, records), {given.name: given}
    if backbone is not None:
        layout = _only(layout, backbone)
    made = [_Made(part, fixed, records, published) for part in _parts(layout)]
    tables = [each.table() for each in made]
    if not any(each.runs or each.cited.rows for each in made):
        held = sorted({f"{record.protocol} with {record.backbone}" for record in records})
        raise UserError(
            f"no record for a row of Table {number}, which shows {', '.join(each.name for each in fixed.values())}; "
            f"found {', '.join(held)}; give --protocol, or create records with: python -m benchmark run"
        )
    return tables


def _parts(layout: Layout) -> list[Layout]:
    if not _by_class(layout):
        return [layout]
    groups = {each.protocol: [g for g in layout.groups if g.protocol == each.protocol] for each in layout.groups}
    return [replace(layout, groups=tuple(each)) for each in groups.values()]


def _by_class(layout: Layout) -> bool:
    return any(column.scored.startswith(CLASS) for column in layout.columns)


def _elsewhere(layout: Layout, fixed: Protocol, records: Sequence[Record]) -> Layout:
    """Return the table's rows with the domains of another protocol as columns, one group per backbone."""
    methods = dict.fromkeys(method for group in layout.groups for method in group.rows)
    here = [record for record in records if record.protocol == fixed.name and record.method in methods]
    classes = dict.fromkeys(name for record in here for name in record.target_classes()) if _by_class(layout) else ()
    columns = [papers.Column(name, CLASS + name) for name in classes]
    columns += [] if _by_class(layout) else [papers.Column(notes.spelling(name), name) for name in fixed.targets]
    groups = [
        Group(backbone, dict.fromkeys(methods, ()), fixed.name, backbone)
        for backbone in sorted({record.backbone for record in here})
    ]
    return replace(layout, columns=(*columns, papers.Column("Avg.", AVERAGE)), groups=tuple(groups))


def _only(layout: Layout, wanted: str) -> Layout:
    known = {*(each.backbone for each in layout.columns), *(each.backbone for each in layout.groups)} - {""}
    backbone = spelled(wanted, known)
    columns = tuple(column for column in layout.columns if column.backbone in ("", backbone))
    groups = tuple(group for group in layout.groups if group.backbone in ("", backbone))
    if backbone is None or not columns or not groups:
        raise UserError(f"Table {layout.number} has no backbone {wanted!r}: {nearest(wanted, known)}")
    return replace(layout, columns=columns, groups=groups)


@dataclass
class _Made:
    """A table being built: the runs that its cells use, and the notes about them."""

    layout: Layout
    fixed: dict[str, Protocol]
    records: Sequence[Record]
    published: bool
    runs: dict[tuple[str, str], Runs] = field(default_factory=dict)
    cited: notes.Cited = field(default_factory=notes.Cited)
    marks: dict[str, None] = field(default_factory=dict)
    resamples: Resamples = field(default_factory=Resamples)

    def table(self) -> Table:
        """Build the table."""
        rows = [row for group in self.layout.groups for row in self._rows(group)]
        first = (
            [Column("Trainable (M)", decimals([row.cells[0] for row in rows]), spare=3)] if self.layout.trained else []
        )
        scored = (Column(column.head, 1, spare=int(column.scored != AVERAGE)) for column in self.layout.columns)
        columns = (*first, *scored, Column("n", 0, spare=2))
        name = "/".join([f"table{self.layout.number}", *(each.name for each in self._protocols())])
        return Table(name, self._caption(), columns, tuple(rows), tuple(self._notes()))

    def _protocols(self) -> list[Protocol]:
        return [self.fixed[name] for name in self.layout.protocols()]

    def _rows(self, group: Group) -> Iterator[Row]:
        """Return the rows of one group, marked."""
        places = [
            (column.protocol or group.protocol, column.backbone or group.backbone) for column in self.layout.columns
        ]
        runs = [self._of(*place) for place in places]
        rows = [self._row(group, method, places, runs) for method in self._methods(group, runs)]
        start = int(self.layout.trained)
        for place in dict.fromkeys(places):
            here = runs[places.index(place)]
            if here is None:
                continue
            domains = {
                start + index: _domains(column.scored, here)
                for index, column in enumerate(self.layout.columns)
                if places[index] == place and not column.scored.startswith(CLASS)
            }
            rows, note = mark(rows, here.finished, domains, self.resamples)
            if note:
                self.marks[note if note == MARKS else f"{group.head}: {note[0].lower()}{note[1:]}"] = None
        yield from rows

    def _caption(self) -> str:
        paper = f"FisherTune (Zhao et al., CVPR 2025), Table {self.layout.number}"
        if not self.runs:
            return f"{paper}, published numbers only, no run of this suite: {self.layout.title}. mIoU in %."
        of = ", ".join(f"{each.name} (fingerprint {each.fingerprint()[:12]})" for each in self._protocols())
        return (
            f"{paper}, from this suite's records: {self.layout.title}. mIoU in %, mean ± standard deviation over "
            f"n seeds. Protocol {of}."
        )

    def _notes(self) -> Iterator[str]:
        if self.layout.trained:
            yield "Trainable: millions of trainable parameters, decoder excluded."
            for (protocol, backbone), runs in self.runs.items():
                yield from (f"{protocol}, {backbone}: {note}" for note in notes.unreached(runs))
        if _by_class(self.layout):
            yield "Classes: mean IoU over the domains in which the class occurs. Significance is marked for mIoU only."
        for (protocol, backbone), runs in self.runs.items():
            yield from (f"{protocol}, {backbone}: {note}" for note in notes.of_runs(runs))
        yield from self.marks
        yield from self.cited.notes()

    def _of(self, base: str, backbone: str) -> Runs | None:
        fixed = self.fixed[base]
        shown = {method for group in self.layout.groups for method in group.rows}
        if (fixed.name, backbone) not in self.runs:
            place = (fixed.name, backbone)
            found = [r for r in self.records if (r.protocol, r.backbone) == place and r.method in shown]
            if not found:
                return None
            as_protocol(found, fixed)
            self.runs[place] = Runs.of(found)
        return self.runs[fixed.name, backbone]

    def _methods(self, group: Group, runs: Sequence[Runs | None]) -> list[str]:
        """Return the methods of a group; the second of two that share published figures needs runs to be shown."""
        seconds = set(papers.twins().values())
        return [name for name in group.rows if name not in seconds or any(r and name in r.finished for r in runs)]

    def _row(self, group: Group, method: str, places: list[tuple[str, str]], runs: Sequence[Runs | None]) -> Row:
        cells = []
        if self.layout.trained:
            cells.append(self._printed(trainable_cell(_finished(runs[0], method)), places[0], method, TRAINABLE))
        for column, place, each in zip(self.layout.columns, places, runs, strict=True):
            scored = cell(_finished(each, method), _reader(column.scored, each)) if each else Cell()
            cells.append(self._printed(scored, place, method, column.scored))
        most = max((each.n for each in cells), default=0)
        cells = [replace(each, aside=f" ({each.n})") if 0 < each.n < most else each for each in cells]
        return Row(method, papers.label(method), (*cells, Cell(most)), group.head)

    def _printed(self, made: Cell, place: tuple[str, str], method: str, scored: str) -> Cell:
        figure = papers.find(*place, method, scored, self.layout.number) if self.published else None
        if figure is None:
            return made
        self.cited.cite(figure, papers.label(method))
        return replace(made, published=figure.value)


def _finished(runs: Runs | None, method: str) -> list[Record]:
    return list(runs.finished.get(method, {}).values()) if runs else []


def _domains(scored: str, runs: Runs) -> tuple[str, ...]:
    return runs.targets if scored == AVERAGE else (scored,)


def _reader(scored: str, runs: Runs) -> Callable[[Record], float | None]:
    if not scored.startswith(CLASS):
        return mean_score(_domains(scored, runs))
    name = scored.removeprefix(CLASS)

    def read(record: Record) -> float | None:
        found = [record.class_iou(domain).get(name) for domain in record.targets]
        known = [value for value in found if value is not None]
        return fmean(known) if known else None

    return read
