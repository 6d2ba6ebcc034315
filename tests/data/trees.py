"""Small datasets in every official layout, with label ids and the expected train ids.

The mappings are written out here by hand, not taken from the package's tables.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmseg.datasets.mapillary import MapillaryDataset_v1, MapillaryDataset_v2
from PIL import Image

from benchmark.data.labels import Bytes
from benchmark.data.readers import (
    acdc,
    bdd100k,
    camvid,
    cityscapes,
    dark_zurich,
    foggy_driving,
    foggy_zurich,
    gta5,
    idd_lite,
    labelmefacade,
    mapillary,
    nighttime_driving,
    streets,
    streets_large,
    synthia,
    urbansyn,
)
from benchmark.data.samples import Reader

Color = tuple[int, int, int]
VISTAS_1: Sequence[str] = MapillaryDataset_v1.METAINFO["classes"]
VISTAS_2: Sequence[str] = MapillaryDataset_v2.METAINFO["classes"]

SCORED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
LABEL_IDS = {i: SCORED.index(i) if i in SCORED else 255 for i in range(34)}
TRAIN_IDS = {**{i: i for i in range(19)}, 255: 255}
# void, sky, building, road, sidewalk, fence, vegetation, pole, car, traffic sign, pedestrian, bicycle, motorcycle,
# parking, road work, traffic light, terrain, rider, truck, bus, train, wall, lane marking
SYNTHIA = dict(enumerate((255, 10, 2, 0, 1, 4, 8, 5, 13, 7, 11, 18, 17, 255, 255, 6, 9, 12, 14, 15, 16, 3, 255)))
URBANSYN = {**{i: i for i in range(19)}, 19: 255}
# Those of CamVid's 32 colours whose class is easy to get wrong, and at least one for each of the 11 classes.
PAINTED: dict[Color, int] = {
    (128, 128, 128): 0, (128, 0, 0): 1, (64, 192, 0): 1, (0, 128, 64): 1, (192, 192, 128): 2, (0, 0, 64): 2,
    (128, 64, 128): 3, (128, 0, 192): 3, (192, 0, 64): 3, (0, 0, 192): 4, (128, 128, 192): 4, (128, 128, 0): 5,
    (192, 192, 0): 5, (192, 128, 128): 6, (0, 64, 64): 6, (64, 64, 128): 7, (64, 0, 128): 8, (192, 128, 192): 8,
    (64, 64, 0): 9, (192, 128, 64): 9, (0, 128, 192): 10, (192, 0, 192): 10, (0, 0, 0): 255,
}  # fmt: skip
FACADES: dict[Color, int] = {
    (128, 0, 0): 0, (128, 128, 0): 0, (0, 0, 128): 0, (128, 0, 128): 1, (128, 128, 128): 2, (128, 64, 0): 3,
    (0, 128, 128): 4, (0, 128, 0): 5, (0, 0, 0): 255,
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
    """A dataset on disk and the train ids that its reader must return."""

    reader: Reader
    root: Path
    split: str
    labels: Mapping[str, Bytes]


def write_label(path: Path, ids: Bytes, *, palette: bool = False) -> None:
    """Write ids as a grey image, or as a palette image whose colours are unrelated to the indices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(ids)
    if palette:
        picture.putpalette([(7 * i + 3) % 256 for i in range(768)])
    picture.save(path)


def write_channels(path: Path, ids: Bytes) -> None:
    """Write ids as the red channel of a 16-bit PNG whose other channels are noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(int(ids.sum())).integers(0, 1 << 16, (*ids.shape, 3)).astype(">u2")
    pixels[..., 0] = ids
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in chunks))


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def write_image(path: Path, size: tuple[int, int], seed: int = 0) -> Bytes:
    """Write a random image of ``size`` (height, width) and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(image).save(path)
    return image


def build(
    reader: Reader, root: Path, split: str, places: Mapping[str, tuple[str, str]], meaning: Mapping[int, int],
    *, palette: bool = False, write: Callable[[Path, Bytes], None] | None = None,
) -> Tree:  # fmt: skip
    """Write an image and a label to the two ``places`` of each sample; every label contains all ids of ``meaning``."""
    stored = np.array(list(meaning), np.uint8)
    lut = np.array([meaning.get(i, 255) for i in range(256)], np.uint8)
    labels = {}
    for number, (key, (image, label)) in enumerate(places.items()):
        size = (11 + 2 * number, 23 + 4 * number)
        ids = np.random.default_rng(number).permutation(np.resize(stored, size[0] * size[1])).reshape(size)
        write_image(root / image, size, number)
        if write is None:
            write_label(root / label, ids, palette=palette)
        else:
            write(root / label, ids)
        labels[key] = lut[ids]
    return Tree(reader, root, split, labels)


