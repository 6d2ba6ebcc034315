"""Encode a frame as an image file and a label file."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmark.data.labels import lut

from .frame import Frame


def encode(frame: Frame, quality: int | None = None) -> tuple[bytes, bytes]:
    """Return the bytes of a frame's image and of its label, an 8-bit PNG of train ids.

    Args:
        frame: the frame.
        quality: of a JPEG image; None for a PNG image.
    """
    bgr = frame.image[..., ::-1]
    if quality is None:
        image = _png(bgr)
    else:
        image = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    return image, _png(lut("cityscapes_label_ids")[frame.label])


def _png(pixels: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes()
