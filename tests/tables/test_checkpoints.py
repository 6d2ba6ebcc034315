"""Released checkpoints in tables: rows of their own, and nowhere among runs unless asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark import records, tables
from benchmark.artifacts.restore import require_weights
from benchmark.common.errors import UserError
from benchmark.records import Record, Score, read_all
from tests.records.made import confusion, names, record, stored

SHA = "0123456789ab" + "c" * 52
FILE: dict[str, Any] = {"file": "iter_40000.pth", "sha256": SHA, "method": "rein", "whole": False, "used": 97}


def released(root: Path, accuracy: float = 0.99, images: int = 12, **changes: Any) -> Record:
    """Write the record of an evaluated checkpoint and read it again."""
    matrices = confusion(accuracy, 7, images)
    none: dict[str, Any] = {"source": None, "oracle": None, "evaluations": (), "losses": (), "batches_hash": ""}
    made = record(
        matrices, f"rein[checkpoint={SHA[:12]}]", data_hash="ta" * 32, decoder_hash="", label="Rein, iter_40000.pth",
        **none | {"checkpoint": {**FILE, "ignored": {"backbone.mask_token": "unused"}}} | changes,
    )  # fmt: skip
    del matrices["source"]
    return records.read(records.write(made, matrices, names(matrices), root))


@pytest.fixture
def both(tmp_path: Path) -> Path:
    for seed in (0, 1):
        stored(tmp_path, "rein", seed, accuracy=0.8)
        stored(tmp_path, "lora", seed, accuracy=0.7)
    released(tmp_path)
    return tmp_path


def test_a_checkpoint_is_read_only_if_asked_for(both: Path) -> None:
    assert {each.method for each in read_all(both)} == {"rein", "lora"}
    (found,) = [each for each in read_all(both, checkpoints=True) if each.checkpoint]
    assert found.checkpoint is not None
    assert (found.checkpoint.sha256, found.source, found.path) == (
        SHA, None, both / "streets" / "vit-tiny-streets" / f"rein[checkpoint={SHA[:12]}]" / "seed0.json",
    )  # fmt: skip
    with pytest.raises(UserError, match=r"no weight files: they are those of the released checkpoint iter_40000\.pth"):
        require_weights(found)


def test_its_row_is_in_a_group_of_its_own_without_marks(both: Path) -> None:
    (table,) = tables.build(read_all(both, checkpoints=True))
    (alone,) = tables.build(read_all(both))
    *runs, last = table.rows
    assert runs == list(alone.rows), "a checkpoint changes neither the rows of runs nor their marks"
    assert any(cell.best for row in runs for cell in row.cells), "although the checkpoint is better"
    assert (last.label, last.group, {row.group for row in runs}) == (
        "Rein, iter_40000.pth",
        "Released checkpoints",
        {""},
    )
    assert not any(cell.best or cell.second for cell in last.cells)
    assert (last.cells[1].mean, last.cells[-2].mean) == (None, None), "neither source nor CPU time is known"
    assert {len(row.cells) for row in table.rows} == {len(table.columns)}
    assert last.cells[2].mean == pytest.approx(100 * Score.of(confusion(0.99, 7)["cityscapes"]).miou)
    assert "trained by their authors" in table.notes[-1]
    assert "iter_40000.pth 0123456789ab" in table.notes[-1]


def test_checkpoints_without_runs_have_a_table(tmp_path: Path) -> None:
    released(tmp_path)
    (table,) = tables.build(read_all(tmp_path, checkpoints=True), methods=["rein"])
    assert [row.label for row in table.rows] == ["Rein, iter_40000.pth"]
    assert "released checkpoints" in table.caption
    assert "Rein, iter" in tables.markdown(table)
    with pytest.raises(UserError, match="no records here"):
        read_all(tmp_path)


@pytest.mark.parametrize("changes", [{"images": 11}, {"fingerprint": "00" * 32}])
def test_other_images_or_another_protocol_are_refused(both: Path, changes: dict[str, Any]) -> None:
    released(both, **changes)
    with pytest.raises(UserError, match=r"rein\[checkpoint=.*cannot share a table"):
        tables.build(read_all(both, checkpoints=True))


def test_a_run_still_needs_what_a_checkpoint_has_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batches_hash: missing from a finished run"):
        released(tmp_path, checkpoint=None)
