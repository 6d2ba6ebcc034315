"""The pre-training loop, resuming it, and its output files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmark.common.errors import UserError
from benchmark.data.streets import DOMAINS
from benchmark.models.backbone import build_backbone
from benchmark.models.weights import EMBEDDED, weight_hash
from benchmark.pretrain.card import add_probe, markdown
from benchmark.pretrain.frames import FrameStore
from benchmark.pretrain.recipe import Recipe
from benchmark.pretrain.sheet import COLUMNS, LOOKS, SIZE
from benchmark.pretrain.training import build_trainer, learning_rate, material_weights, pretrain, train_step

pytestmark = pytest.mark.slow

SMALL = Recipe(steps=4, frames=3, styles=2, batch=4, bf16=False)  # frames and styles as in the fixture `store`


class Stopped(BaseException):
    """Interrupts a run as Ctrl-C does."""


def run(folder: Path, store: FrameStore, stop_at: int | None = None) -> list[str]:
    """Run the small recipe on rendered frames; stop right after the checkpoint of step ``stop_at``."""
    lines: list[str] = []
    shutil.copytree(store.folder.parent, folder / "frames", dirs_exist_ok=True)

    def log(line: str) -> None:
        lines.append(line)
        if line == f"checkpoint at step {stop_at}":
            raise Stopped

    pretrain(SMALL, folder, workers=1, checkpoint_minutes=0, log=log)
    return lines


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, store: FrameStore) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    run(folder, store)
    return folder


def test_weights_card_and_facts_agree(finished: Path) -> None:
    content = (finished / "vit-tiny-streets.safetensors").read_bytes()
    facts = json.loads((finished / "vit-tiny-streets.json").read_text())
    card = (finished / "vit-tiny-streets.md").read_text()
    assert facts["sha256"] == hashlib.sha256(content).hexdigest()
    assert facts["sha256"] in card
    assert "pretrain --probe" in card
    assert facts["steps_made"] == 4
    assert facts["cpu_seconds"] > 0
    assert facts["threads"] == [torch.get_num_threads()]
    assert len(content) <= 8 << 20
    assert f"{facts['parameters']:,}" in card


def test_weights_load_as_the_backbone(finished: Path) -> None:
    loaded = build_backbone("vit-tiny-streets", weights=finished / "vit-tiny-streets.safetensors")
    start = build_backbone("vit-tiny-streets", pretrained=False)
    assert weight_hash(loaded) != weight_hash(start)
    trained = torch.load(finished / "checkpoint.pt", weights_only=True)["backbone"]
    torch.testing.assert_close(loaded.vit.state_dict()["pos_embed"], trained["vit.pos_embed"], rtol=1e-3, atol=1e-6)


def test_a_stopped_run_resumes_to_the_same_bytes(finished: Path, store: FrameStore, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, store, stop_at=2)
    assert not (tmp_path / "vit-tiny-streets.safetensors").exists()
    assert "resumed at step 2" in run(tmp_path, store)
    name = "vit-tiny-streets.safetensors"
    assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


def test_a_finished_run_is_not_repeated(finished: Path, store: FrameStore) -> None:
    assert run(finished, store)[0] == "resumed at step 4"


def test_the_loss_decreases_on_the_same_frames(store: FrameStore) -> None:
    recipe = replace(SMALL, steps=16, lr=3e-3, warmup=0.1)
    trainer, weights, seen = build_trainer(recipe), material_weights(store), []
    for _ in range(recipe.steps):
        losses = train_step(trainer, recipe, store, weights)
        seen.append(losses["material"] + losses["depth"])
        trainer.progress.add(losses)
    assert sum(seen[-3:]) < 0.9 * sum(seen[:3])


def test_a_step_under_bfloat16_has_almost_the_same_losses(store: FrameStore) -> None:
    """One step, since processors without bfloat16 take ten times as long."""
    exact, rounded = (
        train_step(build_trainer(recipe), recipe, store, material_weights(store))
        for recipe in (SMALL, replace(SMALL, bf16=True))
    )
    assert rounded == pytest.approx(exact, rel=0.02)
    assert rounded != exact


def test_the_learning_rate_warms_up_and_decays_to_1_percent() -> None:
    recipe = replace(SMALL, steps=100, warmup=0.1, lr=1.0)
    rates = [learning_rate(recipe, step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.505, abs=1e-3)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)


def test_a_checkpoint_of_another_recipe_is_not_used(finished: Path) -> None:
    checkpoint = torch.load(finished / "checkpoint.pt", weights_only=True)
    assert checkpoint["key"] == SMALL.fingerprint("1")
    assert checkpoint["key"] not in (replace(SMALL, lr=2e-3).fingerprint("1"), SMALL.fingerprint("2"))


def test_probe_results_are_added_to_json_and_card(finished: Path, tmp_path: Path) -> None:
    for path in finished.glob("vit-tiny-streets.*"):
        shutil.copy(path, tmp_path)
    spread = {"in_domain_std": 0.5, "unseen_std": 1.25, "targets": {"dashcam": 20.5}}
    row = {"name": "frozen", "in_domain": 31.25, "unseen": 20.5, **spread}
    upper = {"name": "best (oracle)", "unseen": 40.0, **spread, "in_domain": None}
    add_probe(tmp_path, {"conditions": "Here.", "targets": ["dashcam"], "rows": [row, upper]}, b"png")
    card = (tmp_path / "vit-tiny-streets.md").read_text()
    assert (tmp_path / "vit-tiny-streets.png").read_bytes() == b"png"
    assert "(vit-tiny-streets.png)" in card
    assert "| frozen | 31.2 ± 0.5 | 20.5 ± 1.2 | 20.5 |" in card
    assert "| best (upper bound) |  | 40.0 ± 1.2 | 20.5 |" in card
    assert json.loads((tmp_path / "vit-tiny-streets.json").read_text())["probe"]["rows"] == [row, upper]
    (tmp_path / "vit-tiny-streets.safetensors").write_bytes(b"other")
    with pytest.raises(UserError, match=r"vit-tiny-streets\.safetensors: .* vit-tiny-streets\.json"):
        add_probe(tmp_path, {}, b"")


def test_a_folder_without_weights_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run: python -m benchmark pretrain"):
        add_probe(tmp_path, {}, b"")


def test_the_committed_card_matches_the_committed_json() -> None:
    facts = json.loads((EMBEDDED / "vit-tiny-streets.json").read_text(encoding="utf-8"))
    assert (EMBEDDED / "vit-tiny-streets.md").read_text(encoding="utf-8") == markdown(facts)


def test_the_committed_sheet_has_a_row_for_every_domain() -> None:
    assert set(LOOKS) == set(DOMAINS)
    sheet = EMBEDDED / "vit-tiny-streets.png"
    assert sheet.stat().st_size < 400_000
    with Image.open(sheet) as image:
        assert image.size == (COLUMNS * SIZE[1], len(LOOKS) * SIZE[0])


def test_a_folder_that_cannot_be_written_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/x/pretrain\.log: cannot be written"):
        pretrain(SMALL, tmp_path / "file" / "x", log=lambda line: None)
    assert os.listdir(tmp_path) == ["file"]
