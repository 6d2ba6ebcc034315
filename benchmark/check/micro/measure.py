"""Compute all cases under several conditions, and write the micro-references."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.check import worktree
from benchmark.check.micro import reference
from benchmark.check.micro.reference import Conditions, Values
from benchmark.check.rounding import ENVIRONMENT
from benchmark.common.errors import UserError
from benchmark.common.orphans import ENDING
from benchmark.runs.sweep import check_writable

PLAIN = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
"""Almost no vector instructions, as on a CPU of another family."""
CONDITIONS: tuple[tuple[int, dict[str, str]], ...] = ((1, {}), (2, {}), (1, ENVIRONMENT), (2, ENVIRONMENT), (1, PLAIN))
"""Threads and environment variables; the references are the numbers under the first."""


def run(folder: Path, pythons: Sequence[Path], report: Callable[[str], None]) -> Path:
    """Measure with this Python and others, each with one and two threads and with narrower vector instructions.

    Args:
        folder: of the reference records.
        pythons: interpreters of environments with other versions of the libraries; they need not have this package.
        report: called with a line about each measurement.

    Raises:
        UserError: there is no such interpreter, or no file can be written there; or a measurement failed.
    """
    for python in pythons:
        if shutil.which(python) is None:
            raise UserError(f"--python: no program {python}; name the python of an environment")
    check_writable((folder / reference.PLACE).parent, "--reference")
    measured = []
    for python in (Path(sys.executable), *pythons):
        for threads, environment in CONDITIONS:
            narrow = " ".join(f"{name}={value}" for name, value in environment.items())
            report(" ".join(f"measuring: {python}, {threads} thread(s) {narrow}".split()))
            measured.append(_measured(python, threads, environment))
    return reference.write(folder, measured)


def _measured(python: Path, threads: int, environment: dict[str, str]) -> tuple[Conditions, Values]:
    done = subprocess.run(
        [python, "-m", "benchmark.check.micro", str(threads)],
        cwd=worktree.ROOT, env=os.environ | {"PYTHONPATH": str(worktree.ROOT)} | environment,
        capture_output=True, text=True, check=False, preexec_fn=ENDING,
    )  # fmt: skip
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{python}: the cases failed: {why}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Conditions(threads=threads, environment=environment, versions=found["versions"]), found["values"]
