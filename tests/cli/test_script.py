"""The command of its own, dgss-benchmark: help, completion in the shell; and ``run --dry-run``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from benchmark.cli import main
from tests.cli.test_cli import ROOT, call

RUN = "import sys; sys.argv[0] = 'dgss-benchmark'; from benchmark.cli import main; main()"
"""What the script does that pip writes for the entry point."""


def script(*words: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def completions(line: str) -> list[str]:
    """Return what bash offers at the end of a line."""
    environment = {"_DGSS_BENCHMARK_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    return script(**environment).split()


def test_the_entry_point_is_the_command_line() -> None:
    found = re.search(r'^dgss-benchmark = "(.*):(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    assert getattr(import_module(found[1]), found[2]) is main


@pytest.mark.parametrize(
    ("line", "some", "others"),
    [
        ("dgss-benchmark ex", ["export"], ["run"]),
        ("dgss-benchmark run --protocol streets", ["streets", "streets-adverse"], ["camvid"]),
        ("dgss-benchmark run --protocol streets@", ["streets@quick"], ["streets"]),
        ("dgss-benchmark run --methods lora,fisher", ["lora,fishertune"], ["lora,full"]),
        ("dgss-benchmark table --backbone dinov3", ["dinov3-l"], ["dinov2-l"]),
    ],
)
def test_the_shell_completes_commands_and_names(line: str, some: list[str], others: list[str]) -> None:
    found = completions(line)
    assert set(some) <= set(found)
    assert not set(others) & set(found)


def test_completion_is_for_the_script_also_when_python_starts_it() -> None:
    # The shell is given, since the tests need not run in one.
    done = call("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "-F _dgss_benchmark_completion dgss-benchmark" in done.stdout


@pytest.mark.parametrize("words", [(), ("run",), ("data",), ("data", "show")])
def test_help_has_a_short_option(words: tuple[str, ...]) -> None:
    assert call(*words, "-h").stdout == call(*words, "--help").stdout


def test_a_dry_run_is_the_plan_of_these_runs_and_starts_none(tmp_path: Path) -> None:
    words = ("--quick", "--methods", "freeze", "--seeds", "0-2", "--records", tmp_path / "runs")
    dry, planned = (call(*command, *words) for command in (("run", "--dry-run"), ("plan",)))
    assert dry.returncode == 0, dry.stderr
    lines = [line for line in dry.stdout.splitlines() if not line.startswith("disk:")]  # free space may change
    assert lines == [line for line in planned.stdout.splitlines() if not line.startswith("disk:")]
    assert any("3 of 3" in line for line in lines)
    assert not (tmp_path / "runs").exists()
