"""The runs of docs/python.md, executed once, with the tiny protocol in place of streets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.cli.test_cli import ROOT
from tests.conftest import TINY
from tests.warm import shared

BLOCK = re.compile(r"<!-- python: (\w+) -->\n```python\n(.*?)```", re.DOTALL)
BLOCKS = dict(BLOCK.findall((ROOT / "docs" / "python.md").read_text(encoding="utf-8")))


def execute(code: str, folder: Path) -> str:
    """Execute code in ``folder``, in a process with PyTorch loaded; return its output."""
    output = folder / "output"
    pid = shared().start(["--version"], output, f"import os; os.chdir({str(folder)!r})\n{code}")
    assert shared().wait(pid) == 0, output.read_text()
    return output.read_text()


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> tuple[Path, str]:
    """The folder in which the code of the page was executed, with its records in ``runs``, and its output."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY | {"variants": {"quick": {"iterations": 4}}}))
    (folder / "results").symlink_to(ROOT / "results")
    code = "\n".join(BLOCKS.values()).replace('"streets"', '"tiny.yaml"')
    code = code.replace("quick=True", f"quick=True, data_root={str(tiny_data)!r}")
    return folder, execute(code, folder)
