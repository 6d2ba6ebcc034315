"""The recorded commit, with a mark if the code was edited."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_cli import ROOT


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_edited_code_marks_the_commit_and_new_records_do_not(tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(tmp_path / "tree")], check=True)

    def output(*command: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "tree")}
        done = subprocess.run(
            command, cwd=tmp_path / "tree", env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    head = output("git", "rev-parse", "HEAD")
    commit = (sys.executable, "-c", "import benchmark.common.machine as m; print(m.commit())")
    assert output(*commit) == head
    (tmp_path / "tree" / "results" / "NOTES.md").write_text("edited")
    assert output(*commit) == head
    (tmp_path / "tree" / "tox.ini").write_text("edited")
    assert output(*commit) == head + "+changes"
