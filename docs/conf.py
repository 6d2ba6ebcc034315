"""Configuration of the documentation site: ``tox -e docs`` (Sphinx, MyST for the Markdown pages, Furo)."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import method_pages  # noqa: E402

import benchmark  # noqa: E402

project = "FisherTune benchmark"
version = release = benchmark.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository; tests/test_docs.py checks them
exclude_patterns = ["README.md", "runs", "site"]
html_theme = "furo"
html_title = project
autodoc_typehints = "description"


def setup(app: Sphinx) -> None:
    """Write the page of each method before the sources are read."""
    app.connect("builder-inited", lambda app: method_pages.write(HERE / "methods"))
