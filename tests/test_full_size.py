"""The field's main protocol from official downloads to a table row, as a user types it.

Models are of full size, DINOv2-S and Mask2Former as published; crops are a quarter as wide as the protocol's, and
images, iterations and test pixels are few. The backbone's weights are random, so no score here means anything.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file
from safetensors.torch import save_file

from benchmark import protocol
from benchmark.models.backbone import build_backbone
from benchmark.models.segmenter import windows
from benchmark.models.weights import weight_hash
from benchmark.records import Record, confusions, read
from tests.cli.test_cli import call
from tests.data.trees import TREES, VISTAS, VISTAS_1, write_image, write_label
from tests.warm import shared

pytestmark = pytest.mark.slow

METHODS = ("rein", "fishertune-per-sample")
DEPTH, DIM = 12, 384
CROP, STRIDE = 128, 85
# Blocks with layer scale, patches of 16 x 16, a class token, 1 + 32 x 32 positions, the last norm.
SIZE = DEPTH * (12 * DIM**2 + 15 * DIM) + (3 * 16 * 16 + 1) * DIM + DIM + (1 + 32 * 32) * DIM + 2 * DIM
PANORAMA = np.random.default_rng(0).choice([VISTAS_1.index(name) for name in VISTAS], (52, 426)).astype(np.uint8)
CHANGES: dict[str, Any] = {
    "validation": {"limit": 1, "test_size": [96, 54]},
    "targets": {
        "cityscapes": {"limit": 1, "test_size": [128, 64]},
        "bdd100k": {"limit": 1, "test_size": [96, 54]},
        "mapillary": {"limit": 1, "test_size": [213, 26]},  # a panorama: two windows wide
    },
    "iterations": 2,
    "batch": 1,
    "augmentation": {"short_edges": [128, 256], "crop": CROP},
    "evaluation": {"times": 1, "crop": CROP, "stride": STRIDE},
    "settings": {"fishertune-per-sample": {"images": 2}},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the data sets, the protocol cut to size, and random weights."""
    place = tmp_path_factory.mktemp("full-size")
    for name in ("gta5", "cityscapes", "bdd100k", "mapillary"):
        TREES[name](place / "data" / name)
    # Two known faults of GTA5: a frame of one colour, and a label of another size.
    for key in ("15188", "20801"):
        write_image(place / f"data/gta5/images/{key}.png", (52, 95))
        write_label(place / f"data/gta5/labels/{key}.png", np.full((26, 47), 7, np.uint8), palette=True)
    first = "-3vUKSU8ZVVaHgT9F2lbAw"
    write_image(place / f"data/mapillary/validation/images/{first}.jpg", PANORAMA.shape)
    write_label(place / f"data/mapillary/validation/labels/{first}.png", PANORAMA, palette=True)
    stated = yaml.safe_load((protocol.FOLDER / "gtav-to-cbm.yaml").read_text(encoding="utf-8"))
    del stated["variants"], stated["default_variant"]
    (place / "small.yaml").write_text(yaml.safe_dump(protocol.merged(stated, CHANGES)), encoding="utf-8")
    vit = build_backbone("dinov2-s", pretrained=False, seed=1).vit
    save_file({name: tensor.contiguous() for name, tensor in vit.state_dict().items()}, place / "random.safetensors")
    return place


@pytest.fixture(scope="module")
def records(place: Path) -> dict[str, Record]:
    """Check the data, then run the methods in one command; return their records."""
    common = ("--protocol", place / "small.yaml", "--data-root", place / "data")
    checked = call("data", "check", *common, "--partial")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "1 unusable frame(s) left out: 15188" in checked.stdout
    weights = ("--backbone", "dinov2-s", "--weights", place / "random.safetensors")
    words = (*common, *weights, "--methods", ",".join(METHODS), "--records", place / "runs")
    done = shared().run(["run", *words, "--workers", "1"], os.environ, seconds=3600)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows] == ["Method", "Rein", "FisherTune (per sample)"]
    return {name: read(place / "runs/small/dinov2-s" / name / "seed0.json") for name in METHODS}


def test_each_method_trains_what_it_says_with_mask2formers_losses(records: dict[str, Record], place: Path) -> None:
    rein = DEPTH * 16 * (100 + DIM) + 2 * (DIM * DIM + DIM) + 256 * (DIM + 1) + 256 * (3 * 256 + 1) + 1
    trained = {"rein": rein, "fishertune-per-sample": round(0.05 * SIZE)}
    for name, record in records.items():
        assert record.state == "finished"
        assert record.trainable is not None
        assert record.trainable.backbone == trained[name]
        step, losses = record.losses[-1]
        assert (step, set(losses)) == (2, {"cls", "mask", "dice"})
        assert all(value is not None and math.isfinite(value) for value in losses.values())
        assert record.weights_hash == weight_hash(build_backbone("dinov2-s", weights=place / "random.safetensors"))
    assert len({record.batches_hash for record in records.values()}) == 1


def test_fishertune_trains_the_decoder_estimates_and_tunes(records: dict[str, Record]) -> None:
    record = records["fishertune-per-sample"]
    assert [name for name in record.seconds if name != "evaluation"] == ["decoder", "estimate", "tune"]
    assert record.settings["decoder_first"] == 0.1
    assert record.delta is not None
    assert record.path is not None
    tensors = load_file(record.path.with_name(record.delta.file))
    assert sum(tensor.size for name, tensor in tensors.items() if name.endswith("/index")) == round(0.05 * SIZE)
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())


def test_every_labelled_pixel_is_scored_once_at_its_labels_own_size(records: dict[str, Record], place: Path) -> None:
    lut = np.array([VISTAS.get(name, 6 if name.startswith("Traffic Light") else 255) for name in VISTAS_1])
    truth = {"mapillary": lut[PANORAMA[1::2, 1::2]]}
    for name in ("cityscapes", "bdd100k"):
        labels = TREES[name](place / "again" / name).labels
        truth[name] = labels[min(labels)]
    assert len(windows(213, CROP, STRIDE)) == 2
    for record in records.values():
        matrices, _ = confusions(record)
        for name, label in truth.items():
            expected = np.bincount(label.ravel(), minlength=256)[:19]
            np.testing.assert_array_equal(matrices[name].sum((0, 2)), expected)


def test_notes_of_the_readers_are_recorded(records: dict[str, Record]) -> None:
    for record in records.values():
        notes = record.data_notes["source"]
        assert "1 unusable frame(s) left out: 15188" in notes
        assert any(note.startswith("1 label(s) resized") for note in notes)
        assert record.data_notes["mapillary"][0].endswith(" config.json, mapping rein")


def test_the_run_is_a_row_of_the_table_and_is_not_repeated(records: dict[str, Record], place: Path) -> None:
    shown = ("--methods", ",".join(METHODS), "--format", "markdown")
    markdown = call("table", "--records", place / "runs", *shown)
    assert markdown.returncode == 0, markdown.stderr
    row = next(line for line in markdown.stdout.splitlines() if line.startswith("| FisherTune"))
    assert f"{100 * json.loads(records['fishertune-per-sample'].path.read_text())['average']:.1f}" in row  # type: ignore[union-attr]
