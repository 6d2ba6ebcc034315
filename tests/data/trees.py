"""Miniature trees in every official layout, with label ids and the train ids they must become.

The meanings are written out here by hand, not taken from the package's own tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmseg.datasets.mapillary import MapillaryDataset_v1, MapillaryDataset_v2
from PIL import Image

from benchmark.data.labels import Bytes
from benchmark.data.readers import acdc, bdd100k, camvid, cityscapes, gta5, mapillary
from benchmark.data.samples import Reader

Color = tuple[int, int, int]
VISTAS_1: Sequence[str] = MapillaryDataset_v1.METAINFO["classes"]
VISTAS_2: Sequence[str] = MapillaryDataset_v2.METAINFO["classes"]

SCORED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
LABEL_IDS = {i: SCORED.index(i) if i in SCORED else 255 for i in range(34)}
TRAIN_IDS = {**{i: i for i in range(19)}, 255: 255}
# Of CamVid's 32 colours, those whose group is easy to get wrong, and the rest of the eleven.
PAINTED: dict[Color, int] = {
    (128, 128, 128): 0, (128, 0, 0): 1, (64, 192, 0): 1, (0, 128, 64): 1, (192, 192, 128): 2, (0, 0, 64): 2,
    (128, 64, 128): 3, (128, 0, 192): 3, (192, 0, 64): 3, (0, 0, 192): 4, (128, 128, 192): 4, (128, 128, 0): 5,
    (192, 192, 0): 5, (192, 128, 128): 6, (0, 64, 64): 6, (64, 64, 128): 7, (64, 0, 128): 8, (192, 128, 192): 8,
    (64, 64, 0): 9, (192, 128, 64): 9, (0, 128, 192): 10, (192, 0, 192): 10, (0, 0, 0): 255,
}  # fmt: skip
VISTAS = {
    "Road": 0, "Bike Lane": 0, "Lane Marking - Crosswalk": 0, "Sidewalk": 1, "Curb Cut": 1, "Building": 2,
    "Wall": 3, "Fence": 4, "Pole": 5, "Street Light": 5, "Utility Pole": 5, "Traffic Sign (Back)": 7,
    "Traffic Sign (Front)": 7, "Vegetation": 8, "Terrain": 9, "Sky": 10, "Person": 11, "Bicyclist": 12,
    "Car": 13, "Truck": 14, "Bus": 15, "On Rails": 16, "Motorcycle": 17, "Bicycle": 18,
    "Bird": 255, "Bridge": 255, "Manhole": 255, "Caravan": 255, "Ego Vehicle": 255, "Unlabeled": 255,
}  # fmt: skip


@dataclass(frozen=True)
class Tree:
    """A tree on disk and what a reader must make of it."""

    reader: Reader
    root: Path
    split: str
    labels: Mapping[str, Bytes]


def write_label(path: Path, ids: Bytes, *, palette: bool = False) -> None:
    """Write ids as a grey image, or as a palette image whose colours have nothing to do with the indices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(ids)
    if palette:
        picture.putpalette([(7 * i + 3) % 256 for i in range(768)])
    picture.save(path)


