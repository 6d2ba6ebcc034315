"""The renderer: reproducible bytes, correct geometry, all classes in every domain, datasets on disk."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.data import streets
from benchmark.data.labels import CITYSCAPES, lut
from benchmark.data.streets import materials as m
from benchmark.data.streets import trees
from benchmark.data.streets.buildings import building
from benchmark.data.streets.camera import Camera
from benchmark.data.streets.dice import RING12, Dice, circle
from benchmark.data.streets.finish import KINDS, Spots
from benchmark.data.streets.lens import _compressed
from benchmark.data.streets.look import Look
from benchmark.data.streets.mesh import Placed, Shape
from benchmark.data.streets.people import cycle
from benchmark.data.streets.raster import rasterise
from benchmark.data.streets.vehicles import car

pytestmark = pytest.mark.slow

SIZE = (128, 256)
READERS = {name: registry.find("dataset", name) for name in streets.COUNTS}
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
TARGETS = ("overcast", "dashcam", "worldwide")
FEW = [
    replace(streets.find_part(*each), count=count)
    for *each, count in (
        ("streets", "game/train", 2), ("streets", "game/test", 1), ("streets", "dashcam/val", 2),
        ("streets", "snow/val", 1), ("streets-large", "game/train", 2),
    )
]  # fmt: skip


@pytest.fixture(scope="module")
def sample() -> dict[str, list[streets.Frame]]:
    """Forty images of every domain."""
    return {domain: [streets.render(domain, seed) for seed in range(40)] for domain in streets.DOMAINS}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of some parts."""
    root = tmp_path_factory.mktemp("streets")
    streets.prepare(root, FEW)
    return root


@pytest.mark.parametrize("domain", streets.DOMAINS)
def test_images_are_the_same_on_every_machine(domain: str) -> None:
    digest = hashlib.sha256()
    for seed in range(3):
        frame = streets.render(domain, seed)
        for array in (frame.image, frame.label, frame.material, frame.instance):
            digest.update(array.tobytes())
    assert digest.hexdigest()[:24] == DIGESTS[domain]


def test_frames_are_complete_and_consistent(sample: dict[str, list[streets.Frame]]) -> None:
    for frames in sample.values():
        for frame in frames[:5]:
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


@pytest.mark.parametrize("domain", streets.DOMAINS)
def test_every_class_is_frequent_enough_in_every_domain(sample: dict[str, list[streets.Frame]], domain: str) -> None:
    table = lut("cityscapes_label_ids")
    counts = np.array([np.bincount(table[frame.label].ravel(), minlength=256)[:19] for frame in sample[domain]])
    in_few_images = {CITYSCAPES[k]: f for k, f in enumerate((counts >= 20).mean(axis=0)) if f < 0.10}
    assert not in_few_images
    few_pixels = {CITYSCAPES[k]: f for k, f in enumerate(counts.mean(axis=0) / (128 * 256)) if f < 0.0015}
    assert not few_pixels


def test_most_materials_of_world_occur_in_several_classes(sample: dict[str, list[streets.Frame]]) -> None:
    table = lut("cityscapes_label_ids")
    pixels = np.zeros((len(streets.MATERIALS), 256), np.int64)
    for frame in sample["world"]:  # what the foundation model is pre-trained on
        both = frame.material.astype(np.int64) * 256 + table[frame.label]
        pixels += np.bincount(both.ravel(), minlength=pixels.size).reshape(pixels.shape)
    fractions = pixels[:, :19] / np.maximum(pixels[:, :19].sum(axis=1, keepdims=True), 1)
    several = {streets.MATERIALS[k] for k in range(len(fractions)) if (fractions[k] > 0.01).sum() > 1}
    assert several >= {
        "glass", "rubber", "metal panel", "bare metal", "plastic", "cloth", "concrete", "wood", "masonry", "light",
        "paint", "asphalt", "plaster", "skin", "soil",
    }  # fmt: skip


def _values(looks: tuple[Look, ...]) -> set[object]:
    """Return the palettes of the looks, as sets of colours by kind."""
    kinds = ("walls", "roofs", "leaves", "grass", "asphalt", "pavement")
    return {(kind, colour) for look in looks for kind in kinds for colour in getattr(look.colours, kind)}


