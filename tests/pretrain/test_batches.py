"""Batches depend on (recipe, step) alone, and targets are aligned with the image."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.pretrain.batches import (
    NOTHING,
    STRIDE,
    Crop,
    cut_image,
    cut_maps,
    distort,
    draw_crop,
    extents,
    make_batch,
    targets,
    turn,
)
from benchmark.pretrain.frames import HEIGHT, WIDTH, FrameStore, layout
from benchmark.pretrain.recipe import Recipe

RECIPE = Recipe(batch=4)


def same(first: Tensor, second: Tensor) -> bool:
    return torch.equal(first.nan_to_num(-9), second.nan_to_num(-9))


def test_batches_are_reproducible(store: FrameStore) -> None:
    torch.manual_seed(1)
    first = make_batch(store, RECIPE, 3)
    torch.manual_seed(2)
    again, other = make_batch(store, RECIPE, 3), make_batch(store, RECIPE, 5)
    assert all(same(getattr(first, f.name), getattr(again, f.name)) for f in fields(first))
    assert not same(first.images, other.images)
    assert not same(first.images, make_batch(store, replace(RECIPE, seed=1), 3).images)


def test_even_steps_have_crops_and_odd_ones_half_as_many_views(store: FrameStore) -> None:
    square, wide = make_batch(store, RECIPE, 0), make_batch(store, RECIPE, 1)
    assert square.images.shape == (4, 3, 128, 128)
    assert wide.images.shape == (2, 3, 128, 256)
    assert square.material.shape == (4, 32, 32)
    assert wide.extent.shape == (2, 4, 32, 64)
    for batch in (square, wide):
        assert 0 <= float(batch.images.min()) < float(batch.images.max()) <= 255
        known = batch.depth[~batch.depth.isnan()]
        assert known.abs().max() <= 1
        length = batch.normal.norm(dim=1)
        assert ((length - 1).abs().lt(0.01) | (length == 0)).all()


@pytest.mark.parametrize("crop", [Crop(1.0, 0, 40, False), Crop(1.7, 20.3, 11.8, True), Crop(0.8, 0, 3.5, False)])
def test_targets_are_aligned_with_the_image(crop: Crop) -> None:
    record = np.zeros((), layout(1))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    record["image"][0, ..., 0], record["image"][0, ..., 1] = columns, rows
    record["material"], record["depth"] = columns, rows
    image = cut_image(record["image"][0], crop, 128).astype(float)
    maps = cut_maps(record, crop, 128)
    centre = image.reshape(32, STRIDE, 32, STRIDE, 3)[:, 1:3, :, 1:3].mean((1, 3))  # mean around the cell's centre
    inside = ~maps["outside"].astype(bool)
    inside[np.flatnonzero(inside.any(1))[-1]] = False  # interpolated with the black below the frame
    assert np.abs(centre[..., 0] - maps["material"])[inside].max() <= 1
    assert np.abs(centre[..., 1] - maps["depth"])[inside].max() <= 1
    if crop.zoom < 1:
        assert (image[-20:] == 0).all()
        assert (maps["material"][-5:] == NOTHING).all()


def test_flip_mirrors_the_normals() -> None:
    record = np.zeros((), layout(1))
    record["normal"] = np.random.default_rng(0).integers(-127, 128, record["normal"].shape)
    plain, flipped = (cut_maps(record, Crop(1, 0, 64, flip), 128)["normal"] for flip in (False, True))
    assert np.array_equal(flipped, plain[:, ::-1] * [-1, 1, 1])


def test_crops_stay_inside_and_cover_the_zoom_range() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_crop((HEIGHT, WIDTH), 128, (0.75, 2.0), rng) for _ in range(300)]
    assert all(crop.left + 128 / crop.zoom <= WIDTH + 1e-9 for crop in drawn)
    assert all(crop.top + 128 / crop.zoom <= HEIGHT + 1e-9 or crop.top == 0 for crop in drawn)
    assert min(crop.zoom for crop in drawn) < 0.8
    assert max(crop.zoom for crop in drawn) > 1.9
    assert all(draw_crop((HEIGHT, WIDTH), 256, (0.75, 2.0), rng).zoom >= 1 for _ in range(50))


def test_edges_and_extents_equal_a_naive_loop() -> None:
    rng = np.random.default_rng(3)
    instance = np.kron(rng.integers(0, 4, (2, 4, 5)), np.ones((1, 2, 3), int)).astype(np.uint8)
    found = extents(torch.from_numpy(instance).long())
    record = {"material": instance, "depth": instance, "normal": np.zeros((*instance.shape, 3), np.float32)}
    outside = np.zeros(instance.shape, bool)
    maps = [{name: v[i] for name, v in {**record, "instance": instance, "outside": outside}.items()} for i in range(2)]
    edge = targets(torch.zeros(2, 3, 32, 60), maps).edge
    for i, y, x in np.ndindex(*instance.shape):
        here = instance[i, y, x]
        right = x + 1 < instance.shape[2] and instance[i, y, x + 1] != here
        below = y + 1 < instance.shape[1] and instance[i, y + 1, x] != here
        assert bool(edge[i, y, x]) == (right or below)
        if here == 0:
            assert found[i, :, y, x].isnan().all()
            continue
        ys, xs = np.nonzero(instance[i] == here)
        expected = [
            ((xs.min() + xs.max()) / 2 - x) / 4,
            ((ys.min() + ys.max()) / 2 - y) / 4,
            np.log2(np.ptp(xs) + 1) - 2,
            np.log2(np.ptp(ys) + 1) - 2,
        ]
        assert found[i, :, y, x].tolist() == pytest.approx(expected, abs=1e-5)


def test_turn_is_a_rotation_about_the_grey_axis() -> None:
    turned = turn(torch.tensor([0.0, 0.5, -2.0]))
    torch.testing.assert_close(turned @ turned.transpose(1, 2), torch.eye(3).expand(3, 3, 3))
    torch.testing.assert_close(turned @ torch.ones(3), torch.ones(3, 3))
    assert torch.equal(turned[0], torch.eye(3))


def test_distorted_colours_differ_and_stay_in_range() -> None:
    images = torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 255
    distorted = distort(images, torch.Generator().manual_seed(1))
    assert distorted.min() >= 0
    assert distorted.max() <= 255
    assert ((distorted - images).abs().mean((1, 2, 3)) > 2).all()
    assert torch.equal(distorted, distort(images, torch.Generator().manual_seed(1)))
