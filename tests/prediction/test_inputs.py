"""Which files are images, and what each one's output is called."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.common.errors import UserError
from benchmark.prediction import inputs
from benchmark.prediction.output import archived

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def save(path: Path, mode: str = "RGB", **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS).convert(mode).save(path, **options)  # type: ignore[arg-type]
    return path


def find(*given: str | Path, out: Path = Path("out")) -> tuple[list[str], dict[str, str]]:
    """Return the names of the images and the reason for each other file."""
    skipped: dict[str, str] = {}
    found = inputs.find([str(each) for each in given], out, lambda path, reason: skipped.update({path.name: reason}))
    return [picture.name for picture in found], skipped


def test_files_folders_and_patterns_are_found_once_and_named_below_what_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/x.png", "a/b/x.png", "a/b/y.JPG", "a/.hidden.png", "a/.git/z.png", "[1].webp"):
        save(Path(name))
    assert find("a") == (["b/x.png", "b/y.JPG", "x.png"], {})
    assert find("a/*.png")[0] == ["x.png"]
    assert find("a/**")[0] == ["b/x.png", "b/y.JPG", "x.png"]
    assert find("*/b/*")[0] == ["a/b/x.png", "a/b/y.JPG"]
    assert find("a", "a/x.png", "a/**/*.png")[0] == ["b/x.png", "b/y.JPG", "x.png"], "each once"
    assert find("[1].webp")[0] == ["[1].webp"], "a file with the name of a pattern"
    assert find("a", out=Path("a/b"))[0] == ["x.png"], "outputs are not inputs"


def test_what_is_not_a_colour_image_is_skipped_with_the_reason(tmp_path: Path) -> None:
    save(tmp_path / "good.png", "RGBA")
    save(tmp_path / "grey.jpg", "L")
    save(tmp_path / "label.png", "L")
    save(tmp_path / "palette.png", "P")
    save(tmp_path / "deep.tif", "F")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:20])
    header = b"IHDR" + struct.pack(">IIBBBBB", 8193, 8192, 8, 2, 0, 0, 0)
    plain = save(tmp_path / "huge.png").read_bytes()
    (tmp_path / "huge.png").write_bytes(plain[:12] + header + struct.pack(">I", zlib.crc32(header)) + plain[33:])
    names, skipped = find(tmp_path)
    assert names == ["good.png", "grey.jpg"]
    assert set(skipped) == {
        "label.png", "palette.png", "deep.tif", "notes.txt", "empty.jpg", "cut.png", "huge.png"
    }  # fmt: skip
    assert "grey" in skipped["label.png"]
    assert "palette" in skipped["palette.png"]
    assert "not an image" in skipped["notes.txt"]
    assert "empty" in skipped["empty.jpg"]
    assert str(inputs.MOST) in skipped["huge.png"]
    assert not any(str(tmp_path) in reason for reason in skipped.values())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("pattern", ["", "*.png"])
def test_what_is_not_a_file_is_skipped_with_the_reason(pattern: str, tmp_path: Path) -> None:
    save(tmp_path / "good.png")
    os.mkfifo(tmp_path / "waits.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    names, skipped = find(tmp_path / pattern)
    assert names == ["good.png"]
    assert skipped == {"waits.png": "a FIFO, not a file", "zero.png": "a device, not a file"}


def test_two_images_with_one_output_are_refused(tmp_path: Path) -> None:
    one, two = save(tmp_path / "a" / "x.png"), save(tmp_path / "b" / "x.jpg")
    with pytest.raises(UserError, match=r"a/x\.png and .*b/x\.jpg would both be written to x\.png"):
        find(one, two)
    assert find(tmp_path)[0] == ["a/x.png", "b/x.jpg"], "mirrored below their common folder"
    (tmp_path / "a" / "x.txt").write_text("the same stem, but no image")
    assert find(tmp_path)[1].keys() == {"x.txt"}
    pictures = inputs.find([str(tmp_path)], Path("out"), lambda path, reason: None)
    assert list(archived(pictures, "cityscapes").values()) == ["a/x.png", "b/x.png"]
    with pytest.raises(UserError, match=r"--submission: .*a/x\.png and .*b/x\.jpg have the same name"):
        archived(pictures, "acdc")


@pytest.mark.parametrize(("given", "line"), [("none.png", "no such file"), ("none*.png", "matches no file"), ("", "")])
def test_names_of_nothing_are_refused(given: str, line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=line or "no files"):
        find(tmp_path / given)


def test_an_image_below_the_outputs_and_a_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.png: is below --out"):
        find(save(tmp_path / "out" / "classes" / "x.png"), out=tmp_path / "out")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        find(tmp_path / "pipe")


def test_an_image_is_read_upright_as_rgb(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to view
    assert np.array_equal(inputs.read(save(tmp_path / "turned.png", exif=exif)), np.rot90(PIXELS, 3))
    assert np.array_equal(inputs.read(save(tmp_path / "plain.png")), PIXELS)
    (tmp_path / "cut.png").write_bytes((tmp_path / "plain.png").read_bytes()[:90])
    with pytest.raises(UserError, match=r"^damaged \("):
        inputs.read(tmp_path / "cut.png")
