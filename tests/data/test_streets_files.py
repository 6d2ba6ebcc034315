"""Rendered datasets on disk: what readers return, what is rendered again, and errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.data import streets
from benchmark.data.labels import lut
from benchmark.data.streets import trees

pytestmark = pytest.mark.slow

READERS = {name: registry.find("dataset", name) for name in streets.COUNTS}
FEW = [
    replace(streets.find_part(*each), count=count)
    for *each, count in (
        ("streets", "game/train", 2), ("streets", "game/test", 1), ("streets", "dashcam/val", 2),
        ("streets", "snow/val", 1), ("streets-large", "game/train", 2),
    )
]  # fmt: skip


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of some parts."""
    root = tmp_path_factory.mktemp("streets")
    streets.prepare(root, FEW)
    return root


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
    assert not streets.changed(tmp_path, part)
    kept = picture.read_bytes()
    picture.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    assert streets.changed(tmp_path, part)

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


@pytest.mark.parametrize("what", ["file", "FIFO", "link to nothing", "part"])
def test_what_is_in_the_place_of_a_folder_is_named_with_what_helps(what: str, tmp_path: Path) -> None:
    root, part = tmp_path / "out", FEW[0]
    if what == "part":
        (root / part.path).parent.mkdir(parents=True)
        (root / part.path).symlink_to("gone")
    else:
        make = {"file": root.touch, "FIFO": lambda: os.mkfifo(root), "link to nothing": lambda: root.symlink_to("gone")}
        make[what]()
    with pytest.raises(UserError) as error:
        streets.prepare(root, [part])
    assert str(root) in str(error.value)
    assert "another folder" in str(error.value)
    assert "space" not in str(error.value)


def test_a_manifest_that_is_nested_deeply_is_none(tmp_path: Path) -> None:
    place = tmp_path / FEW[0].path
    place.mkdir(parents=True)
    (place / trees.MANIFEST).write_text("[" * 100_000)
    assert not trees.is_whole(tmp_path, FEW[0])
