"""Progress of runs on the screen: bars on a terminal, a plain log elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from benchmark.runs.events import Ended, Evaluating, Event, Loading, Locked, Note, Queued, Step, Training
from benchmark.runs.job import Job

LOG_SECONDS = 15.0


class Display:
    """Shows jobs' progress on stderr; use it as a context manager and pass it events.

    Args:
        total: number of jobs.
        console: its ``is_terminal`` decides between bars and log lines.
    """

    def __init__(self, total: int, console: Console) -> None:
        self.total, self.done, self.console = total, 0, console
        # What is long shares the room that the count and the time leave, so that a narrow terminal keeps those.
        name, bar, note = (Column(ratio=ratio, no_wrap=True, overflow="ellipsis") for ratio in (3, 2, 3))
        self.bars = Progress(
            TextColumn("{task.description}", table_column=name), BarColumn(None, table_column=bar),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[note]}", table_column=note),
            console=console, disable=not console.is_terminal, expand=True,
        )  # fmt: skip
        self.tasks: dict[Job, TaskID] = {}
        self.logged: dict[Job, float] = {}
        self.began: dict[Job, tuple[float, int]] = {}
        self.noted: set[tuple[str, str]] = set()

    def __enter__(self) -> Display:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def show(self, job: Job, event: Event) -> None:
        """Show one event of a job."""
        if job not in self.tasks:
            name = f"{job.spec.method_name} seed {job.spec.seed}"  # the runs differ in nothing else
            self.tasks[job] = self.bars.add_task(escape(name), total=None, note="")
        task = self.tasks[job]
        match event:
            case Note(text):
                self._note(job, text)
            case Locked(owner):
                self.bars.update(task, note=f"locked by {escape(owner)}")
                self._line(f"{job.spec.title} is locked by {owner}; skipped for now")
            case Step(step, total, losses):
                text = " ".join(f"{name} {value:.3f}" for name, value in losses.items()) or "estimating"
                self.bars.update(task, completed=step, total=total, note=text)
                self._log(job, f"{step}/{total} {text}{self._remaining(job, step, total)}")
            case Ended(state, text, average):
                self.done += 1
                self.bars.remove_task(task)
                score = "" if average is None else f"mIoU {100 * average:.1f}"
                facts = ", ".join(filter(None, [score, text]))
                self._line(f"[{self.done}/{self.total}] {job.spec.title} {state}{f': {facts}' if facts else ''}")
            case _:
                if stage := _stage(event):
                    self.bars.update(task, note=escape(stage))

    def _note(self, job: Job, text: str) -> None:
        """Print a note once, however many runs of a protocol have it."""
        note = (job.spec.protocol.name, text)
        if note not in self.noted:
            self.noted.add(note)
            self._line(": ".join(note))

    def _remaining(self, job: Job, step: int, total: int) -> str:
        """Return the job's remaining time at its own pace so far."""
        start, first = self.began.setdefault(job, (time.monotonic(), step))
        if step <= first:
            return ""
        seconds = (time.monotonic() - start) / (step - first) * (total - step)
        return f", {seconds:.0f} s left"

    def _log(self, job: Job, text: str) -> None:
        now = time.monotonic()
        if not self.console.is_terminal and now - self.logged.get(job, 0.0) > LOG_SECONDS:
            self.logged[job] = now
            self._line(f"{job.spec.title}: {text}")

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _stage(event: Event) -> str:
    """Return what a run is doing, in a word or two; nothing for an event that does not say."""
    match event:
        case Loading():
            return "loading"
        case Training(phase):
            return phase
        case Evaluating(iteration):
            return f"evaluating after {iteration}"
        case Queued(state):
            return state
        case _:
            return ""
