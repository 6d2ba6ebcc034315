"""Records: round trip, and detection of edited, damaged or inconsistent files."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmark import records
from benchmark.cli import listing
from benchmark.common.errors import UserError
from benchmark.records import Record, Score
from benchmark.records.seal import sealed
from tests.records.made import CLASSES, TARGETS, confusion, failed, names, record, stored

FIELDS = [name for name in Record.model_fields if name not in ("schema_version", "digests", "checksum")]
FILLED = {"confusion", "examples", "delta", "decoder", "digests", "checksum"}
Forgery = Callable[[dict[str, Any]], Any]


def test_write_and_read_round_trip(tmp_path: Path) -> None:
    matrices = confusion(0.8, 0)
    made = record(matrices, "lora[rank=4]", 3)
    path = records.write(made, matrices, names(matrices), tmp_path)
    assert path == tmp_path / "streets" / "vit-tiny-streets" / "lora[rank=4]" / "seed3.json"
    found = records.read(path)
    assert found.model_dump(exclude=FILLED) == made.model_dump(exclude=FILLED)
    assert found.path == path
    read, ids = records.confusions(found)
    assert ids == names(matrices)
    assert read.keys() == matrices.keys()
    for domain, each in matrices.items():
        assert read[domain].dtype == np.int32
        np.testing.assert_array_equal(read[domain], each)


def test_writing_the_same_run_again_gives_identical_files(tmp_path: Path) -> None:
    path = stored(tmp_path).path
    assert path is not None
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    assert stored(tmp_path).path == path
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before
    assert sorted(before) == ["seed0.json", "seed0.npz"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(value=JSON)
def test_any_json_value_round_trips(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("records")
    path = records.write(failed(report={"value": value}), {}, {}, root)
    assert records.read(path).report == {"value": value}


def test_a_non_finite_loss_becomes_none() -> None:
    made = record(confusion(0.8, 0), losses=[(1, {"ce": float("nan")}), (2, {"ce": float("inf")}), (3, {"ce": 2.0})])
    assert [row[1]["ce"] for row in made.losses] == [None, None, 2.0]


# -- rejected records ----------------------------------------------------------------------------------


def _changed(value: Any) -> Any:
    """Return another value of the same type, as in a manual edit."""
    if isinstance(value, dict):
        return {**value, "more": 1}
    if isinstance(value, list):
        return [*value, 1]
    return f"{value}x" if isinstance(value, str) else (value or 0) + 1


@pytest.mark.parametrize("field", FIELDS)
def test_an_edit_is_named(tmp_path: Path, field: str) -> None:
    path = stored(tmp_path).path
    assert path is not None
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, field: _changed(fields[field])}))
    with pytest.raises(UserError, match=rf"seed0\.json: {field}: edited") as caught:
        records.read(path, verify=False)
    assert str(path) in str(caught.value)
    assert "--force" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("forgery", "message"),
    [
        (lambda fields: fields.pop("cpu_seconds"), "cpu_seconds: edited"),
        (lambda fields: fields.update(extra=1), "extra: edited"),
        (lambda fields: fields.update(seed=9, average=1.0), "seed, average: edited"),
        (lambda fields: fields.update(checksum="0" * 64), "checksum: edited"),
        (lambda fields: fields.pop("checksum"), "checksum: edited"),
        (lambda fields: fields.pop("digests"), "digests: edited"),
        (lambda fields: fields.update(digests={}), "digests: edited"),
        (lambda fields: fields.pop("schema_version"), "schema_version: missing"),
        (lambda fields: fields.update(schema_version=0), "schema_version: 0, .*1"),
        (lambda fields: fields.update(schema_version=2), "schema_version: 2, .*1"),
    ],
)
def test_edits_of_keys_seal_and_version_are_named(tmp_path: Path, forgery: Forgery, message: str) -> None:
    path = stored(tmp_path).path
    assert path is not None
    fields = json.loads(path.read_text())
    forgery(fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(UserError, match=message):
        records.read(path)


def test_reformatting_is_not_an_edit(tmp_path: Path) -> None:
    path = stored(tmp_path).path
    assert path is not None
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4, sort_keys=True))
    assert records.read(path).method == "lora"


@pytest.mark.parametrize(
    ("forgery", "message"),
    [
        (lambda f: f["source"].update(miou=f["source"]["miou"] + 1e-6), r"source\.miou"),
        (lambda f: f["source"]["iou"].__setitem__(1, 0.5), r"source\.iou of building: 0\.5"),
        (lambda f: f["targets"]["bdd100k"]["iou"].__setitem__(0, None), r"targets\.bdd100k\.iou of road: None"),
        (lambda f: f["targets"]["bdd100k"].update(images=11), r"targets\.bdd100k\.images: 11"),
        (lambda f: f["targets"]["bdd100k"].update(miou=1.5), r"targets\.bdd100k\.miou"),
        (lambda f: f["targets"]["bdd100k"]["iou"].pop(), "bdd100k: .*2 .*3 classes"),
        (lambda f: f.update(average=f["average"] + 1e-6), "average"),
        (lambda f: f.update(classes=["road"]), "source: .*3 .*1 classes"),
        (lambda f: f.update(state="fnished"), "state"),
        (lambda f: f.update(seed="one"), "seed"),
        (lambda f: f.update(seed=-1), "seed"),
        (lambda f: f.update(seed=10**100), "seed"),
        (lambda f: f.update(label="Lo\x1b[2JRA"), "label: has control characters"),
        (lambda f: f.update(label="Lo\nRA"), "label: has control characters"),
        (lambda f: f.update(label="Lo\ud800RA"), "label: "),
        (lambda f: f.update(commit="c\u202e"), "commit: has control characters"),
        (lambda f: f.update(versions={"torch": "2\x1b"}), r"versions\.torch: has control characters"),
        (lambda f: f.update(warnings=["\x9b2J"]), r"warnings\.0: has control characters"),
        (lambda f: f.update(schema_version=True), "schema_version: True"),
        (lambda f: f.update(started="2025-01-01T00:00:00"), "started"),
        (lambda f: f.update(confusion=None), "confusion: not stored"),
        (lambda f: f.update(batches_hash=""), "batches_hash: missing"),
    ],
)
def test_an_inconsistent_record_with_a_valid_checksum_is_rejected(
    tmp_path: Path, forgery: Forgery, message: str
) -> None:
    path = stored(tmp_path).path
    assert path is not None
    fields = json.loads(path.read_text())
    forgery(fields)
    path.write_bytes(sealed(fields))
    with pytest.raises(UserError, match=message) as caught:
        records.read(path)
    assert "seed0" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_consistently_raised_scores_are_rejected_by_the_confusions(tmp_path: Path) -> None:
    path = stored(tmp_path).path
    assert path is not None
    fields = json.loads(path.read_text())
    for score in fields["targets"].values():
        score["miou"] += 0.01
    fields["average"] += 0.01
    path.write_bytes(sealed(fields))
    assert records.read(path, verify=False).average == fields["average"]
    with pytest.raises(UserError, match=r"targets\.cityscapes\.miou"):
        records.read(path)
    with pytest.raises(UserError, match=r"targets\.cityscapes\.miou"):
        records.read_all(tmp_path, verify=True)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema_version": 1}'])
def test_a_file_that_is_not_a_record_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "seed0.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"seed0\.json: \S"):
        records.read(path)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
def test_a_truncated_record_is_rejected(tmp_path: Path, fraction: float) -> None:
    path = stored(tmp_path).path
    assert path is not None
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(UserError, match="truncated"):
        records.read(path)


def test_confusions_of_another_record_are_rejected(tmp_path: Path) -> None:
    found = stored(tmp_path)
    assert found.path is not None
    sidecar = found.path.with_suffix(".npz")
    content = sidecar.read_bytes()
    for other in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), b""):
        sidecar.write_bytes(other)
        with pytest.raises(UserError, match=r"seed0\.npz: .*sha256 differs"):
            records.read(found.path)
    sidecar.unlink()
    with pytest.raises(UserError, match=r"seed0\.npz: .*seed0\.json: No such file"):
        records.read(found.path)
    assert records.read(found.path, verify=False).average == found.average


def test_weight_files_are_verified_but_a_record_is_valid_without_them(tmp_path: Path) -> None:
    found = stored(tmp_path, weights={"delta": b"delta", "decoder": b"decoder"})
    assert found.path is not None
    assert [records.content(found, field) for field in ("delta", "decoder")] == [b"delta", b"decoder"]
    sidecar = found.path.with_name("seed0.delta.safetensors")
    sidecar.write_bytes(b"other")
    with pytest.raises(UserError, match=r"seed0\.delta\.safetensors: .*seed0\.json .*delta\.sha256"):
        records.content(found, "delta")
    sidecar.unlink()
    with pytest.raises(UserError, match=r"seed0\.delta\.safetensors: .*seed0\.json: No such file"):
        records.content(found, "delta")
    assert records.read(found.path).average == found.average
    again = stored(tmp_path)
    assert again.delta is None
    assert sorted(each.name for each in found.path.parent.iterdir()) == ["seed0.json", "seed0.npz"]
    with pytest.raises(UserError, match=r"seed0\.json: delta: .*--force"):
        records.content(again, "delta")


def test_an_old_record_without_the_delta_field_is_read(tmp_path: Path) -> None:
    path = stored(tmp_path).path
    assert path is not None
    fields = json.loads(path.read_text())
    for field in ("delta", "decoder"):
        assert fields.pop(field) is None
    path.write_bytes(sealed(fields))
    assert records.read(path).delta is None


# -- validation when writing ---------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["average", "source", "targets", "trainable", "data_hash", "weights_hash"])
def test_a_finished_run_needs_every_field(field: str) -> None:
    empty: Any = {"targets": {}, "data_hash": "", "weights_hash": ""}.get(field)
    with pytest.raises(ValidationError, match=field):
        record(confusion(0.8, 0), **{field: empty})


def test_a_failed_run_needs_an_error_and_removes_older_files(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="error: missing"):
        failed(error=None)
    assert stored(tmp_path, weights={"delta": b"delta", "decoder": b"decoder"}).state == "finished"
    path = records.write(failed(), {}, {}, tmp_path)
    assert [each.name for each in path.parent.iterdir()] == ["seed0.json"]
    assert records.read(path).error == "ce is nan"


def test_scores_that_differ_from_the_confusions_are_not_written(tmp_path: Path) -> None:
    matrices = confusion(0.8, 0)
    with pytest.raises(ValueError, match=r"source\.miou"):
        records.write(record(matrices), {**matrices, "source": confusion(0.7, 1)["source"]}, names(matrices), tmp_path)
    with pytest.raises(ValueError, match="12 images"):
        records.write(record(matrices), {**matrices, "source": matrices["source"][:5]}, names(matrices), tmp_path)
    with pytest.raises(ValueError, match=r"confusion: .*source.*bdd100k"):
        records.write(record(matrices), {"source": matrices["source"]}, names(matrices), tmp_path)
    huge: dict[str, Any] = {**matrices, "source": matrices["source"].astype(np.int64) * 2**32}
    with pytest.raises(ValueError, match="int32"):
        records.write(record(huge), huge, names(matrices), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_score_sums_confusions_and_skips_absent_classes() -> None:
    one, two = np.diag([10, 0, 0]), np.diag([0, 5, 0])
    two[1, 0] = 5
    score = Score.of(np.stack([one, two]))
    assert score.iou == (10 / 15, 5 / 10, None)
    assert score.miou == pytest.approx((10 / 15 + 5 / 10) / 2, abs=1e-15)
    assert score.images == 2
    with pytest.raises(ValueError, match="no pixel"):
        Score.of(np.zeros((2, 3, 3), np.int32))


@pytest.mark.parametrize("name", ["", "..", ".hidden", "lora[x=a/b]", "a\\b", "a\nb"])
def test_a_name_that_leaves_its_folder_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be a folder name"):
        records.path_of(tmp_path, "streets", "vit", name, 0)


# -- folders of records --------------------------------------------------------------------------------


def test_read_all_finds_records_only(tmp_path: Path) -> None:
    for seed, method in ((1, "lora"), (0, "lora"), (0, "full"), (0, "lora[rank=4]")):
        stored(tmp_path, method, seed)
    (tmp_path / "notes.txt").write_text("ignored")
    (tmp_path / "streets" / "seed1.checkpoint").mkdir()
    (tmp_path / "streets" / "seed1.checkpoint" / "state.json").write_text("{}")
    (tmp_path / "streets" / ".seed9.json.123.tmp").write_text("{")
    (tmp_path / "streets" / ".hidden.json").write_text("{")
    found = records.read_all(tmp_path, verify=True)
    assert [each.name.split("/", 2)[2] for each in found] == [
        "full/seed0", "lora/seed0", "lora/seed1", "lora[rank=4]/seed0",
    ]  # fmt: skip
    assert [tuple(each.targets) for each in found] == [TARGETS] * 4
    assert {each.classes for each in found} == {CLASSES}


def test_links_to_folders_are_followed_and_case_does_not_matter(tmp_path: Path) -> None:
    folder, record = tmp_path / "mine", stored(tmp_path / "disk").path
    folder.mkdir()
    (folder / "streets").symlink_to(tmp_path / "disk" / "streets")
    assert [each.name for each in records.read_all(folder)] == ["streets/vit-tiny-streets/lora/seed0"]
    assert record is not None
    record.rename(record.with_suffix(".JSON"))
    assert [each.name for each in records.read_all(folder)] == ["streets/vit-tiny-streets/lora/seed0"]
    assert [run.state for run in listing.runs(folder)] == ["finished"]


@pytest.mark.parametrize(
    ("target", "said"), [("gone", "a link to gone, which is not there"), ("..", "a folder above it"), ("loop", "loop")]
)
def test_a_link_that_hides_records_is_named(target: str, said: str, tmp_path: Path) -> None:
    path = stored(tmp_path).path
    assert path is not None
    (path.parents[1] / "loop").symlink_to(target)
    for find in (records.read_all, listing.runs):
        with pytest.raises(UserError, match=rf"loop: .*{said}"):
            find(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("what", ["file", "FIFO", "link"])
def test_what_is_not_a_folder_of_records_is_named(what: str, tmp_path: Path) -> None:
    place = tmp_path / "runs"
    {"file": place.touch, "FIFO": lambda: os.mkfifo(place), "link": lambda: place.symlink_to("gone")}[what]()
    for find in (records.read_all, listing.runs):
        with pytest.raises(UserError, match=r"runs: a .* not a folder"):
            find(place)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_record_that_is_given_but_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "seed0.json")
    with pytest.raises(UserError, match=r"seed0\.json: cannot be read: a FIFO, not a file"):
        records.find(str(tmp_path / "seed0.json"), tmp_path)


def test_another_json_file_is_rejected_by_name(tmp_path: Path) -> None:
    stored(tmp_path)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match=r"other\.json: schema_version: missing"):
        records.read_all(tmp_path)


def test_a_copied_record_is_rejected(tmp_path: Path) -> None:
    path = stored(tmp_path).path
    assert path is not None
    path.with_name("seed1.json").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"seed1\.json: seed: .*seed0\.json"):
        records.read_all(tmp_path)


@pytest.mark.parametrize("folder", ["", "absent"])
def test_a_folder_without_records_names_the_command_to_run(tmp_path: Path, folder: str) -> None:
    with pytest.raises(UserError, match="python -m benchmark run"):
        records.read_all(tmp_path / folder)


def test_records_and_tables_need_no_torch() -> None:
    code = "import sys, benchmark.records, benchmark.tables; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_archive_that_unpacks_to_more_than_the_images_need_is_refused(tmp_path: Path) -> None:
    made = stored(tmp_path)
    assert made.path is not None
    place = made.path.with_suffix(".npz")
    with np.load(place) as kept:
        arrays = dict(kept)
    np.savez_compressed(place, **arrays, zeros=np.zeros(1 << 26, np.uint8))
    assert place.stat().st_size < 1 << 20
    fields = json.loads(made.path.read_text())
    fields["confusion"]["sha256"] = hashlib.sha256(place.read_bytes()).hexdigest()
    made.path.write_bytes(sealed(fields))
    with pytest.raises(UserError, match=r"confusion: .* bytes unpacked, more than"):
        records.confusions(records.read(made.path, verify=False))


@pytest.mark.parametrize("year", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00"])
def test_a_time_that_no_clock_shows_is_refused(year: str, tmp_path: Path) -> None:
    path = stored(tmp_path).path
    assert path is not None
    path.write_bytes(sealed(json.loads(path.read_text()) | {"finished": year}))
    with pytest.raises(UserError, match="finished: "):
        records.read(path)


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path).path
    assert path is not None
    path.write_text(path.read_text().replace("{", '{"seed": 9,', 1))
    with pytest.raises(UserError, match="'seed' is given twice"):
        records.read(path)
