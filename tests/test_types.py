"""mypy finds nothing in the packages and tests; one core checks types while the other already runs tests."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.test_cli import ROOT


@pytest.mark.slow
def test_mypy_finds_nothing() -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Success" in done.stdout
