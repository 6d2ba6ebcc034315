"""The model of a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.api.reading import Place
from benchmark.artifacts.restore import protocol_of, restore
from benchmark.common.errors import UserError
from benchmark.data.decoding import read_image
from benchmark.data.loader import planes
from benchmark.models.segmenter import Segmenter
from benchmark.protocol import Protocol
from benchmark.records import Record, find

Bytes = NDArray[np.uint8]
Image = Bytes | Place
"""RGB, uint8 (H, W, 3), or a PNG or JPEG file."""


@dataclass(frozen=True)
class Model:
    """A trained segmentation model, from :func:`load`.

    Attributes:
        record: of its run.
        protocol: of its run.
        segmenter: backbone and decoder, in eval mode: a ``torch.nn.Module``.
    """

    record: Record
    protocol: Protocol
    segmenter: Segmenter

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by their ids in predictions."""
        return self.record.classes

    @property
    def colors(self) -> Bytes:
        """The colours of the classes, RGB, uint8 (C, 3): ``model.colors[ids]`` paints a prediction."""
        return np.array([each.color for each in self.protocol.label_set().classes], np.uint8)

    def predict(self, image: Image) -> Bytes:
        """Return the predicted class ids, uint8 (H, W), of an image at its own size.

        The model sees the whole image or sliding windows, as in the evaluation of its run.

        Raises:
            UserError: an unreadable file; an array that is not uint8 (H, W, 3).
        """
        pixels = image if isinstance(image, np.ndarray) else read_image(Path(image))
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise UserError(
                f"an image must be RGB, uint8 (H, W, 3) with values in 0..255; got {pixels.dtype} {pixels.shape}"
            )
        spec, device = self.protocol.evaluation, self.segmenter.mean.device
        scores = self.segmenter.predict(
            planes(pixels)[None].to(device), mode=spec.mode, crop=spec.crop or 0, stride=spec.stride or 0
        )
        return scores[0].argmax(0).to(torch.uint8).cpu().numpy()


def load(
    run: Record | Place, records: Place = "runs", *, weights: Place | None = None, device: str | None = None
) -> Model:
    """Return the model of a finished run.

    Args:
        run: a record, its file, its name, or a unique part of its name (``lora/seed0``).
        records: folder of the records, if ``run`` is a name.
        weights: file with the backbone's pre-trained weights, if the run loaded them from a file.
        device: by default, the GPU if there is one.

    Raises:
        UserError: no such run, or several; no weight files, or some that do not match the record.
    """
    if not isinstance(run, Record):
        run = find(str(run), Path(records))
    segmenter = restore(run, None if weights is None else Path(weights))
    segmenter.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Model(run, protocol_of(run), segmenter)