def gta5_tree(root: Path, suffix: str = "") -> Tree:
    keys = ("00003", "00001", "24966")
    places = {key: (f"images/{key}.png", f"labels/{key}{suffix}.png") for key in keys}
    for key in keys:  # files added by other tools
        write_label(root / f"labels/{key}_labelTrainIds.png", np.full((5, 5), 99, np.uint8))
    (root / "sample_class_stats.json").write_text("[]")
    return build(gta5.READER, root, "train", places, TRAIN_IDS if suffix else {**LABEL_IDS, 34: 255}, palette=True)


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


def streets_tree(reader: Reader, root: Path, split: str, suffix: str) -> Tree:
    names = {f"{split}/{k:05d}": f"{k:05d}" for k in (0, 1, 7)}
    places = {key: (f"{split}/images/{name}{suffix}", f"{split}/labels/{name}.png") for key, name in names.items()}
    return build(reader, root, split, places, TRAIN_IDS)


def mapillary_tree(root: Path, labels: str, config: str, names: Sequence[str]) -> Tree:
    keys = ("-3vUKSU8ZVVaHgT9F2lbAw", "_MLPoKz1EYDFXURsqfl0ZQ", "aQ9zU4fbQ0W1p0kQpB5Ckw")
    for key in keys:  # files added by other tools
        write_label(root / f"validation/{labels}/{key}_labelTrainIds.png", np.full((5, 5), 99, np.uint8))
    entries = [{"name": name.lower(), "readable": name, "color": [0, 0, 0], "evaluate": True} for name in names]
    (root / config).write_text(json.dumps({"labels": entries, "version": 0}))
    places = {key: (f"validation/images/{key}.jpg", f"validation/{labels}/{key}.png") for key in keys}
    # Traffic lights are one class in v1.2 and six in v2.0.
    meaning = {names.index(name): train for name, train in VISTAS.items() if name in names}
    meaning |= {index: 6 for index, name in enumerate(names) if name.startswith("Traffic Light")}
    return build(mapillary.READER, root, "val", places, meaning, palette=True)


def vistas2_tree(root: Path) -> Tree:
    """Return a tree with both label sets of the second release, of which v1.2 must be read."""
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


def flattened_acdc_tree(root: Path) -> Tree:
    keys = ("GOPR0475_frame_000001", "GP010476_frame_000002")
    places = {key: (f"rgb_anon/val/{key}_rgb_anon.png", f"gt/val/{key}_gt_labelTrainIds.png") for key in keys}
    return build(acdc.READER, root, "val", places, TRAIN_IDS)


def synthia_tree(root: Path, top: str = "RAND_CITYSCAPES/") -> Tree:
    keys = ("0000000", "0000007", "0009399")
    places = {key: (f"{top}RGB/{key}.png", f"{top}GT/LABELS/{key}.png") for key in keys}
    for key in keys:  # files added by other tools, and coloured labels
        write_label(root / f"{top}GT/LABELS/{key}_labelTrainIds.png", np.full((5, 5), 99, np.uint8))
        write_image(root / f"{top}GT/COLOR/{key}.png", (5, 5))
    return build(synthia.READER, root, "train", places, SYNTHIA, write=write_channels)


def urbansyn_tree(root: Path, images: str = "rgb", labels: str = "ss") -> Tree:
    keys = ("0001", "0420", "7539")
    places = {key: (f"{images}/rgb_{key}.png", f"{labels}/ss_{key}.png") for key in keys}
    write_image(root / "ss_color/ss_color_0001.png", (5, 5))
    return build(urbansyn.READER, root, "train", places, URBANSYN)


def foggy_zurich_tree(root: Path, top: str = "Foggy_Zurich/", encoding: str = "gt_labelIds") -> Tree:
    keys = ("GOPR0120/frame_000201", "GOPR0119/frame_000101")
    places = {key: (f"{top}RGB/{key}.png", f"{top}{encoding}/{key}.png") for key in keys}
    for key in keys:
        write_image(root / f"{top}gt_color/{key}.png", (5, 5))
    # A frame in no list, and one in the list of the other split.
    write_image(root / f"{top}RGB/GOPR0119/frame_000999.png", (5, 5))
    for place in ("RGB", encoding):
        write_label(root / f"{top}{place}/GOPR0122/frame_000001.png", np.full((5, 5), 99, np.uint8))
    lists = root / f"{top}lists_file_names"
    lists.mkdir()
    (lists / "RGB_testv2_filenames.txt").write_text("".join(f"RGB/{key}.png\n" for key in keys))
    (lists / "RGB_testv1_filenames.txt").write_text("/RGB/GOPR0122/frame_000001.png\r\n")
    meaning = LABEL_IDS if encoding == "gt_labelIds" else TRAIN_IDS
    return build(foggy_zurich.READER, root, "testv2", places, meaning)


