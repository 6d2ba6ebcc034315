"""Where each reader's dataset has its files: what is drawn in a temporary folder to read it.

A reader of this project has at least one layout; those of other packages have none and no case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmark.data.labels import FACTS


@dataclass(frozen=True)
class Layout:
    """The files of a few frames.

    Attributes:
        split: to read.
        images, labels: paths with ``{}`` for the frame, or ``{0}`` and ``{1}`` for its parts before and after a slash.
        frames: the frames.
        ids: values in label files; for pictures, the name of a table of colours in ``labels.json``.
        kind: ``grey``, ``palette``, ``shrunk`` (4 bits) or ``red`` (16 bits, the class in the first channel); pictures
            have none.
        beside: further files, by path: text, or None for a label image that must not be read.
        mapping: of labels, if not the default.
    """

    split: str
    images: str
    labels: str
    frames: Sequence[str]
    ids: Sequence[int] | str
    kind: str = "grey"
    beside: Mapping[str, str | None] = field(default_factory=dict)
    mapping: str | None = None


LABEL_IDS, TRAIN_IDS = range(34), (*range(19), 255)
CITY = ("bonn/bonn_000001_000019", "ulm/ulm_000000_000019")
NIGHT = ("GOPR0356/GOPR0356_frame_000321", "GOPR0356/GOPR0356_frame_000324")
CAMVID = ("0006R0_f00930", "0001TP_008520", "0001TP_008550", "0016E5_07958", "0016E5_07959", "0016E5_08159",
          "0016E5_08160", "Seq05VD_f00000")  # fmt: skip
VISTAS = {name: list(FACTS[name]["train_ids"]) for name in ("mapillary_names", "mapillary_names_hrda")}


def _config(table: str) -> str:
    return json.dumps({"labels": [{"readable": name} for name in VISTAS[table]]})


def _foggy(encoding: str, ids: Sequence[int]) -> Layout:
    frames = ("GOPR0120/frame_000201", "GOPR0119/frame_000101")
    lines = {
        "testv2": "".join(f"RGB/{frame}.png\n" for frame in frames),
        "testv1": "/RGB/GOPR0122/frame_000001.png\r\n",
    }
    listed = {f"lists_file_names/RGB_{name}_filenames.txt": text for name, text in lines.items()}
    others = dict.fromkeys(("RGB/GOPR0122/frame_000001.png", f"{encoding}/GOPR0122/frame_000001.png"))
    return Layout("testv2", "RGB/{}.png", encoding + "/{}.png", frames, ids, beside={**listed, **others})


LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "acdc": (
        Layout("val", "rgb_anon/{0}/val/{1}_rgb_anon.png", "gt/{0}/val/{1}_gt_labelIds.png",
               ("fog/a/1", "night/a/2", "rain/b/3", "snow/c/4"), LABEL_IDS),
        Layout("train:rain", "rgb_anon/rain/train/{}_rgb_anon.png", "gt/rain/train/{}_gt_labelTrainIds.png",
               ("a/1", "b/2"), TRAIN_IDS),
        Layout("val", "rgb_anon/val/{}_rgb_anon.png", "gt/val/{}_gt_labelTrainIds.png", ("1", "2"), TRAIN_IDS),
    ),
    "bdd100k": (
        Layout("val", "bdd100k/images/10k/val/{}.jpg", "bdd100k/labels/sem_seg/masks/val/{}.png",
               ("7d2f7975-e0c1", "b1c66a42-6f7d"), TRAIN_IDS),
        Layout("train", "seg/images/train/{}.jpg", "seg/labels/train/{}_train_id.png", ("7d2f", "b1c6"), range(16),
               "shrunk"),
    ),
    "camvid": (
        *(Layout(part, "701_StillsRaw_full/{}.png", "LabeledApproved_full/{}_L.png", CAMVID, "camvid_colors")
          for part in ("train", "val", "test", "*:0001TP")),
        Layout("val:0016E5", "val/{}.png", "valannot/{}.png", CAMVID, range(12)),
    ),
    "cityscapes": (
        Layout("val", "leftImg8bit/val/{}_leftImg8bit.png", "gtFine/val/{}_gtFine_labelIds.png", CITY, LABEL_IDS,
               beside={f"gtFine/val/{CITY[0]}_gtFine_labelTrainIds.png": None}),
        Layout("train", "leftImg8bit_trainvaltest/leftImg8bit/train/{}_leftImg8bit.png",
               "gtFine_trainvaltest/gtFine/train/{}_gtFine_labelTrainIds.png", CITY, TRAIN_IDS),
    ),
    "dark-zurich": (
        Layout("val", "rgb_anon/val/night/{}_rgb_anon.png", "gt/val/night/{}_gt_labelTrainIds.png", NIGHT, TRAIN_IDS),
        Layout("val", "Dark_Zurich_val_anon/rgb_anon/val/night/{}_rgb_anon.png",
               "Dark_Zurich_val_anon/gt/val/night/{}_gt_labelIds.png", NIGHT, LABEL_IDS),
    ),
    "foggy-driving": (
        Layout("test", "Foggy_Driving/leftImg8bit/test/{}_leftImg8bit.png",
               "Foggy_Driving/gtFine/test/{}_gtFine_labelIds.png", ("public/a", "pedestrian/b"), LABEL_IDS),
        Layout("test_extra", "leftImg8bit/test_extra/{}_leftImg8bit.png",
               "gtCoarse/test_extra/{}_gtCoarse_labelTrainIds.png", ("web/a", "pedestrian/b"), TRAIN_IDS),
    ),
    "foggy-zurich": (_foggy("gt_labelIds", LABEL_IDS), _foggy("gt_labelTrainIds", TRAIN_IDS)),
    "gta5": (
        Layout("train", "images/{}.png", "labels/{}.png", ("00001", "00003", "15188", "17705", "20801"), range(35),
               "palette", {"labels/00001_labelTrainIds.png": None}),
        Layout("val", "images/{}.png", "labels/{}.png", ("00001", "00003", "24966"), range(35), "palette",
               {"splits.json": '{"train": ["00001"], "val": ["00003", "24966"]}'}),
    ),
    "idd-lite": (
        Layout("val", "leftImg8bit/val/{}_image.jpg", "gtFine/val/{}_label.png", ("3/022239", "48/000217"),
               (*range(7), 255), beside={"gtFine/val/3/022239_inst_label.png": None}),
        Layout("train", "idd20k_lite/leftImg8bit/train/{}_image.jpg", "idd20k_lite/gtFine/train/{}_label.png",
               ("3/022239",), range(7), "shrunk"),
    ),
    "labelmefacade": (
        Layout("test", "images/{}.jpg", "labels/{}.png", ("boston_1", "madrid_2", "other"), "labelmefacade_colors",
               beside={"test.txt": "images/boston_1.jpg\nimages/madrid_2.jpg\n"}),
        Layout("all", "images/{}.jpg", "labels/{}.png", ("boston_1", "madrid_2"), "labelmefacade_colors"),
    ),
    "mapillary": (
        Layout("val", "validation/images/{}.jpg", "validation/v1.2/labels/{}.png", ("-3vU", "_MLP"),
               range(len(VISTAS["mapillary_names"])), "palette", {"config_v1.2.json": _config("mapillary_names")}),
        Layout("training", "training/images/{}.jpg", "training/labels/{}.png", ("-3vU", "_MLP"),
               range(len(VISTAS["mapillary_names_hrda"])), "palette",
               {"config.json": _config("mapillary_names_hrda"), "training/labels/-3vU_labelTrainIds.png": None},
               "hrda"),
    ),
    "nighttime-driving": (
        Layout("test", "NighttimeDrivingTest/leftImg8bit/test/night/{}_leftImg8bit.png",
               "NighttimeDrivingTest/gtCoarse_daytime_trainvaltest/test/night/{}_gtCoarse_labelTrainIds.png",
               ("0_frame_0020", "1_frame_0032"), TRAIN_IDS),
    ),
    "streets": (
        Layout("overcast/val", "overcast/val/images/{}.png", "overcast/val/labels/{}.png", ("00000", "00007"),
               TRAIN_IDS),
        Layout("dashcam/val", "dashcam/val/images/{}.jpg", "dashcam/val/labels/{}.png", ("00000",), TRAIN_IDS),
    ),
    "streets-large": (
        Layout("game/test", "game/test/images/{}.png", "game/test/labels/{}.png", ("00000", "00007"), TRAIN_IDS),
    ),
    "synthia": (
        Layout("train", "RAND_CITYSCAPES/RGB/{}.png", "RAND_CITYSCAPES/GT/LABELS/{}.png", ("0000000", "0009399"),
               range(23), "red"),
        Layout("train", "RGB/{}.png", "GT/LABELS/{}.png", ("0000000",), range(23), "red",
               {"GT/LABELS/0000000_labelTrainIds.png": None}),
    ),
    "urbansyn": (
        Layout("train", "rgb/rgb_{}.png", "ss/ss_{}.png", ("0001", "7539"), range(20)),
        Layout("train", "rgb/rgb/rgb_{}.png", "ss/ss/ss_{}.png", ("0001",), range(20)),
    ),
}  # fmt: skip