def write_image(path: Path, size: tuple[int, int], seed: int = 0) -> Bytes:
    """Write a random photograph of ``size`` (height, width) and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(image).save(path)
    return image


def build(
    reader: Reader, root: Path, split: str, places: Mapping[str, tuple[str, str]], meaning: Mapping[int, int],
    *, palette: bool = False,
) -> Tree:  # fmt: skip
    """Write image and label of each sample at its two ``places``, every id of ``meaning`` in every label."""
    stored = np.array(list(meaning), np.uint8)
    lut = np.array([meaning.get(i, 255) for i in range(256)], np.uint8)
    labels = {}
    for number, (key, (image, label)) in enumerate(places.items()):
        size = (11 + 2 * number, 23 + 4 * number)
        ids = np.random.default_rng(number).permutation(np.resize(stored, size[0] * size[1])).reshape(size)
        write_image(root / image, size, number)
        write_label(root / label, ids, palette=palette)
        labels[key] = lut[ids]
    return Tree(reader, root, split, labels)


def gta5_tree(root: Path) -> Tree:
    keys = ("00003", "00001", "24966")
    places = {key: (f"images/{key}.png", f"labels/{key}.png") for key in keys}
    for key in keys:  # what other tools leave behind
        write_label(root / f"labels/{key}_labelTrainIds.png", np.full((5, 5), 99, np.uint8))
    (root / "sample_class_stats.json").write_text("[]")
    return build(gta5.READER, root, "train", places, {**LABEL_IDS, 34: 255}, palette=True)


def cityscapes_tree(root: Path, suffix: str = "labelIds", images: str = "leftImg8bit") -> Tree:
    stems = ("frankfurt/frankfurt_000001_000019", "munster/munster_000000_000019")
    places = {s: (f"{images}/val/{s}_leftImg8bit.png", f"gtFine/val/{s}_gtFine_{suffix}.png") for s in stems}
    for stem in stems:
        beside = root / f"gtFine/val/{stem}_gtFine_"
        write_image(Path(f"{beside}color.png"), (5, 5))
        Path(f"{beside}polygons.json").write_text("{}")
        if suffix == "labelIds":
            write_label(Path(f"{beside}labelTrainIds.png"), np.full((5, 5), 99, np.uint8))
    meaning = LABEL_IDS if suffix == "labelIds" else TRAIN_IDS
    return build(cityscapes.READER, root, "val", places, meaning)


def bdd100k_tree(root: Path, top: str, images: str, labels: str, suffix: str) -> Tree:
    keys = ("7d2f7975-e0c1c5a7", "b1c66a42-6f7d68ca")
    places = {k: (f"{top}{images}/val/{k}.jpg", f"{top}{labels}/val/{k}{suffix}.png") for k in keys}
    write_image(root / f"{top}labels/sem_seg/colormaps/val/{keys[0]}.png", (5, 5))
    return build(bdd100k.READER, root, "val", places, TRAIN_IDS)


def mapillary_tree(root: Path, labels: str, config: str, names: Sequence[str]) -> Tree:
    entries = [{"name": name.lower(), "readable": name, "color": [0, 0, 0], "evaluate": True} for name in names]
    root.mkdir(parents=True, exist_ok=True)
    (root / config).write_text(json.dumps({"labels": entries, "version": 0}))
    keys = ("-3vUKSU8ZVVaHgT9F2lbAw", "_MLPoKz1EYDFXURsqfl0ZQ", "aQ9zU4fbQ0W1p0kQpB5Ckw")
    places = {key: (f"validation/images/{key}.jpg", f"validation/{labels}/{key}.png") for key in keys}
    # Lights are one class in v1.2 and six in v2.0.
    meaning = {names.index(name): train for name, train in VISTAS.items() if name in names}
    meaning |= {index: 6 for index, name in enumerate(names) if name.startswith("Traffic Light")}
    return build(mapillary.READER, root, "val", places, meaning, palette=True)


def vistas2_tree(root: Path) -> Tree:
    """Both label sets of the second release: v1.2 is to be read."""
    mapillary_tree(root, "v2.0/labels", "config_v2.0.json", VISTAS_2)
    return mapillary_tree(root, "v1.2/labels", "config_v1.2.json", VISTAS_1)


def acdc_tree(root: Path, suffix: str = "labelIds") -> Tree:
    keys = [f"{c}/GOPR{n}/GOPR{n}_frame_000{n}" for n, c in enumerate(acdc.CONDITIONS, 475)]
    places = {}
    for key in keys:
        condition, rest = key.split("/", 1)
        places[key] = (
            f"rgb_anon/{condition}/val/{rest}_rgb_anon.png", f"gt/{condition}/val/{rest}_gt_{suffix}.png"
        )  # fmt: skip
        write_image(root / f"rgb_anon/{condition}/val_ref/{rest}_rgb_ref_anon.png", (5, 5))
        write_image(root / f"gt/{condition}/val/{rest}_gt_labelColor.png", (5, 5))
    return build(acdc.READER, root, "val", places, LABEL_IDS if suffix == "labelIds" else TRAIN_IDS)


CAMVID_FRAMES = {
    "0006R0_f00930": "train", "0001TP_008520": "train", "0016E5_07920": "train", "0016E5_08190": "train",
    "0016E5_07959": "val", "0016E5_08159": "val", "0001TP_008550": "test", "Seq05VD_f00000": "test",
}  # fmt: skip


def segnet_tree(root: Path) -> Tree:
    places = {key: (f"{part}/{key}.png", f"{part}annot/{key}.png") for key, part in CAMVID_FRAMES.items()}
    (root / "train.txt").parent.mkdir(parents=True, exist_ok=True)
    (root / "train.txt").write_text("/SegNet/CamVid/train/0006R0_f00930.png")
    return build(camvid.READER, root, "*", places, {**{i: i for i in range(11)}, 11: 255})


def painted_tree(root: Path) -> Tree:
    colors, trains = np.array(list(PAINTED), np.uint8), np.array(list(PAINTED.values()), np.uint8)
    labels = {}
    for number, key in enumerate(CAMVID_FRAMES):
        size = (9 + number, 15 + 2 * number)
        which = np.random.default_rng(number).permutation(np.resize(np.arange(len(trains)), size[0] * size[1]))
        write_image(root / f"701_StillsRaw_full/{key}.png", size, number)
        path = root / f"LabeledApproved_full/{key}_L.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(colors[which].reshape(*size, 3)).save(path)
        labels[key] = trains[which].reshape(size)
    return Tree(camvid.READER, root, "*", labels)


TREES: dict[str, Callable[[Path], Tree]] = {
    "gta5": gta5_tree,
    "cityscapes": cityscapes_tree,
    "cityscapes-train-ids": lambda root: cityscapes_tree(root, "labelTrainIds"),
    "cityscapes-zip-folder": lambda root: cityscapes_tree(root, images="leftImg8bit_trainvaltest/leftImg8bit"),
    "bdd100k": lambda root: bdd100k_tree(root, "bdd100k/", "images/10k", "labels/sem_seg/masks", ""),
    "bdd100k-bare": lambda root: bdd100k_tree(root, "", "images/10k", "labels/sem_seg/masks", ""),
    "bdd100k-2018": lambda root: bdd100k_tree(root, "bdd100k/", "seg/images", "seg/labels", "_train_id"),
    "bdd100k-2018-bare": lambda root: bdd100k_tree(root, "", "seg/images", "seg/labels", "_train_id"),
    "mapillary": lambda root: mapillary_tree(root, "labels", "config.json", VISTAS_1),
    "mapillary-2": vistas2_tree,
    "mapillary-2-only": lambda root: mapillary_tree(root, "v2.0/labels", "config_v2.0.json", VISTAS_2),
    "acdc": acdc_tree,
    "acdc-train-ids": lambda root: acdc_tree(root, "labelTrainIds"),
    "camvid-segnet": segnet_tree,
    "camvid-official": painted_tree,
}
