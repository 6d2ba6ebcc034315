"""Test the readers of IDD-lite and LabelMeFacade on real photographs, which are not part of the repository."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmark.data.check import check_tree
from benchmark.data.readers import idd_lite, labelmefacade
from benchmark.data.samples import Reader

from .conftest import SHARED

DATA = SHARED / "data"
pytestmark = pytest.mark.skipif(not (DATA / "idd-lite").is_dir(), reason="needs photographs in ../shared/data")


@pytest.mark.parametrize(
    ("reader", "split", "count"), [(idd_lite.READER, "val", 204), (labelmefacade.READER, "test", 212),
                                   (labelmefacade.READER, "all", 212)]
)  # fmt: skip
def test_all_frames_are_found(reader: Reader, split: str, count: int) -> None:
    assert len(reader.samples(DATA / reader.name, split)) == count


@pytest.mark.parametrize(("reader", "split"), [(idd_lite.READER, "val"), (labelmefacade.READER, "test")])
def test_sky_is_above_the_road_and_brighter(reader: Reader, split: str) -> None:
    """Wrong ids or colours would put other classes there."""
    sky, road = (
        reader.classes.index("sky"),
        next(reader.classes.index(n) for n in ("road", "drivable") if n in reader.classes),
    )
    found = []
    for sample in reader.samples(DATA / reader.name, split)[::10]:
        image, label = reader.read(sample)
        if (label == sky).any() and (label == road).any():
            found.append(
                [[np.nonzero(label == c)[0].mean() / len(label), image[label == c].mean()] for c in (sky, road)]
            )
    (above, bright), (below, dark) = np.mean(found, 0)
    assert above < 0.35 < 0.6 < below
    assert bright > dark + 40


def test_every_colour_of_labelmefacade_is_known_and_windows_belong_to_buildings() -> None:
    report = check_tree(labelmefacade.READER, DATA / "labelmefacade", "test", limit=40)
    assert report.whole
    assert (report.frames[:6] > 0).all()
    sample = labelmefacade.READER.samples(DATA / "labelmefacade", "test")[0]
    colors = np.array(Image.open(sample.label).convert("RGB"))
    window = (colors == (0, 0, 128)).all(-1)
    assert window.any()
    assert (labelmefacade.READER.read_label(sample)[window] == 0).all()
