"""Of which commit a run was: told by git, with a mark where the code was edited."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_cli import ROOT


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_a_commit_is_marked_where_code_was_edited_and_not_where_records_were_made(tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(tmp_path / "tree")], check=True)

    def said(*words: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "tree")}
        done = subprocess.run(words, cwd=tmp_path / "tree", env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    head, ask = (
        said("git", "rev-parse", "HEAD"),
        (sys.executable, "-c", "import benchmark.common.machine as m; print(m.commit())"),
    )
    assert said(*ask) == head
    (tmp_path / "tree" / "results" / "NOTES.md").write_text("made anew")
    assert said(*ask) == head
    (tmp_path / "tree" / "tox.ini").write_text("edited")
    assert said(*ask) == head + "+changes"