def foggy_driving_tree(root: Path, top: str = "Foggy_Driving/", suffix: str = "labelIds") -> Tree:
    frames = {
        "test/public/public_20161213_083206": "gtFine", "test/pedestrian/pedestrian_20161201_101324": "gtFine",
        "test_extra/web/web_Foggy_Waldinger": "gtCoarse",
        "test_extra/pedestrian/pedestrian_20161201_101632": "gtCoarse",
    }  # fmt: skip
    places = {
        key: (f"{top}leftImg8bit/{key}_leftImg8bit.png", f"{top}{kind}/{key}_{kind}_{suffix}.png")
        for key, kind in frames.items()
    }
    for key, kind in frames.items():
        write_image(root / f"{top}{kind}/{key}_{kind}_color.png", (5, 5))
    meaning = LABEL_IDS if suffix == "labelIds" else TRAIN_IDS
    return build(foggy_driving.READER, root, "all", places, meaning)


def dark_zurich_tree(root: Path, top: str = "", suffix: str = "labelTrainIds") -> Tree:
    keys = ("GOPR0356/GOPR0356_frame_000321", "GOPR0356/GOPR0356_frame_000324")
    places = {
        key: (f"{top}rgb_anon/val/night/{key}_rgb_anon.png", f"{top}gt/val/night/{key}_gt_{suffix}.png") for key in keys
    }
    write_image(root / f"{top}rgb_anon/val_ref/day/GOPR0356_ref/GOPR0356_frame_000321_ref_rgb_anon.png", (5, 5))
    write_image(root / f"{top}rgb_anon/train/night/GOPR0351/GOPR0351_frame_000159_rgb_anon.png", (5, 5))
    write_image(root / f"{top}gt/val/night/{keys[0]}_gt_labelColor.png", (5, 5))
    meaning = LABEL_IDS if suffix == "labelIds" else TRAIN_IDS
    return build(dark_zurich.READER, root, "val", places, meaning)


def nighttime_driving_tree(root: Path, top: str = "NighttimeDrivingTest/", suffix: str = "labelTrainIds") -> Tree:
    keys = ("0_frame_0020", "1_frame_0032")
    gt = f"{top}gtCoarse_daytime_trainvaltest/test/night"
    places = {
        key: (f"{top}leftImg8bit/test/night/{key}_leftImg8bit.png", f"{gt}/{key}_gtCoarse_{suffix}.png") for key in keys
    }
    write_image(root / f"{gt}/{keys[0]}_gtCoarse_color.png", (5, 5))
    meaning = LABEL_IDS if suffix == "labelIds" else TRAIN_IDS
    return build(nighttime_driving.READER, root, "test", places, meaning)


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
    places = {key: (f"701_StillsRaw_full/{key}.png", f"LabeledApproved_full/{key}_L.png") for key in CAMVID_FRAMES}
    return Tree(camvid.READER, root, "*", paint(root, places, PAINTED))


def kaggle_tree(root: Path) -> Tree:
    """Return the official files in other folders than those of SegNet's split, beside a table of the colours."""
    places = {}
    for number, key in enumerate(CAMVID_FRAMES):
        part = camvid.PARTS[number % 3]
        places[key] = (f"{part}/{key}.png", f"{part}_labels/{key}_L.png")
    labels = paint(root, places, PAINTED)
    (root / "class_dict.csv").write_text("name,r,g,b\nAnimal,64,128,64\n")
    test = {key for key, part in CAMVID_FRAMES.items() if part == "test"}
    return Tree(camvid.READER, root, "test", {key: label for key, label in labels.items() if key in test})


def paint(
    root: Path, places: Mapping[str, tuple[str, str]], colors: Mapping[Color, int], alpha: int = 0
) -> dict[str, Bytes]:
    """Write images, and labels as colours (RGBA with ``alpha``); return the train ids."""
    rgb, trains = np.array(list(colors), np.uint8), np.array(list(colors.values()), np.uint8)
    rgb = np.insert(rgb, 3, alpha, axis=1) if alpha else rgb
    labels = {}
    for number, (key, (image, label)) in enumerate(places.items()):
        size = (9 + number, 15 + 2 * number)
        which = np.random.default_rng(number).permutation(np.resize(np.arange(len(trains)), size[0] * size[1]))
        write_image(root / image, size, number)
        (root / label).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb[which].reshape(*size, -1)).save(root / label)
        labels[key] = trains[which].reshape(size)
    return labels


