"""Fixtures: records of two protocols, their site, and a cache for resamples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark import protocol, records
from benchmark.leaderboard import site
from benchmark.records import read_all
from tests.records.made import FIELDS, failed, stored
from tests.tables.made import kept

HOSTILE = "<script>window.taken = 1</script><img src=http://127.0.0.1/x onerror='window.taken = 2'>"
RENDERED: dict[str, Any] = FIELDS | {
    "name": "own",
    "targets": {
        "cityscapes": {"dataset": "streets", "split": "overcast/test"},
        "bdd100k": {"dataset": "bdd100k", "split": "val"},
        "mapillary": {"dataset": "mapillary", "split": "val"},
    },
}
"""A protocol with a rendered domain under the name of a real data set."""
MACHINE = {"system": "Linux x86_64", "processor": "AMD EPYC", "cores": 2, "accelerator": "NVIDIA H200"}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Point the cache at a folder of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DGSS_BENCHMARK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of an own protocol, one with a hostile label, and of a protocol with published figures."""
    folder = tmp_path_factory.mktemp("records")
    own: dict[str, Any] = {"protocol": "own", "protocol_fields": RENDERED, "machine": MACHINE}
    for method, accuracy in (("freeze", 0.6), ("lora", 0.9), ("bitfit", 0.6), ("fim", 0.7)):
        for seed in (0, 1, 2):
            label = {"label": HOSTILE} if method == "bitfit" else {}
            stored(folder, method, seed, accuracy, **own | label)
    stored(folder, "vpt", 0, 0.7, **own)
    records.write(failed("vpt", 1, error="ce is nan", **own), {}, {}, folder)
    kept(folder, "gtav-to-cbm@rein-test", "dinov2-l", "rein", label="Rein")
    return folder


@pytest.fixture(scope="module")
def files(root: Path) -> dict[str, bytes]:
    """The files of their site."""
    assert protocol.shipped("own") is None
    return site.files(read_all(root))
