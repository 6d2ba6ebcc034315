"""Rendering time: geometry and shading, shading alone, and a JPEG encoding for comparison."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import cv2
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmark.data import streets


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    yield
    cv2.setNumThreads(threads)


@pytest.mark.parametrize("domain", ["game", "night", "world"])
def test_render(benchmark: BenchmarkFixture, domain: str) -> None:
    seeds = count()
    frame = benchmark(lambda: streets.render(domain, next(seeds)))
    assert frame.image.std() > 5


def test_restyle(benchmark: BenchmarkFixture) -> None:
    frame, styles = streets.render("world", 0), count(1)
    other = benchmark(lambda: streets.restyle(frame, "world", next(styles)))
    assert (other.image != frame.image).any()


def test_jpeg_of_the_same_size(benchmark: BenchmarkFixture) -> None:
    image = streets.render("game", 0).image
    coded = benchmark(lambda: cv2.imencode(".jpg", image)[1])
    assert np.abs(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), int) - image).mean() < 8
