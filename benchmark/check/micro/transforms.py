"""Cases of transforms: augmentation, photometric distortion, alterations, resizing, and the order of samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmark.check.micro.digest import Numbers, noise
from benchmark.check.micro.layouts import LAYOUTS
from benchmark.check.micro.readers import Bytes, draw
from benchmark.common.rng import numpy_rng
from benchmark.common.temporary import temporary_folder
from benchmark.data import alter, augment, rare
from benchmark.data.domains import Domain
from benchmark.data.labels import camvid_to_cityscapes, colorize
from benchmark.data.loader import EvaluationSet, Frames, TrainingSet
from benchmark.data.samples import Sample, SampleReader
from benchmark.data.views import Halved, Joint, Relabelled
from benchmark.protocol import Augmentation, Split
from benchmark.protocol.schema import Alter

SIZE = (37, 53)
SETTINGS = {
    "range": Augmentation(short_edge=(30, 60), crop=32),
    "list": Augmentation(short_edges=(20, 40), crop=24, flip=1.0, photometric=False),
    "any crop": Augmentation(short_edges=(50,), crop=20, cat_max_ratio=1.0, flip=0.0),
    "picky crop": Augmentation(short_edges=(60,), crop=16, cat_max_ratio=0.3, photometric=False),
    "padded": Augmentation(short_edges=(20,), crop=32, photometric=False),
}
DISTORTIONS = {
    "brightness": augment.Distortion(20.5, None, False, None, None),
    "darkness": augment.Distortion(-31.7, None, False, None, None),
    "contrast first": augment.Distortion(10.0, 1.4, True, 0.6, None),
    "contrast last": augment.Distortion(10.0, 1.4, False, 0.6, None),
    "saturation": augment.Distortion(None, None, False, 1.45, None),
    "hue": augment.Distortion(None, None, False, None, 17),
    "hue back": augment.Distortion(None, 0.55, False, None, -18),
}


def cases() -> dict[str, Callable[[], Numbers]]:
    """Return the cases of transforms and samples."""
    found: dict[str, Callable[[], Numbers]] = {f"transform/alter {name}": partial(_alter, name) for name in
                                               alter.ALTERATIONS}  # fmt: skip
    return found | {
        "transform/augmentation": _augmentation,
        "transform/distortion": _distortion,
        "transform/views": _views,
        "transform/samples": _samples,
        "transform/rare classes": _rare,
        "transform/domains": _domains,
    }


class _Made:
    """Reads samples of noise over blobs of classes, of a size that depends on the id."""

    def read(self, sample: Sample) -> tuple[Bytes, Bytes]:
        return picture(sample.id, *SIZE), blobs(sample.id, *SIZE)


def picture(name: str, height: int, width: int) -> Bytes:
    """Return an image (H, W, 3): smooth, with some noise, from black to white."""
    rows, columns = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[:, None]
    smooth = np.sin(3 * rows + np.array([0, 1, 2])) + np.cos(5 * columns + np.array([2, 0, 1]))
    return np.clip(127.5 + 60 * smooth + 25 * noise(name, height, width, 3), 0, 255).astype(np.uint8)


def blobs(name: str, height: int, width: int) -> Bytes:
    """Return classes (H, W): 0 on most pixels, 1 to 4 in blocks, 255 at a border."""
    found = np.zeros((height, width), np.uint8)
    for number, (top, left) in enumerate((noise(name, 12, 2) + 1) / 2 * (height - 6, width - 9)):
        found[int(top) : int(top) + 6, int(left) : int(left) + 9] = 1 + number % 4
    found[:, :2] = 255
    return found


def _named(count: int, prefix: str = "") -> list[Sample]:
    return [Sample(f"{prefix}{number}", Path(f"{number}.png"), Path(f"{number}_label.png")) for number in range(count)]


def _augmentation() -> Numbers:
    numbers = Numbers()
    for name, settings in SETTINGS.items():
        for seed in range(4):
            shape = SIZE if seed % 2 else SIZE[::-1]
            image, label = augment.train_transform(
                picture(name, *shape), blobs(name, *shape), numpy_rng(seed, name), settings
            )
            numbers.put(f"{name} {seed} image", image)
            numbers.put(f"{name} {seed} label", label)
    corners = [augment.choose_crop(blobs(str(seed), 60, 50), numpy_rng(seed), 14, 0.4) for seed in range(40)]
    numbers.put("corners", corners)
    return numbers


def _distortion() -> Numbers:
    numbers = Numbers()
    for name, distortion in DISTORTIONS.items():
        numbers.put(f"{name} image", distortion(picture(name, *SIZE)))
    drawn = [augment.Distortion.draw(numpy_rng(seed, "distortion")) for seed in range(60)]
    numbers.put_tree("drawn", [[float(value or 0) for value in vars(each).values()] for each in drawn])
    return numbers


def _alter(name: str) -> Numbers:
    numbers = Numbers()
    for strength in alter.STRENGTHS:
        image, label = alter.Altered(_Made(), name, strength).read(_named(1)[0])
        numbers.put(f"strength {strength} image", image)
        numbers.put(f"strength {strength} label", label)
    return numbers


def _views() -> Numbers:
    numbers, (sample,) = Numbers(), _named(1)
    lut = np.full(256, 255, np.uint8)
    lut[:5] = [3, 0, 4, 1, 2]
    views: dict[str, SampleReader] = {
        "halved": Halved(_Made()),
        "relabelled": Relabelled(_Made(), lut),
        "joint": Joint({"one": _Made(), "other": Halved(_Made())}),
    }
    for name, view in views.items():
        image, label = view.read(replace(sample, id="other/7") if name == "joint" else sample)
        numbers.put(f"{name} image", image)
        numbers.put(f"{name} label", label)
    numbers.put("as Cityscapes", camvid_to_cityscapes(blobs("camvid", *SIZE)))
    numbers.put("colours", colorize(blobs("colours", *SIZE), ((1, 2, 3), (40, 50, 60), (7, 8, 90))))
    for limits in ((40, 20), (20, 40), (64, 64), (3, 200)):
        item = EvaluationSet(_named(3), _Made(), test_size=limits)[1]
        numbers.put(f"fitted into {limits} image", item["image"])
        numbers.put(f"fitted into {limits} label", item["label"])
    return numbers


def _samples() -> Numbers:
    numbers = Numbers()
    data = TrainingSet(_named(7), _Made(), SETTINGS["range"], seed=3)
    numbers.put("order", [data.index(position) for position in range(30)])
    for position in (0, 9):
        item = data[position]
        numbers.put(f"item {position} image", item["image"])
        numbers.put(f"item {position} label", item["label"])
        numbers.put(f"item {position} id", str(item["id"]))
    other = TrainingSet(_named(7), _Made(), SETTINGS["range"], seed=4)
    numbers.put("order of another seed", [other.index(position) for position in range(30)])
    return numbers


def _rare() -> Numbers:
    numbers = Numbers()
    frames = Frames(_named(9), _Made())
    pixels = rare.pixels(frames, 6)
    numbers.put("pixels", pixels)
    for temperature, least in ((0.01, 1), (0.5, 1), (0.5, 100)):
        words = f"temperature {temperature}, {least} pixels:"
        sampling = rare.RareClasses.of(pixels, temperature, least)
        numbers.put(f"{words} probability", sampling.probability)
        numbers.put_tree(f"{words} images", sampling.images)
        numbers.put(f"{words} drawn", [sampling.draw(numpy_rng(seed, "rare")) for seed in range(50)])
    few = rare.RareClasses.of(np.array([[5, 4, 9], [4, 5, 0], [6, 0, 5]]), 0.3, 5)
    numbers.put("few pixels probability", few.probability)
    numbers.put_tree("few pixels images", few.images)
    data = TrainingSet(_named(9), _Made(), SETTINGS["range"], seed=3, sampling=sampling)
    numbers.put("order", [data.index(position) for position in range(30)])
    return numbers


def _domains() -> Numbers:
    numbers = Numbers()
    with temporary_folder("dgss-micro-") as root:
        draw(LAYOUTS["cityscapes"][0], root / "cityscapes")
        draw(LAYOUTS["bdd100k"][0], root / "bdd100k")
        splits = {
            "plain": Split(dataset="cityscapes", split="val"),
            "halved": Split(dataset="cityscapes", split="val", halve=True, limit=1),
            "altered": Split(dataset="bdd100k", split="val", alter=Alter(name="fog", strength=2)),
            "named": Split(dataset="cityscapes", split="val", frames=("ulm/ulm_000000_000019",)),
        }
        domains = {name: Domain.find(split, root) for name, split in splits.items()}
        domains["joined"] = Domain.joined([splits["plain"], Split(dataset="bdd100k", split="val")], root)
        for name, domain in domains.items():
            numbers.put_tree(f"{name} frames", [[sample.id for sample in domain.samples], domain.notes])
            for sample in domain.samples:
                image, label = domain.reader.read(sample)
                numbers.put(f"{name} {sample.id} image", image)
                numbers.put(f"{name} {sample.id} label", label)
        return numbers
