"""The stored form of a frame, which does not contain class labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmark.data.streets import Frame, render
from benchmark.pretrain.frames import NEAREST, OCTAVES, SKY, FrameStore, compact, ranks, world_frames


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return world_frames(7, 2)


def test_class_labels_are_never_read(frames: list[Frame]) -> None:
    noise = np.random.default_rng(0).integers(0, 34, frames[0].label.shape).astype(np.uint8)
    garbage = [replace(frame, label=noise) for frame in frames]
    absent = [replace(frame, label=None) for frame in frames]  # type: ignore[arg-type]
    assert compact(garbage).tobytes() == compact(frames).tobytes() == compact(absent).tobytes()


def test_styles_share_the_geometry(frames: list[Frame]) -> None:
    first, second = frames
    assert np.array_equal(first.material, second.material)
    assert np.array_equal(first.depth, second.depth)
    assert np.abs(first.image.astype(int) - second.image).mean() > 5
    assert np.array_equal(compact(frames)["image"][1], second.image)


def test_maps_survive_compaction(frames: list[Frame]) -> None:
    frame, record = frames[0], compact(frames)
    sky = np.isinf(frame.depth)
    assert np.array_equal(record["depth"] == SKY, sky)
    assert sky.any()
    metres = NEAREST * 2 ** (record["depth"].astype(float) * OCTAVES / 254)
    within = ~sky & (frame.depth < NEAREST * 2**OCTAVES)
    assert np.abs(np.log2(metres[within] / frame.depth[within])).max() <= OCTAVES / 254 / 2 + 1e-6
    assert np.array_equal(record["material"], frame.material)
    assert np.abs(record["normal"] / 127 - frame.normal[::2, ::2]).max() <= 0.5 / 127 + 1e-6


def test_instances_are_renumbered_one_to_one(frames: list[Frame]) -> None:
    kept, original = compact(frames)["instance"], frames[0].instance
    assert np.array_equal(kept > 0, original > 0)
    pairs = set(zip(kept.ravel().tolist(), original.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(original)) == len(np.unique(kept))


def test_instances_above_255_become_0() -> None:
    numbers = np.arange(0, 600, 2, dtype=np.int32)
    assert ranks(numbers).tolist() == [*range(256), *[0] * 44]


def test_store_has_the_world_frames_in_order(store: FrameStore) -> None:
    assert len(store) == 3
    for index in (0, 2):
        assert np.array_equal(store[index]["image"][0], render("world", index).image)
