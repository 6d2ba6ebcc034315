"""Protocol files: validation in one line, variants that cannot drop a field, fingerprints that tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark import protocol
from benchmark.errors import UserError

STREETS = yaml.safe_load((protocol.FOLDER / "streets.yaml").read_text(encoding="utf-8"))


def written(folder: Path, changes: dict[str, Any]) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(protocol.merged(STREETS, changes)), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", protocol.available())
def test_every_protocol_and_variant_is_valid(name: str) -> None:
    content = yaml.safe_load((protocol.FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    for variant in (None, *content.get("variants", {})):
        assert protocol.load(name, variant).name == (f"{name}@{variant}" if variant else name)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"itterations": 3}, "unknown field itterations: did you mean 'iterations'?"),
        ({"decoder": {"chanels": 3}}, "unknown field decoder.chanels: did you mean 'channels'?"),
        ({"targets": {"bdd100k": {"spilt": "x"}}}, "unknown field targets.bdd100k.spilt: did you mean 'split'?"),
        ({"batch": -1}, "batch: Input should be greater than 0 (got -1)"),
        ({"augmentation": {"crop": "big"}}, "augmentation.crop: Input should be a valid integer"),
        ({"augmentation": {"short_edge": [9, 3]}}, "short_edge must be [smallest, largest]"),
        ({"decoder": {"warmup": 10**6}}, "decoder.warmup must leave iterations for the method"),
        ({"evaluation": {"mode": "slide"}}, "mode slide needs crop and stride"),
        ({"evaluation": {"mode": "slide", "crop": 8, "stride": 9}}, "stride at most crop"),
        ({"targets": None}, "targets: Input should be a valid dictionary"),
    ],
)
def test_a_bad_field_is_named_in_one_line(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        protocol.load(written(tmp_path, changes))
    assert str(caught.value).startswith("mine.yaml: ")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in STREETS.items() if key != "batch"}), "utf-8")
    with pytest.raises(UserError, match="field batch is missing"):
        protocol.load(str(path))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: [1", b"- 1\n- 2\n", b""])
def test_what_is_no_mapping_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"mine\.yaml"):
        protocol.load(str(path))


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'streets'"):
        protocol.load("street")
    with pytest.raises(UserError, match="did you mean 'quick'"):
        protocol.load("streets@quik")


def test_a_variant_leaves_a_target_out_by_null() -> None:
    tune = protocol.load("streets@tune")
    assert set(tune.targets) == {"held-out"}
    assert tune.targets["held-out"].dataset == tune.source.dataset, "the search must not see a target domain"
    assert tune.targets["held-out"].split not in (tune.source.split, tune.validation.split)


def test_methods_settings_are_no_part_of_the_fingerprint(tmp_path: Path) -> None:
    plain, other = protocol.load(written(tmp_path, {})), written(tmp_path, {"searched": {"lora": {"lr": 0.5}}})
    assert protocol.load(other).fingerprint() == plain.fingerprint()


def test_a_variant_states_differences_and_drops_nothing() -> None:
    whole, quick = protocol.load("streets").model_dump(), protocol.load("streets@quick").model_dump()
    assert quick["decoder"]["lr"] == whole["decoder"]["lr"]
    assert quick["iterations"] < whole["iterations"]
    assert list(quick["targets"]) == list(whole["targets"])


def test_fingerprint_moves_with_conditions_and_not_with_methods_settings(tmp_path: Path) -> None:
    base = protocol.load(written(tmp_path, {})).fingerprint()
    assert protocol.load(written(tmp_path, {"decoder": {"lr": 0.002}})).fingerprint() != base
    assert protocol.load(written(tmp_path, {"targets": {"bdd100k": {"limit": 7}}})).fingerprint() != base
    assert protocol.load(written(tmp_path, {"settings": {"lora": {"lr": 0.5}}})).fingerprint() == base
    assert protocol.load(written(tmp_path, {"title": "other words"})).fingerprint() == base
