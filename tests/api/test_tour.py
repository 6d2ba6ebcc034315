"""docs/tour.ipynb: its cells run one after the other, on a shorter variant of the protocol."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from benchmark.protocol import FOLDER
from tests.api.conftest import execute
from tests.cli.test_cli import ROOT

pytestmark = pytest.mark.slow

SHORT = {
    "source": {"limit": 8},
    "validation": {"limit": 2},
    "targets": {"overcast": {"limit": 2}, "dashcam": {"limit": 2}, "worldwide": {"limit": 2}},
    "iterations": 4,
    "batch": 2,
    "decoder": {"warmup": 1},
    "evaluation": {"times": 1},
}


def test_the_cells_run(tmp_path: Path) -> None:
    cells = json.loads((ROOT / "docs" / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    fixed = yaml.safe_load((FOLDER / "streets.yaml").read_text(encoding="utf-8"))
    fixed["variants"] = {"quick": SHORT}
    (tmp_path / "tour.yaml").write_text(yaml.safe_dump(fixed), encoding="utf-8")
    for name in ("streets", "streets@quick"):
        assert f'"{name}"' in code
        code = code.replace(f'"{name}"', f'"{name.replace("streets", "tour.yaml")}"')
    shown = 'import matplotlib; matplotlib.use("Agg")\n' + code + '\nfigure.savefig("figure.png")\n'
    output = execute(shown, tmp_path)
    assert "LoRA" in output
    assert "Overcast" in output
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert len(list((tmp_path / "runs").rglob("seed0.json"))) == 2


def test_the_notebook_shows_a_table_and_a_figure_without_errors() -> None:
    notebook = json.loads((ROOT / "docs" / "tour.ipynb").read_text(encoding="utf-8"))
    outputs = [each for cell in notebook["cells"] for each in cell.get("outputs", [])]
    kinds = {kind for each in outputs for kind in each.get("data", {})}
    assert {"text/markdown", "image/png"} <= kinds
    assert not any(each["output_type"] == "error" for each in outputs)