@pytest.mark.parametrize("target", TARGETS)
def test_world_and_source_show_no_layout_palette_or_texture_of_a_target(target: str) -> None:
    known = (streets.DOMAINS["world"], streets.DOMAINS["game"])
    chosen = streets.DOMAINS[target]
    for domain in known:
        assert not any(look.finishes for look in domain.looks)
        assert not _values(domain.looks) & _values(chosen.looks)
        for layout in chosen.layouts:
            assert layout not in domain.layouts
            for other in domain.layouts:
                for part in ("roofs", "fronts", "poses", "trucks"):
                    assert getattr(layout, part) != getattr(other, part)
                assert not set(layout.tree_kinds) <= set(other.tree_kinds)
    assert all(look.finishes for look in chosen.looks)


def test_targets_differ_from_each_other() -> None:
    for one, other in combinations(TARGETS, 2):
        a, b = streets.DOMAINS[one], streets.DOMAINS[other]
        assert not any(layout in b.layouts for layout in a.layouts)
        assert not _values(a.looks) & _values(b.looks)
        assert not {each for look in a.looks for each in look.finishes} & {
            each for look in b.looks for each in look.finishes
        }


def test_adverse_domains_show_the_town_of_overcast() -> None:
    town = streets.DOMAINS["overcast"]
    for name in ("fog", "night", "rain", "snow"):
        domain = streets.DOMAINS[name]
        assert {look.colours for look in domain.looks} == {town.looks[0].colours}
        assert {look.finishes for look in domain.looks} == {town.looks[0].finishes}
        assert [replace(layout, tree_kinds=()) for layout in domain.layouts] == [
            replace(town.layouts[0], tree_kinds=())
        ]


@pytest.mark.parametrize("name", ["texture", "palette", "light", "weather", "sensor"])
def test_a_factor_of_appearance_changes_pixels_alone_and_more_in_every_step(name: str) -> None:
    source = [streets.render("game", seed) for seed in range(4)]
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
def test_road_depth_matches_the_closed_form(seed: int) -> None:
    frame = streets.render("worldwide", seed)
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


def test_restyle_changes_only_the_image() -> None:
    frame = streets.render("world", 7)
    other = streets.restyle(frame, "world", 8)
    assert (other.image != frame.image).mean() > 0.5
    for name in ("label", "material", "instance", "depth", "normal"):
        np.testing.assert_array_equal(getattr(other, name), getattr(frame, name))
    np.testing.assert_array_equal(streets.restyle(frame, "world", 7).image, frame.image)
    np.testing.assert_array_equal(streets.render("world", 7, style=8).image, other.image)


def test_other_sizes_show_the_same_street() -> None:
    small, large = streets.render("game", 3), streets.render("game", 3, size=(256, 512))
    assert large.label.shape == (256, 512)
    assert (large.label[::2, ::2] == small.label).mean() > 0.85


def test_domains_never_share_a_street() -> None:
    seen: dict[bytes, tuple[str, int]] = {}
    for domain in streets.DOMAINS:
        for seed in range(3):
            key = streets.render(domain, seed).label.tobytes()
            assert key not in seen, f"{domain} {seed} is {seen.get(key)}"
            seen[key] = (domain, seed)


def test_parts_never_share_a_seed() -> None:
    for name in streets.COUNTS:
        images = [(each.domain, each.seed) for part in streets.parts(name) for each in part.images()]
        assert len(set(images)) == len(images)


def test_the_large_frames_show_streets_of_the_small_ones() -> None:
    for part in streets.parts("streets-large"):
        small = {
            (each.domain, each.seed, each.id) for each in streets.find_part("streets", f"game/{part.name}").images()
        }
        assert {(each.domain, each.seed, each.id) for each in part.images()} < small
        assert {each.size for each in part.images()} == {(256, 512)}


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


# ---- datasets on disk ----------------------------------------------------------------------------------
@pytest.mark.parametrize("part", FEW, ids=lambda part: part.path)
def test_readers_return_what_was_rendered(rendered: Path, part: streets.Part) -> None:
    reader, table = READERS[part.dataset], lut("cityscapes_label_ids")
    samples = reader.samples(rendered / part.dataset, f"{part.look}/{part.name}")
    assert [sample.id for sample in samples] == [f"{part.look}/{part.name}/{k:05d}" for k in range(part.count)]
    for k, sample in enumerate(samples):
        frame = streets.render(part.look, trees.FIRST_SEED[part.name] + k, streets.SIZES[part.dataset])
        image, label = reader.read(sample)
        np.testing.assert_array_equal(label, table[frame.label])
        assert sample.image.suffix == (".jpg" if part.look == "dashcam" else ".png")
        if sample.image.suffix == ".png":
            np.testing.assert_array_equal(image, frame.image)
        else:
            assert np.abs(image.astype(int) - frame.image).mean() < 6.0


