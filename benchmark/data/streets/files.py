"""Encode a frame as image and label files in the formats of each dataset."""

from __future__ import annotations

from functools import cache
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmark.data.labels import lut

from . import materials as m
from .formats import facts
from .frame import Frame

JPEG_QUALITY = {"bdd100k": 95, "mapillary": 92}


def encode(dataset: str, frame: Frame) -> tuple[bytes, bytes]:
    """Return the bytes of the image file and of the label file of a frame, in the formats of ``dataset``."""
    bgr = frame.image[..., ::-1]
    if dataset in JPEG_QUALITY:
        image = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY[dataset]])[1]
    else:
        image = _png(bgr)
    return image.tobytes(), _label(dataset, frame)


def _label(dataset: str, frame: Frame) -> bytes:
    if dataset == "gta5":
        return _palette_png(frame.label, facts()["gta5_palette"]["colors"])
    if dataset == "mapillary":
        return _palette_png(mapillary_label(frame), [color for _, color in facts()["mapillary_v1.2"]["labels"]])
    if dataset == "bdd100k":
        return _png(lut("cityscapes_label_ids")[frame.label]).tobytes()
    return _png(frame.label).tobytes()


def mapillary_label(frame: Frame) -> NDArray[np.uint8]:
    """Return the label as class indices of Vistas v1.2, which has a separate class for road markings."""
    table, marking = _vistas()
    label = table[frame.label]
    label[(frame.material == m.PAINT) & (frame.label == m.ROAD)] = marking
    return label


@cache
def _vistas() -> tuple[NDArray[np.uint8], int]:
    vistas = facts()["mapillary_v1.2"]
    index = {name: position for position, (name, _) in enumerate(vistas["labels"])}
    table = np.full(256, index["Unlabeled"], np.uint8)
    for label, name in vistas["of_cityscapes_label_id"].items():
        table[int(label)] = index[name]
    return table, index["Lane Marking - General"]


def _png(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    encoded: NDArray[np.uint8] = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
    return encoded


def _palette_png(label: NDArray[np.uint8], colors: list[list[int]]) -> bytes:
    picture = Image.fromarray(label)
    picture.putpalette([value for color in colors for value in color])
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
