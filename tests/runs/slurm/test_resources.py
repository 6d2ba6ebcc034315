"""What ``--slurm`` takes, and what it refuses before anything is submitted."""

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


def test_fields_are_read_one_by_one_or_together() -> None:
    apart = Resources.parse(["partition=gpu", "timeout_min=600", "exclude=one,two", "mem_gb=15.5"])
    assert apart == Resources.parse(["partition=gpu,timeout_min=600,exclude=one,two,mem_gb=15.5"])
    assert (apart.exclude, apart.timeout_min, apart.mem_gb) == ("one,two", 600, 15.5)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("partition", "--slurm partition: must read KEY=VALUE, such as partition=gpu"),
        ("partiton=gpu", "--slurm: unknown field partiton: did you mean 'partition'?"),
        ("timeout_min=0", "--slurm: timeout_min: must be at least 1 (got 0)"),
        ("timeout_min=10h", "--slurm: timeout_min: Input should be a valid integer"),
        ("gpus_per_node=8", "--slurm: gpus_per_node: must be at least 0 and at most 1 (got 8)"),
        ("timeout_min=2", "--slurm: timeout_min=2 ends a run before it gets on"),
        ("partition=", "--slurm: partition: String should have at least 1 character"),
    ],
)
def test_a_mistake_is_named(text: str, line: str) -> None:
    with pytest.raises(UserError) as error:
        Resources.parse([text])
    assert str(error.value).startswith(line)


def test_submitit_knows_every_field() -> None:
    known = set(submitit.AutoExecutor._typed_parameters())
    assert set(SHARED) <= known
    assert set(Resources.model_fields) - set(SHARED) <= submitit.SlurmExecutor._valid_parameters() - known


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--detach"], "--slurm and --detach say how runs are submitted: give --launcher slurm, too"),
        (["--slurm", "partition=gpu"], "give --launcher slurm, too"),
        (["--launcher", "slurm", "--workers", "2"], "--slurm array_parallelism=N"),
        (["--launcher", "slurm", "--slurm", "gpus=1"], "--slurm: unknown field gpus"),
        (["--launcher", "pbs"], "'pbs' is not"),
    ],
)
def test_words_that_do_not_go_together_are_refused(words: list[str], line: str) -> None:
    assert line in refused(call("run", "--methods", "freeze", *words))


def test_several_processes_do_not_submit_the_same_runs() -> None:
    line = refused(call("run", "--methods", "freeze", "--launcher", "slurm", LOCAL_RANK="0"))
    assert "call it without accelerate launch or torchrun" in line


def test_what_lacks_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="no sbatch on this machine; start from a node that submits jobs"):
        slurm.make_launcher([], force=False, detach=False)
    found: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "submitit" else found(name))
    with pytest.raises(UserError, match=r"submitit, which is not installed: pip install -e '\.\[slurm\]'"):
        slurm.make_launcher([], force=False, detach=False)


def test_the_documented_command_is_understood_and_so_are_the_fields() -> None:
    page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^python -m benchmark (run .*--launcher .*)$", page.replace("\\\n", ""), re.MULTILINE)
    words = shlex.split(command)
    assert call(*words, "--help").returncode == 0
    assert Resources.parse([words[words.index("--slurm") + 1]]).timeout_min == 600
    (table,) = re.findall(r"\| `--slurm` \|.*?\n\n", page, re.DOTALL)
    named = {name for row in table.strip().splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == set(Resources.model_fields)
