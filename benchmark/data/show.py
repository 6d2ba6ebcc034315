"""Contact sheets: images of a dataset beside their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmark.data.labels import Color, colorize
from benchmark.data.samples import Sample, SampleReader

MARGIN, TITLE = 6, 18
PAPER, INK = (255, 255, 255), (30, 30, 30)


@dataclass(frozen=True)
class Row:
    """One row of a sheet: the domain's title, reader, samples to choose from, classes and colours."""

    title: str
    reader: SampleReader
    samples: Sequence[Sample]
    classes: tuple[str, ...]
    colors: tuple[Color, ...]


def contact_sheet(rows: Sequence[Row], *, columns: int = 4, height: int = 128) -> Image.Image:
    """Return a sheet of images beside their coloured labels, one titled row per domain, class colours at the bottom.

    Each row shows ``columns`` samples spread evenly over its domain. Every picture is scaled to fit into ``height``
    pixels and the width of the row's first picture. Ignored pixels are black.

    Raises:
        UserError: a file is bad; see ``Reader.read``.
    """
    strips = [_strip(row, columns, height) for row in rows]
    legends = list({row.classes: row.colors for row in rows}.items())
    width = max(strip.width for strip in strips)
    keys = [_legend(names, colors, width) for names, colors in legends]
    sheet = Image.new("RGB", (width, sum(part.height for part in [*strips, *keys])), PAPER)
    top = 0
    for part in [*strips, *keys]:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Return at most ``count`` samples, evenly spaced from first to last."""
    places = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)
    return [samples[place] for place in places]


def _strip(row: Row, columns: int, height: int) -> Image.Image:
    cells = [_cell(row, sample) for sample in spread(row.samples, columns)]
    first = cells[0][0]
    size = (round(first.width * height / first.height), height)
    strip = Image.new("RGB", (MARGIN + columns * 2 * (size[0] + MARGIN), TITLE + height + MARGIN), PAPER)
    ImageDraw.Draw(strip).text((MARGIN, 1), f"{row.title}: {len(row.samples)} frames", INK, _font())
    for place, picture in enumerate(picture for cell in cells for picture in cell):
        # Nearest-neighbour for labels, so that no colours are mixed; images are averaged.
        how = Image.Resampling.NEAREST if place % 2 else Image.Resampling.BOX
        scale = min(size[0] / picture.width, size[1] / picture.height)
        fitted = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
        strip.paste(picture.resize(fitted, how), (MARGIN + place * (size[0] + MARGIN), TITLE))
    return strip


def _cell(row: Row, sample: Sample) -> tuple[Image.Image, Image.Image]:
    image, label = row.reader.read(sample)
    return Image.fromarray(image), Image.fromarray(colorize(label, row.colors))


def _legend(names: Sequence[str], colors: Sequence[Color], width: int) -> Image.Image:
    each = 14 + 12 + int(max(_font().getlength(name) for name in names))
    across = max((width - MARGIN) // each, 1)
    key = Image.new("RGB", (width, MARGIN + TITLE * -(-len(names) // across)), PAPER)
    draw = ImageDraw.Draw(key)
    for place, (name, color) in enumerate(zip(names, colors, strict=True)):
        left, top = MARGIN + place % across * each, place // across * TITLE
        draw.rectangle((left, top + 3, left + 10, top + 13), color)
        draw.text((left + 14, top + 1), name, INK, _font())
    return key


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(12)
