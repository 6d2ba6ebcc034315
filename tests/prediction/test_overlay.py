"""Overlays show the classes' colours over the photograph, and a legend of those that occur."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark import labelsets
from benchmark.prediction.output import id_table
from benchmark.prediction.overlay import LARGEST, SMALLEST, STRENGTH, drawn_size, overlay

CITYSCAPES = labelsets.find("cityscapes")


def test_pixels_are_class_colour_and_grey_photograph() -> None:
    image = np.full((300, 600, 3), (200, 100, 50), np.uint8)
    classes = np.zeros((300, 600), np.uint8)
    classes[:, 300:] = 10
    drawn = np.array(overlay(image, classes, CITYSCAPES))
    grey = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    for column, train in ((100, 0), (500, 10)):
        expected = STRENGTH * np.array(CITYSCAPES.colors[train]) + (1 - STRENGTH) * grey
        assert np.abs(drawn[150, column] - expected).max() <= 1
    legend = drawn[300:].reshape(-1, 3).tolist()
    areas = {name: legend.count(list(color)) for name, color in zip(CITYSCAPES.names, CITYSCAPES.colors, strict=True)}
    shown = [name for name, area in areas.items() if area > 50]  # letters have grey edges
    assert shown == ["road", "sky"]


@pytest.mark.parametrize(
    ("shape", "size"),
    [((1, 1), (SMALLEST, SMALLEST)), ((100, 256), (512, 200)), ((600, 900), (900, 600)), ((4096, 2048), (1024, 2048)),
     ((1, 8000), (LARGEST, 1))],
)  # fmt: skip
def test_drawn_sizes_are_viewable(shape: tuple[int, int], size: tuple[int, int]) -> None:
    assert drawn_size(shape) == size
    picture = overlay(np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.uint8), CITYSCAPES)
    assert picture.width >= size[0]
    assert picture.height > size[1]


def test_ids_are_those_of_the_test_servers() -> None:
    """Cityscapes: the label ids of its 19 classes, as published; ACDC: train ids."""
    published = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert id_table("cityscapes", CITYSCAPES)[:19].tolist() == published
    assert id_table("acdc", CITYSCAPES).tolist() == id_table("train", CITYSCAPES).tolist() == list(range(256))