def test_only_the_wanted_parts_are_rendered(rendered: Path) -> None:
    found = {path.parent.relative_to(rendered).as_posix() for path in rendered.rglob(trees.MANIFEST)}
    assert found == {part.path for part in FEW}


@pytest.mark.parametrize(
    ("dataset", "split", "line"),
    [
        ("streets", "gmae/train", "streets: no split 'gmae/train'; did you mean 'game/train'?"),
        ("streets", "snow/vall", "streets: no split 'snow/vall'; did you mean 'snow/val'?"),
        ("streets", "overcast/test", "streets: no split 'overcast/test'; did you mean 'overcast/"),
        ("streets-large", "rain", "streets-large: no split 'rain'; did you mean"),
    ],
)
def test_an_unknown_look_or_part_is_named(tmp_path: Path, dataset: str, split: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        READERS[dataset].samples(tmp_path, split)
    assert line in str(caught.value)


def test_a_complete_part_is_not_rendered_again(rendered: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in rendered.rglob("*")}
    ticks: list[int] = []
    streets.prepare(rendered, FEW, progress=lambda done, total: ticks.append(total))
    assert ticks == []
    assert {path: path.stat().st_mtime_ns for path in rendered.rglob("*")} == before


def manifest(place: Path) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((place / trees.MANIFEST).read_text())
    return loaded


def test_damaged_or_outdated_parts_are_rendered_again(tmp_path: Path) -> None:
    part = replace(streets.find_part("streets", "overcast/val"), count=1)
    place = tmp_path / part.path
    streets.prepare(tmp_path, [part])
    content = manifest(place)["content"]
    picture = next(place.rglob("*.png"))

    picture.write_bytes(picture.read_bytes()[:100])
    streets.prepare(tmp_path, [part])
    assert manifest(place)["content"] == content
    assert picture.stat().st_size > 100

    picture.unlink()
    streets.prepare(tmp_path, [part])
    assert picture.is_file()

    old = manifest(place) | {"version": "0"}
    (place / trees.MANIFEST).write_text(json.dumps(old))
    streets.prepare(tmp_path, [part])
    assert manifest(place)["version"] == streets.VERSION

    streets.prepare(tmp_path, [replace(part, count=2)])
    assert len(list((place / "labels").iterdir())) == 2
    assert [path.name for path in place.parent.iterdir()] == ["val"]


def test_worker_processes_do_not_change_the_files(tmp_path: Path) -> None:
    part = replace(streets.find_part("streets", "dashcam/train"), count=trees.CHUNK + 3)
    done: list[tuple[int, int]] = []
    streets.prepare(tmp_path / "one", [part])
    streets.prepare(tmp_path / "two", [part], workers=2, progress=lambda *pair: done.append(pair))
    assert manifest(tmp_path / "one" / part.path) == manifest(tmp_path / "two" / part.path)
    assert done[-1] == (trees.CHUNK + 3, trees.CHUNK + 3)


def test_processes_that_render_the_same_part_do_not_disturb_each_other(tmp_path: Path) -> None:
    script = f"""
from dataclasses import replace
from pathlib import Path
from benchmark.data import streets
streets.prepare(Path({str(tmp_path)!r}), [replace(streets.find_part("streets", "game/val"), count=3)])
"""
    both = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    (part,) = (tmp_path / "streets" / "game").iterdir()
    assert len(list((part / "images").iterdir())) == 3


def test_a_folder_with_other_files_is_not_changed(tmp_path: Path) -> None:
    mine = tmp_path / "streets" / "game" / "train" / "00001.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"real")
    with pytest.raises(UserError, match=r"game/train: .*not rendered"):
        streets.prepare(tmp_path, FEW[:1])
    assert mine.read_bytes() == b"real"


def test_error_names_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"cannot write .*{tmp_path / 'file'}: "):
        streets.prepare(tmp_path / "file", FEW[:1])


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_leaves_no_partial_files(tmp_path: Path) -> None:
    script = f"""
import resource
from pathlib import Path
from benchmark.data import streets
from benchmark.common import registry
from benchmark.common.errors import UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))
try:
    streets.prepare(Path({str(tmp_path)!r}), [streets.find_part("streets", "game/val")])
except UserError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert f"below {tmp_path}: " in run.stdout
    assert list((tmp_path / "streets" / "game").iterdir()) == []
