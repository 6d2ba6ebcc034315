"""Compiles documents with pdfLaTeX, if it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

KEEP = "DGSS_BENCHMARK_LATEX"
"""Environment variable: folder to keep the documents in; if set, a missing pdflatex fails the test."""


def require() -> None:
    """Skip the test if pdflatex is not installed."""
    if shutil.which("pdflatex") is None:
        assert not os.environ.get(KEEP), f"{KEEP} is set, and pdflatex is not installed"
        pytest.skip("pdflatex is not installed (Debian: texlive-latex-recommended)")


def compiled(texts: Sequence[str], folder: Path, name: str = "document", columns: int = 1) -> str:
    """Compile one document with each of ``texts`` on its own page of one or two columns; return the log."""
    require()
    kept = os.environ.get(KEEP)
    packages = r"\usepackage{booktabs,graphicx,rotating}"
    options = ""
    if columns == 2:
        options = "[twocolumn]"
        packages += r"\usepackage[letterpaper,textwidth=6.875in,textheight=8.875in]{geometry}"
    pages = "\n\\clearpage\n".join(texts)
    document = rf"\documentclass{options}{{article}}{packages}\begin{{document}}{pages}\end{{document}}"
    folder = Path(kept) if kept else folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", f"{name}.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    return log
