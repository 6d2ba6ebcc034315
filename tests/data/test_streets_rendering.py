"""The renderer: reproducible bytes, correct geometry, and frames that agree with each other."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from benchmark.common.errors import UserError
from benchmark.data import streets
from benchmark.data.streets import materials as m
from benchmark.data.streets.buildings import building
from benchmark.data.streets.camera import Camera
from benchmark.data.streets.dice import RING12, Dice, circle
from benchmark.data.streets.mesh import Placed, Shape
from benchmark.data.streets.people import cycle
from benchmark.data.streets.raster import rasterise
from benchmark.data.streets.vehicles import car
from tests.data.conftest import Street

pytestmark = pytest.mark.slow

SIZE = (128, 256)
# SHA-256 over image, label, material and instance of the first three images. Changed only together with the domain's
# version; those of the source and of `world` are those of version 1.
DIGESTS = {
    "game": "43dd05965caf055017cdd7f4",
    "overcast": "9ba4481d32b63707cdf343a3",
    "dashcam": "7a783db1039bad54b5390600",
    "worldwide": "8e8063c88634ded9ab730eb8",
    "fog": "a2325e20443728328d06a565",
    "night": "c15d983ce18db6dcfd5223a1",
    "rain": "bbfad48262e2602f38fab8f0",
    "snow": "065642444abd7527e981a0a0",
    "world": "e4adb16aada84525fa7bcadb",
}


@pytest.mark.parametrize("domain", streets.DOMAINS)
def test_images_are_the_same_on_every_machine(domain: str, street: Street) -> None:
    digest = hashlib.sha256()
    for seed in range(3):
        frame = street(domain, seed)
        for array in (frame.image, frame.label, frame.material, frame.instance):
            digest.update(array.tobytes())
    assert digest.hexdigest()[:24] == DIGESTS[domain]


@pytest.mark.parametrize("domain", streets.DOMAINS)
def test_frames_are_complete_and_consistent(domain: str, street: Street) -> None:
    for seed in range(5):
        frame = street(domain, seed)
        assert frame.image.shape == (*SIZE, 3)
        assert frame.image.dtype == np.uint8
        assert set(np.unique(frame.label)) <= set(range(34))
        assert frame.material.max() < len(streets.MATERIALS)
        sky = frame.material == m.AIR
        assert sky[frame.label == m.SKY].all()
        assert not np.isfinite(frame.depth[sky]).any()
        assert np.isfinite(frame.depth[~sky]).all()
        assert (frame.instance[np.isin(frame.label, (m.ROAD, m.SKY))] == 0).all()
        assert (frame.instance[np.isin(frame.label, (m.CAR, m.PERSON, m.BUILDING))] > 0).all()
        lengths = np.sqrt((frame.normal[~sky].astype(np.float64) ** 2).sum(axis=-1))
        np.testing.assert_allclose(lengths, 1.0, atol=1e-5)


def test_a_near_car_occludes_a_far_house() -> None:
    house = Placed(building("brick", 3, 12, "flat", False, 2.2), 2.0, 0.0, 40.0, "building", heading=(0.0, 1.0))
    near = Placed(car("suv"), 0.0, 0.0, 9.0, "car")
    surfaces = rasterise([near, house], Camera(), SIZE)
    label = surfaces.polygons.label[surfaces.front]
    instance = surfaces.polygons.instance[surfaces.front]
    of_car, of_house = label == m.CAR, label == m.BUILDING
    assert of_car.sum() > 500
    assert of_house.sum() > 500
    assert set(np.unique(instance[of_car])) == {1}
    assert set(np.unique(instance[of_house])) == {2}
    depth = 1.0 / surfaces.inverse_depth[of_car]
    assert depth.min() > 6.5
    assert depth.max() < 11.5
    assert (1.0 / surfaces.inverse_depth[of_house] > 30.0).all()
    columns = np.flatnonzero(of_car.any(axis=0))
    assert of_house[:, columns].any(), "the house is visible above the car"


def test_painting_order_does_not_depend_on_the_order_of_objects() -> None:
    things = [Placed(car("hatch"), 0.4 * k, 0.0, 8.0 + 7.0 * k, "car") for k in range(4)]
    forward = rasterise(things, Camera(), SIZE)
    backward = rasterise(things[::-1], Camera(), SIZE)
    np.testing.assert_array_equal(forward.inverse_depth, backward.inverse_depth)


def test_hollow_polygons_set_the_label_and_show_the_surface_behind() -> None:
    wall = Shape(m.WALL)
    wall.rect(-20.0, 20.0, 0.0, 10.0, 0, m.MASONRY)
    behind = Placed(wall.done(), 0.0, 0.0, 12.0, "wall")
    bicycle = Placed(cycle("bicycle", "side", False), 0.0, 0.0, 4.0, "cycle")
    surfaces = rasterise([behind, bicycle], Camera(height=0.8), SIZE)
    between = (surfaces.polygons.label[surfaces.front] == m.BICYCLE) & (
        surfaces.polygons.material[surfaces.seen] == m.MASONRY
    )
    assert between.sum() > 100
    np.testing.assert_allclose(1.0 / surfaces.inverse_depth[between], 12.0, rtol=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_road_depth_matches_the_closed_form(seed: int, street: Street) -> None:
    frame = street("worldwide", seed)
    camera = frame.surfaces.camera
    right, down, forward = camera.axes()
    u, v = camera.rays(SIZE)
    fall = -(right[1] * u.astype(np.float64) + down[1] * v + forward[1])
    road = frame.surfaces.polygons.label[frame.surfaces.seen] == m.ROAD
    with np.errstate(divide="ignore"):
        expected = camera.height / fall
    near = road & (expected > 0) & (expected < 60.0)
    assert near.sum() > 2000
    # The centre of a pixel at the edge of a slab may be outside of it; its depth is then clipped to the slab's range.
    error = np.abs(frame.depth[near] / expected[near] - 1.0)
    assert (error < 1e-4).mean() > 0.97
    assert error.max() < 0.1
    for column in range(0, SIZE[1], 16):
        depths = frame.depth[near[:, column], column]
        assert (np.diff(depths) <= 0).all(), "depth decreases towards the lower edge"


def test_restyle_changes_only_the_image(street: Street) -> None:
    frame = street("world", 7)
    other = streets.restyle(frame, "world", 8)
    assert (other.image != frame.image).mean() > 0.5
    for name in ("label", "material", "instance", "depth", "normal"):
        np.testing.assert_array_equal(getattr(other, name), getattr(frame, name))
    np.testing.assert_array_equal(streets.restyle(frame, "world", 7).image, frame.image)
    np.testing.assert_array_equal(streets.render("world", 7, style=8).image, other.image)


def test_other_sizes_show_the_same_street(street: Street) -> None:
    small, large = street("game", 3), streets.render("game", 3, size=(256, 512))
    assert large.label.shape == (256, 512)
    assert (large.label[::2, ::2] == small.label).mean() > 0.85


def test_unknown_domain_is_named() -> None:
    with pytest.raises(UserError, match="did you mean 'overcast'"):
        streets.render("overcst", 0)


def test_dice_are_reproducible_and_unbiased() -> None:
    dice = Dice("test", 1)
    draws = [dice.unit() for _ in range(4000)]
    assert draws[:2] == [0.6668141085798623, 0.32908266705381073]
    assert abs(sum(draws) / len(draws) - 0.5) < 0.02
    assert min(Dice("a").below(7) for _ in range(3)) >= 0
    picks = [dice.weighted((("rare", 1.0), ("often", 9.0))) for _ in range(2000)]
    assert 100 < picks.count("rare") < 300
    for c, s in (*RING12, circle(0.3)):
        assert abs(c * c + s * s - 1.0) < 1e-12
    assert max(abs(RING12[3][0]), abs(RING12[3][1] - 1.0)) < 1e-9
