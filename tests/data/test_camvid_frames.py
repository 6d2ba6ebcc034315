"""Test the CamVid reader on real frames, which are not part of the repository."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmark.data.check import check_tree
from benchmark.data.readers.camvid import READER, part_of

from .conftest import CAMVID, needs_shared

pytestmark = needs_shared


@pytest.mark.parametrize(
    ("split", "count"),
    [
        ("train:0016E5", 48),
        ("val:0016E5", 12),
        ("*:0001TP", 48),
        ("train:0001TP", 24),
        ("test:Seq05VD", 40),
        ("*", 148),
    ],
)
def test_sequences(split: str, count: int) -> None:
    assert len(READER.samples(CAMVID, split)) == count


def test_parts_of_official_frames_match_segnets_lists() -> None:
    for part in ("train", "val", "test"):
        assert {part_of(sample.id) for sample in READER.samples(CAMVID, part)} == {part}


def test_frames_and_labels() -> None:
    for sample in READER.samples(CAMVID, "*")[::16]:
        image, label = READER.read(sample)
        assert image.shape == (360, 480, 3)
        stored = np.asarray(Image.open(sample.label))
        np.testing.assert_array_equal(label, np.where(stored == 11, 255, stored))


def test_dusk_is_darker_and_all_classes_occur() -> None:
    means = {
        split: np.mean([READER.read(sample)[0].mean() for sample in READER.samples(CAMVID, split)[::8]])
        for split in ("train:0016E5", "*:0001TP")
    }
    assert means["*:0001TP"] < 0.7 * means["train:0016E5"]
    report = check_tree(READER, CAMVID, "train:0016E5")
    assert report.whole
    assert report.sizes == {(480, 360): 48}
    assert (report.frames[:11] > 0).all()
    assert report.pixels.sum() == 48 * 480 * 360
