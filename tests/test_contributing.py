"""CONTRIBUTING.md and the workflow for records: their commands exist and pass on the committed records."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.records.naming import is_tool
from tests.cli.test_cli import ROOT, call, require_valid

GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
WORKFLOW = ROOT / ".github" / "workflows" / "records.yml"
PREFIX = "python -m benchmark "


def workflow() -> dict[str, Any]:
    content: dict[Any, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    content["on"] = content.pop(True)  # YAML 1.1 reads the word as a boolean
    return content


def steps() -> list[str]:
    """Return the commands of the workflow that builds the site."""
    return [step["run"] for step in workflow()["jobs"]["site"]["steps"] if "run" in step]


def commands() -> list[str]:
    """Return the benchmark's commands in guide and workflow, without prefix."""
    stated = [
        *re.findall(rf"^ *({PREFIX}.*)$", GUIDE, re.MULTILINE),
        *re.findall(rf"`({PREFIX}[^`]+)`", GUIDE),
        *steps(),
    ]
    return sorted({line.removeprefix(PREFIX) for line in stated if line.startswith(PREFIX)})


@pytest.mark.parametrize("line", commands())
def test_every_command_is_valid(line: str) -> None:
    require_valid(line)


def test_every_link_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^)]+)\)", GUIDE)
    assert len(links) > 3
    for link in links:
        assert (ROOT / link).exists(), link


def test_changed_records_are_verified_before_the_site_is_built() -> None:
    content = workflow()
    for event in ("pull_request", "push"):
        assert "results/**" in content["on"][event]["paths"]
    assert content["permissions"] == {"contents": "read"}, "code of a pull request must not write"
    verify, build = (next(i for i, step in enumerate(steps()) if word in step) for word in ("verify", "leaderboard"))
    assert verify < build
    jobs = content["jobs"]
    assert jobs["publish"]["if"] == "github.event_name == 'push'"
    assert jobs["publish"]["needs"] == "site"
    (uploaded,) = [step["with"]["path"] for step in jobs["site"]["steps"] if "upload" in step.get("uses", "")]
    words = shlex.split(steps()[build])
    assert words[words.index("--out") + 1] == uploaded


@pytest.mark.slow
def test_the_site_of_the_committed_records_is_built(tmp_path: Path) -> None:
    (line,) = [step for step in steps() if "leaderboard" in step]
    words = shlex.split(line.removeprefix(PREFIX))
    words[words.index("--out") + 1] = str(tmp_path / "site")
    done = call(*words, DGSS_BENCHMARK_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    boards = {path.parent.name for path in (tmp_path / "site" / "boards").rglob("*.html")}
    runs = [path for path in (ROOT / "results").rglob("seed*.json") if not is_tool(path.parents[2].name)]
    assert boards >= {path.parents[2].name for path in runs}
    assert len(list((tmp_path / "site").rglob("seed*.json"))) == len(runs)
