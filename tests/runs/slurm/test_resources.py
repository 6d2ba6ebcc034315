"""Which ``--slurm`` options are accepted, and which are refused before anything is submitted."""

from __future__ import annotations

import importlib.util
import re
import shlex
from typing import Any

import pytest
import submitit

from benchmark.common.errors import UserError
from benchmark.runs import slurm
from benchmark.runs.slurm.resources import SHARED, Resources
from tests.cli.test_cli import ROOT, call, refused


def test_fields_are_given_separately_or_in_one_option() -> None:
    separate = Resources.parse(["partition=gpu", "timeout_min=600", "exclude=one,two", "mem_gb=15.5"])
    assert separate == Resources.parse(["partition=gpu,timeout_min=600,exclude=one,two,mem_gb=15.5"])
    assert (separate.exclude, separate.timeout_min, separate.mem_gb) == ("one,two", 600, 15.5)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("partition", "--slurm partition: ", "KEY=VALUE"),
        ("partiton=gpu", "--slurm: ", "partiton: did you mean 'partition'?"),
        ("timeout_min=0", "--slurm: timeout_min: ", "at least 1 (got 0)"),
        ("timeout_min=10h", "--slurm: timeout_min: ", "a whole number (got 10h)"),
        ("gpus_per_node=8", "--slurm: gpus_per_node: ", "at most 1 (got 8)"),
        ("timeout_min=2", "--slurm: ", "timeout_min=2 is too short"),
        ("partition=", "--slurm: partition: ", "at least 1 character"),
    ],
)
def test_an_error_names_the_field(text: str, start: str, end: str) -> None:
    with pytest.raises(UserError) as error:
        Resources.parse([text])
    assert str(error.value).startswith(start)
    assert end in str(error.value)


def test_submitit_knows_every_field() -> None:
    known = set(submitit.AutoExecutor._typed_parameters())
    assert set(SHARED) <= known
    assert set(Resources.model_fields) - set(SHARED) <= submitit.SlurmExecutor._valid_parameters() - known


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--detach"], "--launcher slurm"),
        (["--slurm", "partition=gpu"], "--launcher slurm"),
        (["--launcher", "slurm", "--workers", "2"], "--slurm array_parallelism=N"),
        (["--launcher", "slurm", "--slurm", "gpus=1"], "--slurm: unknown field gpus"),
        (["--launcher", "pbs"], "'pbs' is not"),
    ],
)
def test_incompatible_options_are_refused(options: list[str], named: str) -> None:
    assert named in refused(call("run", "--methods", "freeze", *options))


@pytest.mark.slow
def test_a_distributed_launch_is_refused() -> None:
    line = refused(call("run", "--methods", "freeze", "--launcher", "slurm", LOCAL_RANK="0"))
    assert "accelerate launch" in line
    assert "torchrun" in line


def test_an_error_names_the_missing_program_or_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="--launcher slurm: sbatch"):
        slurm.make_launcher([], force=False, detach=False)
    found: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "submitit" else found(name))
    with pytest.raises(UserError, match=r"submitit.* pip install -e '\.\[slurm\]'"):
        slurm.make_launcher([], force=False, detach=False)


@pytest.mark.slow
def test_the_documented_command_and_fields_are_valid() -> None:
    page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^python -m benchmark (run .*--launcher .*)$", page.replace("\\\n", ""), re.MULTILINE)
    args = shlex.split(command)
    assert call(*args, "--help").returncode == 0
    assert Resources.parse([args[args.index("--slurm") + 1]]).timeout_min == 600
    (table,) = re.findall(r"\| `--slurm` \|.*?\n\n", page, re.DOTALL)
    named = {name for row in table.strip().splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == set(Resources.model_fields)
