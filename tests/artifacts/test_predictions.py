"""Example predictions of a run: consistent with its confusion matrices, reproducible and small."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from benchmark import records
from benchmark.artifacts.predictions import IMAGES, Examples, examples
from benchmark.common.errors import UserError
from benchmark.evaluation.evaluate import confusion, each_of
from benchmark.records import SOURCE, confusions, read_all
from benchmark.runs.one_run import train_and_record
from tests.conftest import TINY
from tests.records.made import stored
from tests.runs.made import run_freeze_and_bitfit
from tests.training.test_trainer import job_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """A folder with records of Freeze and BitFit on the tiny protocol."""
    folder = tmp_path_factory.mktemp("runs")
    run_freeze_and_bitfit(folder, tiny_data)
    return folder


def test_maps_and_labels_give_the_confusions_of_the_record(runs: Path, tiny_data: Path) -> None:
    for record in read_all(runs):
        maps, (matrices, ids) = examples(record), confusions(record)
        assert {name: len(each) for name, each in maps.items()} == {SOURCE: 2, "dusk": 2, "elsewhere": IMAGES}
        for name, part in ((SOURCE, "val"), ("dusk", "test"), ("elsewhere", "test")):
            for place, prediction in enumerate(maps[name]):
                label = np.array(Image.open(tiny_data / "camvid" / f"{part}annot" / f"{ids[name][place]}.png"))
                label[label == 11] = 255
                made = confusion(torch.from_numpy(prediction), torch.from_numpy(label), 11)
                np.testing.assert_array_equal(made, matrices[name][place])


def test_a_repeated_run_saves_identical_and_small_files(runs: Path, tiny_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY | {"iterations": 4}), encoding="utf-8")
    train_and_record(job_of(path, tiny_data, tmp_path, "freeze"))
    place = Path("tiny/vit-tiny-random/freeze/seed0.examples.npz")
    content = (tmp_path / place).read_bytes()
    assert content == (runs / place).read_bytes()
    assert len(content) < 10_000


def test_only_the_latest_evaluation_is_saved() -> None:
    kept = Examples()
    for fill in (1, 2):
        see = kept.of("dusk")
        for _ in range(5):
            scores = torch.zeros(3, 4, 6)
            scores[fill] = 1
            see({"image": scores, "label": scores[0], "id": ""}, scores)
    assert len(kept.maps["dusk"]) == IMAGES
    assert all((each == 2).all() and each.shape == (4, 6) for each in kept.maps["dusk"])


def packed(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        packed(**{"source/0": np.zeros((4, 4), np.int64)}),
        packed(**{"source/0": np.zeros((4, 4, 3), np.uint8)}),
        packed(**{"source/0": np.full((4, 4), 3, np.uint8)}),
    ],
)
def test_an_array_that_is_not_a_class_map_is_rejected(tmp_path: Path, content: bytes) -> None:
    record = stored(tmp_path, weights={"examples": content})
    assert record.examples is not None
    assert record.examples.sha256 == hashlib.sha256(content).hexdigest()
    with pytest.raises(UserError, match=r"seed0\.json: examples: source/0 "):
        examples(record)


def test_a_record_without_examples_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="examples: not stored"):
        examples(stored(tmp_path))
    assert records.read(tmp_path / "streets/vit-tiny-streets/lora/seed0.json").examples is None


def test_several_callbacks_receive_every_image() -> None:
    seen: list[str] = []
    kept = Examples()
    look = each_of(kept.of("dusk"), lambda sample, scores: seen.append(sample["id"]))
    for name in "abc":
        scores = torch.zeros(3, 4, 6)
        look({"image": scores, "label": scores[0], "id": name}, scores)
    assert seen == ["a", "b", "c"]
    assert len(kept.maps["dusk"]) == IMAGES
