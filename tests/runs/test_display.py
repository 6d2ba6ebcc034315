"""What the display of a sweep shows: notes, bars and ends of runs."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from benchmark import protocol
from benchmark.runs.display import Display
from benchmark.runs.events import Ended, Evaluating, Note, Step
from benchmark.runs.job import Job
from benchmark.runs.pool import Outcome
from benchmark.runs.spec import RunSpec
from benchmark.runs.sweep import report_unfinished


def test_a_note_is_printed_once_for_all_runs_of_a_protocol(tmp_path: Path) -> None:
    out = io.StringIO()
    jobs = [
        Job(RunSpec(protocol.load(name), "vit-tiny-random", "freeze", seed), tmp_path, tmp_path)
        for name in ("streets", "camvid")
        for seed in (0, 1)
    ]
    with Display(len(jobs), Console(file=out, width=80)) as display:
        for job in jobs:
            display.show(job, Note("source (gta5): 2 unusable frame(s) left out"))
            display.show(job, Ended("finished"))
    lines = out.getvalue().splitlines()
    assert [line for line in lines if "unusable" in line] == [
        f"{name}: source (gta5): 2 unusable frame(s) left out" for name in ("streets", "camvid")
    ]
    assert len(lines) == 2 + len(jobs)


def test_the_bar_keeps_count_and_time_in_a_narrow_terminal_and_the_end_shows_the_miou(tmp_path: Path) -> None:
    shown = io.StringIO()
    name = "fishertune-per-sample"
    job = Job(RunSpec(protocol.load("streets-to-photos"), "dinov2-s-saliency", name, 11), tmp_path, tmp_path)
    console = Console(file=shown, width=80, force_terminal=True, color_system=None)
    with Display(1, console) as display:
        display.show(job, Step(1234, 40000, {"ce": 0.123, "extra_loss": 0.456, "another": 7.8}))
        display.bars.stop()  # so that only what is drawn below is looked at
        for event in (None, Evaluating(20000)):
            if event is not None:
                display.show(job, event)
            with console.capture() as drawn:
                console.print(display.bars.get_renderable())
            (line,) = drawn.get().splitlines()
            assert re.match(r"fishertune.* 1234/40000 +-:--:-- ", line)
            assert len(line.rstrip()) <= 80
        assert "evaluating" in line
        display.show(job, Ended("finished", average=0.24163))
    assert shown.getvalue().splitlines()[-1].endswith(f"{name} seed 11 finished: mIoU 24.2")


def test_why_a_run_was_refused_is_said_once(tmp_path: Path) -> None:
    shown = io.StringIO()
    job = Job(RunSpec(protocol.load("streets"), "vit-tiny-random", "freeze", 0), tmp_path, tmp_path)
    console = Console(file=shown, width=80)
    with Display(1, console) as display:
        display.show(job, Ended("refused", "no such image"))
    with pytest.raises(SystemExit) as ended:
        report_unfinished([Outcome(job, "refused", "no such image")], console)
    assert ended.value.code == 2
    assert shown.getvalue().count("no such image") == 1
    assert shown.getvalue().splitlines()[-1].startswith(f"not finished: {job.spec.title} (refused)")
