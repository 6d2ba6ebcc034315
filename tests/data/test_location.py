"""Where datasets are: photographs below the data root, rendered ones there or in the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from benchmark import protocol
from benchmark.common.errors import UserError
from benchmark.data import location, streets
from benchmark.data.domains import Domain
from benchmark.plan import needs
from tests.data.trees import TREES

GAME, CITY = {"dataset": "streets", "split": "game/val"}, {"dataset": "cityscapes", "split": "val"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(location.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache" / f"streets-{streets.VERSION}"


def of(folder: Path, **changes: Mapping[str, Any]) -> protocol.Protocol:
    """Return protocol ``streets`` with other splits."""
    fields = yaml.safe_load((protocol.FOLDER / "streets.yaml").read_text(encoding="utf-8"))
    fields.pop("variants")
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**fields, **changes}), encoding="utf-8")
    return protocol.load(str(path))


def test_rendered_data_are_in_the_cache_unless_the_data_root_has_them(tmp_path: Path, cache: Path) -> None:
    assert location.folder_of("streets", None) == cache / "streets"
    assert location.folder_of("streets-large", tmp_path) == cache / "streets-large"
    (tmp_path / "streets").mkdir()
    assert location.folder_of("streets", tmp_path) == tmp_path / "streets"
    assert location.folder_of("cityscapes", tmp_path) == tmp_path / "cityscapes"
    with pytest.raises(UserError, match="cityscapes: give --data-root"):
        location.folder_of("cityscapes", None)
    with pytest.raises(UserError, match="did you mean 'streets'"):
        location.folder_of("street", tmp_path)


def test_a_protocol_may_use_photographs_and_rendered_data(tmp_path: Path, cache: Path) -> None:
    mixed = of(tmp_path, targets={"city": CITY, "game": GAME})
    with pytest.raises(UserError, match=r"needs --data-root: a folder that contains cityscapes/, each") as raised:
        location.place_for(mixed, None)
    assert "data check --protocol FILE.yaml --data-root DIR" in str(raised.value)
    place = location.place_for(mixed, tmp_path)
    with pytest.raises(UserError, match=r"no folder cityscapes/;"):
        location.require(mixed, place)
    tree = TREES["cityscapes"](tmp_path / "cityscapes")
    location.require(mixed, place)
    streets.prepare(cache, [replace(streets.find_part("streets", "game/val"), count=2)])
    found = [Domain.find(mixed.targets[name], place) for name in ("city", "game")]
    assert [sample.id for sample in found[0].samples] == sorted(tree.labels)
    assert [sample.image for sample in found[1].samples] == [
        cache / f"streets/game/val/images/0000{k}.png" for k in range(2)
    ]
    planned = {each.part: each for each in needs.frames(mixed, place)}
    assert (planned["city"].here, planned["source"].here) == (True, False)
    assert planned["source"].text == "rendered by the first run"
    assert planned["source"].count == 600


@pytest.mark.parametrize(
    ("name", "expected"),
    [("streets", "streets"), ("streets@quick+crop=256", "streets@quick"), ("mine@quick", "FILE.yaml@quick")],
)
def test_a_suggested_command_names_a_shipped_protocol_or_a_file(name: str, expected: str) -> None:
    assert protocol.argument(protocol.load("streets").model_copy(update={"name": name})) == expected


def test_a_protocol_names_the_parts_that_it_needs(tmp_path: Path) -> None:
    def paths(name: str, place: Path | None = None) -> set[str]:
        return {part.path for part in location.needed(protocol.load(name), place)}

    looks = ("overcast", "dashcam", "worldwide")
    assert paths("streets") == {f"streets/{part}" for part in ("game/train", "game/val", *(f"{x}/val" for x in looks))}
    assert paths("streets@tune") == {f"streets/game/{part}" for part in ("train", "val", "test")}
    assert paths("camvid", tmp_path) == set()
    (tmp_path / "streets").mkdir()
    assert paths("streets", tmp_path) == set(), "the user's folder is left unchanged"


def test_only_these_are_rendered(tmp_path: Path, cache: Path) -> None:
    snow = {"dataset": "streets", "split": "snow/val"}
    fixed = of(tmp_path, source=snow, validation=snow, targets={"snow": {**snow, "limit": 3}})
    assert location.data_root_for(fixed, None, Console(quiet=True)) is None
    assert [path.relative_to(cache).as_posix() for path in cache.glob("*/*/*")] == ["streets/snow/val"]
    assert len(Domain.find(fixed.validation, None).samples) == 60


def test_an_unknown_look_is_named_with_its_field(tmp_path: Path) -> None:
    wrong = of(tmp_path, targets={"foggy": {"dataset": "streets", "split": "fogg/val"}})
    with pytest.raises(UserError, match=r"protocol mine: foggy: streets: no split 'fogg/val'; did you mean 'fog/val'"):
        location.place_for(wrong, None)
