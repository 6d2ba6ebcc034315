"""What a user sees while runs go on: bars on a terminal, a plain log elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from benchmark.runs.job import Job

LOG_SECONDS = 15.0


class Display:
    """Shows jobs' progress on stderr; use as a context manager, and call :meth:`event`.

    Args:
        total: jobs to come.
        console: where to; its ``is_terminal`` decides between bars and log lines.
    """

    def __init__(self, total: int, console: Console) -> None:
        self.total, self.done, self.console = total, 0, console
        self.bars = Progress(
            TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"), console=console, disable=not console.is_terminal, expand=True,
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

    def event(self, job: Job, kind: str, facts: dict[str, Any]) -> None:
        """Show one event of a job, see :data:`benchmark.runs.pool.Event`."""
        if job not in self.tasks:
            self.tasks[job] = self.bars.add_task(escape(title(job)), total=None, note="")
        task = self.tasks[job]
        if kind == "stage":
            self.bars.update(task, note=escape(facts["text"]))
        elif kind == "note":
            self._note(job, facts["text"])
        elif kind == "taken":
            self.bars.update(task, note=f"left to {escape(facts['text'])}")
            self._line(f"{title(job)} is being run by {facts['text']}; left to it")
        elif kind == "step":
            losses = " ".join(f"{name} {value:.3f}" for name, value in facts["losses"].items())
            self.bars.update(task, completed=facts["step"], total=facts["total"], note=losses or "estimating")
            left = self._left(job, facts["step"], facts["total"])
            self._log(job, f"{facts['step']}/{facts['total']} {losses or 'estimating'}{left}")
        elif kind != "image":
            self.done += 1
            self.bars.remove_task(task)
            text = f": {facts['text']}" if facts["text"] else ""
            self._line(f"[{self.done}/{self.total}] {title(job)} {kind}{text}")

    def _note(self, job: Job, text: str) -> None:
        """Print a note once, however many runs of a protocol have it."""
        note = (job.protocol.name, text)
        if note not in self.noted:
            self.noted.add(note)
            self._line(": ".join(note))

    def _left(self, job: Job, step: int, total: int) -> str:
        """Return the time that is left for the job at its own pace so far."""
        start, first = self.began.setdefault(job, (time.monotonic(), step))
        if step <= first:
            return ""
        seconds = (time.monotonic() - start) / (step - first) * (total - step)
        return f", {seconds:.0f} s left"

    def _log(self, job: Job, text: str) -> None:
        now = time.monotonic()
        due = now - self.logged.get(job, 0.0) > LOG_SECONDS
        if not self.console.is_terminal and due:
            self.logged[job] = now
            self._line(f"{title(job)}: {text}")

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def title(job: Job) -> str:
    """Return how a job is called on screen."""
    return f"{job.protocol.name} {job.backbone} {job.method_name} seed {job.seed}"
