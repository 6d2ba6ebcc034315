"""Single factors of the gap between source and targets, and the parts that they change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmark.common.errors import UserError
from benchmark.data import streets
from benchmark.data.streets.finish import KINDS, Spots
from benchmark.data.streets.lens import _compressed
from tests.data.conftest import Street

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["texture", "palette", "light", "weather", "sensor"])
def test_a_factor_of_appearance_changes_pixels_alone_and_more_in_every_step(name: str, street: Street) -> None:
    source = [street("game", seed) for seed in range(4)]
    moved = []
    for strength in (1, 2, 3):
        frames = [streets.render(streets.factor(name, strength), seed) for seed in range(4)]
        for frame, own in zip(frames, source, strict=True):
            np.testing.assert_array_equal(frame.label, own.label)
        pairs = zip(frames, source, strict=True)
        moved.append(np.mean([np.abs(frame.image.astype(int) - own.image).mean() for frame, own in pairs]))
    assert 0 < moved[0] < moved[1] < moved[2]


@pytest.mark.parametrize("name", ["lens", "pose", "shapes"])
def test_a_factor_of_geometry_leaves_the_other_factors_alone(name: str) -> None:
    source = streets.DOMAINS["game"]
    for strength in (1, 2, 3):
        moved = streets.factor(name, strength)
        assert moved.stream == source.stream
        assert moved.layouts != source.layouts
        assert replace(moved.looks[0], vignette=(0.0, 0.05), veil=(0.0, 0.0)) == source.looks[0]


def test_factors_cover_all_and_reject_others() -> None:
    assert set(streets.FACTORS) == {"texture", "palette", "light", "weather", "lens", "sensor", "pose", "shapes"}
    with pytest.raises(UserError, match="did you mean 'texture'"):
        streets.factor("textur", 1)
    with pytest.raises(UserError, match="strength of factor texture: 4"):
        streets.factor("texture", 4)


def test_compression_leaves_flat_blocks_and_removes_detail() -> None:
    rng = np.random.default_rng(0)
    flat = np.repeat(np.repeat(rng.integers(0, 256, (3, 4, 4)), 8, 1), 8, 2).astype(np.uint8)
    assert np.abs(_compressed(flat, 1.0).astype(int) - flat).max() <= 1
    noisy = rng.integers(96, 160, (3, 32, 32)).astype(np.uint8)
    errors = [np.abs(_compressed(noisy, step).astype(int) - noisy).mean() for step in (1.0, 8.0, 64.0)]
    assert errors[0] < errors[1] < errors[2]
    means = [block.reshape(3, 4, 8, 4, 8).mean(axis=(2, 4)) for block in (noisy, _compressed(noisy, 8.0))]
    assert np.abs(means[0] - means[1]).max() < 1.5


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_finishes_fade_where_they_are_smaller_than_a_pixel(kind: str) -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.uniform(-40, 40, 4000).astype(np.float32) for _ in range(2))
    salt = np.full(4000, 5, np.uint32)
    near = KINDS[kind](Spots(x, y, np.full(4000, 0.02, np.float32), salt))
    assert 0.05 < np.abs(near).mean() <= 1.5
    assert np.std(near) > 0.1
    np.testing.assert_array_equal(near, KINDS[kind](Spots(x, y, np.full(4000, 0.02, np.float32), salt)))
    far = KINDS[kind](Spots(x, y, np.full(4000, 50.0, np.float32), salt))
    assert np.std(far) < np.std(near)
