"""Notes about the user's data in piped output."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from benchmark import protocol
from benchmark.runs.display import Display
from benchmark.runs.events import Ended, Note
from benchmark.runs.job import Job
from benchmark.runs.spec import RunSpec


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
