"""A full disk below the temporary folder, the hub's cache or the records: one line names it and the remedy."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from huggingface_hub import constants

from benchmark.common.errors import UserError
from benchmark.prediction.source import opened
from benchmark.sharing.export import export
from benchmark.sharing.transfer import pull, push
from tests.hub_server import Hub
from tests.sharing.conftest import REPOSITORY

TMPDIR = (
    r"small\S*: cannot be written: No space left on device; free some space or set TMPDIR to a folder on another disk$"
)


def fill(folder: Path, left: int) -> None:
    """Leave only some bytes of the file system of 64 KB; the folder for temporary files takes none."""
    (folder / "filler").write_bytes(bytes((64 << 10) - left))


@pytest.mark.parametrize("left", [0, 4096])
def test_a_full_temporary_folder_stops_a_pull(
    left: int, runs: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export("lora", runs, tmp_path / "folder", decoder=False)
    fill(small, left)
    monkeypatch.setattr(tempfile, "tempdir", str(small))
    with pytest.raises(UserError, match=TMPDIR):
        pull(str(tmp_path / "folder"), tmp_path / "pulled", None)
    assert not list((tmp_path / "pulled").rglob("*.json"))
    assert [path.name for path in small.iterdir()] == ["filler"]


def test_a_temporary_folder_too_small_for_weights_stops_a_prediction(
    runs: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export("lora", runs, tmp_path / "folder", decoder=False)
    monkeypatch.setattr(tempfile, "tempdir", str(small))
    with pytest.raises(UserError, match=TMPDIR), opened(str(tmp_path / "folder"), tmp_path, None):
        pass
    assert not list(small.iterdir())


def test_no_usable_temporary_folder_is_one_line(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export("lora", runs, tmp_path / "folder", decoder=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"no temporary folder can be created: .*; set TMPDIR"):
        pull(str(tmp_path / "folder"), tmp_path / "pulled", None)


def test_a_full_cache_of_the_hub_is_named(
    runs: Path, served: Hub, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push("lora", REPOSITORY, runs, private=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(small))
    with pytest.raises(UserError, match=r"small: cannot be written: No space left on device; .*set HF_HOME"):
        pull(REPOSITORY, tmp_path / "pulled", None)