def idd_lite_tree(root: Path, top: str = "") -> Tree:
    keys = ("3/022239", "3/004942", "48/000217")
    places = {k: (f"{top}leftImg8bit/val/{k}_image.jpg", f"{top}gtFine/val/{k}_label.png") for k in keys}
    for key in keys:
        write_label(root / f"{top}gtFine/val/{key}_inst_label.png", np.full((5, 5), 99, np.uint8))
    write_image(root / f"{top}leftImg8bit/test/902/903127_image.jpg", (5, 5))
    return build(idd_lite.READER, root, "val", places, {**{i: i for i in range(7)}, 255: 255})


def labelmefacade_tree(root: Path) -> Tree:
    keys = ("05june05_static_street_boston__p1010736", "madrid_calle__img_1")
    names = (*keys, "in_the_other_split")
    labels = paint(root, {key: (f"images/{key}.jpg", f"labels/{key}.png") for key in names}, FACADES, alpha=255)
    (root / "test.txt").write_text("".join(f"images/{key}.jpg\n" for key in keys))
    return Tree(labelmefacade.READER, root, "test", {key: labels[key] for key in keys})


TREES: dict[str, Callable[[Path], Tree]] = {
    "gta5": gta5_tree,
    "gta5-train-ids": lambda root: gta5_tree(root, "_labelTrainIds"),
    "cityscapes": cityscapes_tree,
    "cityscapes-train-ids": lambda root: cityscapes_tree(root, "labelTrainIds"),
    "cityscapes-zip-folder": lambda root: cityscapes_tree(root, images="leftImg8bit_trainvaltest/leftImg8bit"),
    "bdd100k": lambda root: bdd100k_tree(root, "bdd100k/", "images/10k", "labels/sem_seg/masks", ""),
    "bdd100k-bare": lambda root: bdd100k_tree(root, "", "images/10k", "labels/sem_seg/masks", ""),
    "bdd100k-2018": lambda root: bdd100k_tree(root, "bdd100k/", "seg/images", "seg/labels", "_train_id"),
    "bdd100k-2018-bare": lambda root: bdd100k_tree(root, "", "seg/images", "seg/labels", "_train_id"),
    "bdd100k-2018-labels": lambda root: bdd100k_tree(root, "bdd100k/", "images/10k", "seg/labels", "_train_id"),
    "mapillary": lambda root: mapillary_tree(root, "labels", "config.json", VISTAS_1),
    "mapillary-2": vistas2_tree,
    "mapillary-2-only": lambda root: mapillary_tree(root, "v2.0/labels", "config_v2.0.json", VISTAS_2),
    "mapillary-2-flat": lambda root: mapillary_tree(root, "labels", "config_v2.0.json", VISTAS_2),
    "mapillary-2-renamed": lambda root: mapillary_tree(root, "labels", "config.json", VISTAS_2),
    "acdc": acdc_tree,
    "acdc-train-ids": lambda root: acdc_tree(root, "labelTrainIds"),
    "acdc-flattened": flattened_acdc_tree,
    "synthia": synthia_tree,
    "synthia-bare": lambda root: synthia_tree(root, ""),
    "urbansyn": urbansyn_tree,
    "urbansyn-nested": lambda root: urbansyn_tree(root, "rgb/rgb", "ss/ss"),
    "foggy-zurich": foggy_zurich_tree,
    "foggy-zurich-train-ids": lambda root: foggy_zurich_tree(root, "", "gt_labelTrainIds"),
    "foggy-driving": foggy_driving_tree,
    "foggy-driving-train-ids": lambda root: foggy_driving_tree(root, "", "labelTrainIds"),
    "dark-zurich": dark_zurich_tree,
    "dark-zurich-label-ids": lambda root: dark_zurich_tree(root, "Dark_Zurich_val_anon/", "labelIds"),
    "nighttime-driving": nighttime_driving_tree,
    "nighttime-driving-label-ids": lambda root: nighttime_driving_tree(root, "", "labelIds"),
    "streets": lambda root: streets_tree(streets.READER, root, "overcast/val", ".png"),
    "streets-jpeg": lambda root: streets_tree(streets.READER, root, "dashcam/val", ".jpg"),
    "streets-large": lambda root: streets_tree(streets_large.READER, root, "game/test", ".png"),
    "idd-lite": idd_lite_tree,
    "idd-lite-archive": lambda root: idd_lite_tree(root, "idd20k_lite/"),
    "labelmefacade": labelmefacade_tree,
    "camvid-segnet": segnet_tree,
    "camvid-official": painted_tree,
    "camvid-kaggle": kaggle_tree,
}
