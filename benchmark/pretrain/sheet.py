"""Contact sheet of the rendered looks, for the model card."""

from __future__ import annotations

from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from benchmark.data.streets import render

# Caption of each row, by domain; the foundation model's own domain comes last.
LOOKS = {
    "game": "game (source)", "overcast": "overcast", "dashcam": "dashcam", "worldwide": "worldwide", "fog": "fog",
    "night": "night", "rain": "rain", "snow": "snow", "world": "world (pre-training)",
}  # fmt: skip
SIZE = (80, 160)
COLUMNS = 5
FIRST = 700_000_000  # first seed; no protocol and no probe uses it
COLOURS = 256  # of the PNG, which would be three times as large in true colour


def contact_sheet() -> bytes:
    """Return a PNG with a row of images for each look."""
    rows = []
    for domain, caption in LOOKS.items():
        frames = [render(domain, FIRST + k, size=(2 * SIZE[0], 2 * SIZE[1])).image for k in range(COLUMNS)]
        small = [cv2.resize(frame, SIZE[::-1], interpolation=cv2.INTER_AREA) for frame in frames]
        row = np.ascontiguousarray(np.concatenate(small, axis=1))
        for colour, wide in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(row, caption, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, wide, cv2.LINE_AA)
        rows.append(row)
    buffer = BytesIO()
    Image.fromarray(np.concatenate(rows)).quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE).save(
        buffer, "PNG", optimize=True
    )
    return buffer.getvalue()
