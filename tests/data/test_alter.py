"""Alterations of images: deterministic, stronger with the strength, and what each says that it does."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from benchmark.data.alter import ALTERATIONS, STRENGTHS, Altered
from benchmark.data.domains import Domain
from benchmark.data.labels import Bytes
from benchmark.data.samples import Sample
from benchmark.protocol import Split
from benchmark.protocol.schema import Alter

RNG = np.random.default_rng(0)
IMAGE = np.clip(128 + 40 * RNG.standard_normal((256, 384, 1)) + 30 * RNG.standard_normal((256, 384, 3)), 0, 255)
LABEL = RNG.integers(0, 19, (256, 384)).astype(np.uint8)


class Still:
    """Every sample is the same image."""

    def __init__(self, image: np.ndarray = IMAGE) -> None:
        self.image = image.astype(np.uint8)

    def read(self, sample: Sample) -> tuple[Bytes, Bytes]:
        return self.image, LABEL


def altered(name: str, strength: int, id: str = "a", image: np.ndarray = IMAGE) -> np.ndarray:
    pixels, label = Altered(Still(image), name, strength).read(Sample(id, Path("a"), Path("a")))
    assert pixels.dtype == np.uint8
    assert pixels.shape == image.shape
    assert (label == LABEL).all()
    return pixels.astype(float)


@pytest.mark.parametrize("name", ALTERATIONS)
def test_a_greater_strength_changes_more_and_the_same_each_time(name: str) -> None:
    changes = [np.abs(altered(name, strength) - IMAGE.astype(np.uint8)).mean() for strength in STRENGTHS]
    assert 1 < changes[0] < changes[1] < changes[2]
    assert (altered(name, 2) == altered(name, 2)).all()
    differs = (altered(name, 2, "a") != altered(name, 2, "b")).any()
    assert differs == (name in ("noise", "texture"))


def test_noise_has_its_deviation() -> None:
    grey = np.full((256, 384, 3), 128.0)
    assert altered("noise", 2, image=grey).std() == pytest.approx(25, rel=0.02)


def test_blur_keeps_the_mean_and_has_its_width() -> None:
    point = np.zeros((256, 384, 3))
    point[120:136, 180:196] = 255  # 16 x 16 pixels have a variance of 16²/12
    column = altered("blur", 3, image=point)[:, 188, 0]
    variance = (column * (np.arange(256) - 127.5) ** 2).sum() / column.sum() - 16**2 / 12
    assert np.sqrt(variance) == pytest.approx(4, rel=0.05)


def test_dark_fog_and_grey_by_their_formulas() -> None:
    flat = np.full((256, 384, 3), 100.0)
    assert (altered("dark", 1, image=flat) == round(255 * (100 / 255) ** 2)).all()
    assert np.allclose(altered("fog", 1, image=flat)[0, 0], [157, 159, 161])
    grey = altered("grey", 3)
    assert (np.ptp(grey, axis=2) == 0).all()


def test_hue_turns_red_to_green_and_keeps_grey() -> None:
    red = np.zeros((256, 384, 3))
    red[..., 0] = 200
    assert (altered("hue", 3, image=red)[0, 0] == [0, 200, 0]).all()
    grey = np.full((256, 384, 3), 90.0)
    assert (altered("hue", 1, image=grey) == 90).all()


def test_texture_has_structure_at_several_scales() -> None:
    flat = np.full((256, 384, 3), 128.0)
    pattern = altered("texture", 3, image=flat)[..., 0] / 128 - 1
    assert pattern.std() == pytest.approx(0.3, rel=0.02)
    coarse = pattern.reshape(16, 16, 24, 16).mean((1, 3))
    assert 0.1 < coarse.std() < 0.22, "white noise would have 0.02"


@pytest.mark.parametrize("fields", [{"name": "darkness", "strength": 1}, {"name": "dark", "strength": 4}])
def test_an_unknown_alteration_or_strength_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="alter"):
        Split.model_validate({"dataset": "camvid", "split": "val", "alter": fields})


def test_a_split_is_altered(tiny_data: Path) -> None:
    plain = Split(dataset="camvid", split="test")
    dark = plain.model_copy(update={"alter": Alter(name="dark", strength=3)})
    one, two = (Domain.find(split, tiny_data) for split in (plain, dark))
    assert one.samples == two.samples
    before, after = one.reader.read(one.samples[0])[0], two.reader.read(two.samples[0])[0]
    assert (after == np.rint(255 * (before / 255) ** 4)).all()
    assert set(ALTERATIONS) == set(get_args(Alter.model_fields["name"].annotation))
    assert "alter" not in plain.model_dump(), "protocols without it keep their fingerprint"
