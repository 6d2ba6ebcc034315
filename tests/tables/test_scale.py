"""Counterparts of the paper's tables and figures at CPU size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark import protocol, records
from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.figures._command import Request, run
from benchmark.records import Record, read
from benchmark.tables import command, scale
from tests.records.made import confusion, names, record


def stored(root: Path, name: str, method: str, seed: int, **changes: Any) -> Record:
    fixed = protocol.load(name)
    matrices = confusion(0.7, seed, targets=tuple(fixed.targets))
    facts = {"protocol": name, "protocol_fields": fixed.fields(), "fingerprint": fixed.fingerprint(), **changes}
    return read(records.write(record(matrices, method, seed, **facts), matrices, names(matrices), root))


def test_every_counterpart_exists() -> None:
    stated = [name for each in scale.TABLES.values() for name in each]
    stated += [name for _, each in scale.FIGURES.values() for name in each]
    assert set(stated) <= set(protocol.available())
    assert {name for name, _ in scale.FIGURES.values()} <= set(registry.names("figure"))


def test_a_counterpart_names_its_conditions_and_what_is_missing(tmp_path: Path) -> None:
    for backbone in ("vit-tiny-streets", "dinov2-s-saliency"):
        stored(tmp_path, "streets-to-photos", "lora", 0, backbone=backbone)
    (table,) = scale.build(1, records.read_all(tmp_path))
    assert [column.head for column in table.columns][1:-2] == [
        "CamVid day", "CamVid dusk", "CamVid elsewhere", "IDD-lite", "LabelMeFacade",
    ]  # fmt: skip
    assert {row.group for row in table.rows} == {"vit-tiny-streets", "dinov2-s-saliency"}
    assert table.caption.startswith("Counterpart of Table 1 at CPU size")
    assert "No records of streets yet." in table.notes
    (dino,) = (note for note in table.notes if "DINOv2 (ViT-L)" in note)
    assert "FisherTune 66.5" in dino, "published figures are text"
    assert all(cell.published is None for row in table.rows for cell in row.cells)
    with pytest.raises(UserError, match="no record of streets-adverse"):
        scale.build(3, records.read_all(tmp_path))


@pytest.mark.parametrize("options", [{"name": "streets"}, {"published": True}, {"which": "main"}])
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    stored(tmp_path, "streets", "lora", 0)
    given = {"which": "1", "name": None, "backbone": None, "methods": (), "published": False, **options}
    with pytest.raises(UserError, match="--scale cpu: only for --table 1 to 5"):
        command.run(tmp_path, given.pop("which"), "markdown", None, scale="cpu", **given)


def test_a_figure_by_its_number(tmp_path: Path) -> None:
    for name in ("streets-to-photos", "camvid"):
        for backbone in ("vit-tiny-streets", "dinov2-s-saliency"):
            stored(tmp_path / "runs", name, "freeze", 0, backbone=backbone)
    run(Request("2", False, tmp_path / "runs", tmp_path / "out", None, None, "", None, small=True))
    (caption,) = (tmp_path / "out").rglob("*.txt")
    assert caption.parent.name == "streets-to-photos"
    assert "Counterpart of Figure 2 at CPU size" in caption.read_text(encoding="utf-8")
    with pytest.raises(UserError, match="only for figures 2, 3, 5, 6, 7"):
        run(Request("cost", False, tmp_path / "runs", tmp_path / "out", None, None, "", None, small=True))
