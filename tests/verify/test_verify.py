"""``records verify``: each kind of fault is found and named, and records without fault pass."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark import protocol, records
from benchmark.records import paths
from benchmark.records.seal import sealed
from benchmark.verify.command import verdict
from tests.cli.test_cli import ROOT, call, refused
from tests.records.made import failed, names
from tests.verify.made import MACHINE, OWN, fingerprint, moment, sound


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with two runs without fault."""
    sound(tmp_path / "records", "lora", 0)
    sound(tmp_path / "records", "freeze", 0)
    return tmp_path / "records"


def the_fault(root: Path) -> str:
    """Return the only fault; it names the file and, after a semicolon, the remedy."""
    (line,) = verdict(root).faults
    assert re.match(rf"{re.escape(str(root))}/\S+: [\w.@-]+", line)
    assert "; " in line
    return line.removeprefix(f"{root}/")


def resealed(path: Path, **changes: Any) -> None:
    """Change fields and compute the checksum again, as a forger would."""
    path.write_bytes(sealed(json.loads(path.read_bytes()) | changes))


def test_records_without_fault_pass(root: Path) -> None:
    sound(root, "lora", 1)
    records.write(failed("vpt", protocol="own", **unsettled()), {}, {}, root)
    found = verdict(root)
    assert (found.records, found.counted, found.faults) == (4, 3, ())


def unsettled() -> dict[str, Any]:
    made = json.loads(next(iter(paths(ROOT / "results" / "camvid"))).read_bytes())
    return {"protocol_fields": OWN, "fingerprint": fingerprint(OWN), "machine": MACHINE, "versions": made["versions"]}


def test_a_field_edited_after_the_run_is_named(root: Path) -> None:
    path = root / "own/vit-tiny-streets/lora/seed0.json"
    path.write_text(path.read_text().replace('"cpu_seconds": 15.25', '"cpu_seconds": 5.25'))
    assert the_fault(root).startswith("own/vit-tiny-streets/lora/seed0.json: cpu_seconds: edited after the run;")


def test_a_forged_score_differs_from_the_confusions(root: Path) -> None:
    path = root / "own/vit-tiny-streets/lora/seed0.json"
    fields = json.loads(path.read_bytes())
    fields["source"]["miou"] += 0.01
    resealed(path, **fields)
    assert re.search(r"source\.miou: 0\.\d+, but 0\.\d+ from the confusion matrices", the_fault(root))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"fingerprint": "ab" * 32}, "fingerprint: abababababab, but "),
        ({"protocol_fields": OWN | {"name": "other"}}, "protocol_fields.name: 'other', but protocol is 'own'"),
        ({"versions": {"python": "3.11"}}, "versions.dgss-benchmark: missing"),
        ({"machine": MACHINE | {"processor": None}}, "machine.processor: missing"),
        ({"commit": "main"}, "commit: 'main' is not a commit"),
        ({"commit": "c" * 40 + "+changes"}, "commit: the source had uncommitted changes; commit them"),
        ({"started": moment(2026)}, "finished: 2025-03-04 05:06:07+00:00, before it started"),
        ({"started": moment(2200), "finished": moment(2200)}, "finished: 2200-03-04 00:00:00+00:00, which is in the"),
        ({"seconds": {"tune": -1.0}}, "seconds.tune: -1.0, which is no duration"),
        ({"cpu_seconds": 0.0}, "cpu_seconds: no CPU time"),
        ({"peak_memory_bytes": 0}, "peak_memory_bytes: no memory"),
        ({"peak_memory_bytes": 10**12}, "peak_memory_bytes: 1000000000000, but the machine has 20000000000"),
        ({"evaluations": ()}, "evaluations: missing"),
        ({"protocol_fields": OWN | {"iterations": 700}}, "evaluations: the last is after 500 of 700 iterations"),
        ({"losses": [(20, {"ce": 1.0}), (10, {"ce": 1.0})]}, "losses: iterations do not increase"),
        ({"losses": [(10, {"ce": 1.0, "more": None})]}, "losses: more is not finite after iteration 10"),
        ({"method": "lora[rank=4]"}, "settings.rank: 8, but the method's name says 4"),
        ({"origins": {}}, "origins."),
        ({"trainable": {"backbone": 36_865, "decoder": 1}}, "trainable.backbone: 36865, but the method trains 36864"),
        ({"settings": {"rnak": 3}, "origins": {"rnak": "given"}}, "settings: not those of lora in this version: "),
    ],
)
def test_a_fault_is_named(root: Path, changes: dict[str, Any], line: str) -> None:
    method = changes.pop("method", "lora")
    sound(root, method, 1, **changes)
    found = [fault for fault in verdict(root).faults if f"{method}/seed1.json: {line}" in fault]
    assert len(found) == 1, verdict(root).faults
    assert "; " in found[0]


def test_values_that_no_run_has_are_implausible(root: Path) -> None:
    sound(root, "lora", 1, accuracy=0.999)
    lines = verdict(root).faults
    assert [re.findall(r": (\S+)\.miou: 0\.99\d+ is implausible", line) for line in lines] == [
        [name] for name in ("source", "targets.cityscapes", "targets.bdd100k", "targets.mapillary")
    ]
    shutil.rmtree(root / "own/vit-tiny-streets/lora")
    sound(root, "freeze", 1, moved=3)
    assert the_fault(root).startswith("own/vit-tiny-streets/freeze/seed1.json: moved: 3 pre-trained values changed")


def test_numbers_of_images_follow_the_protocol(root: Path) -> None:
    limits: dict[str, Any] = {"cityscapes": {"frames": ["a", "b"]}, "bdd100k": {"limit": 11}, "mapillary": {}}
    targets = {name: {"dataset": name, "split": "val"} | limits[name] for name in limits}
    shutil.rmtree(root)
    sound(root, protocol_fields=OWN | {"targets": targets})
    lines = [line.partition(".json: ")[2].partition(";")[0] for line in verdict(root).faults]
    assert lines == [
        "targets.cityscapes.images: 12, but the protocol names 2 frames",
        "targets.bdd100k.images: 12, but the protocol has at most 11",
    ]


def test_the_oracle_is_the_best_evaluation(root: Path) -> None:
    made = sound(root, "lora", 1)
    assert made.oracle is not None
    worse = made.oracle.model_copy(update={"iteration": 250, "average": made.oracle.average + 0.01})
    worse = worse.model_copy(update={"targets": {name: miou + 0.01 for name, miou in made.oracle.targets.items()}})
    sound(root, "lora", 1, evaluations=[worse, made.evaluations[0]])
    assert "lora/seed1.json: oracle: not the best" in the_fault(root)


def test_a_record_of_another_version_of_a_protocol_is_named(root: Path) -> None:
    fields = protocol.load("streets").fields() | {"iterations": 999}
    sound(root, "lora", 0, protocol="streets", protocol_fields=fields)
    lines = verdict(root).faults
    assert any("does not match the current protocol streets: iterations is 999 in the record" in line for line in lines)


# -- files and other records ---------------------------------------------------------------------------


def test_a_moved_file_is_named(root: Path) -> None:
    path = root / "own/vit-tiny-streets/lora"
    path.rename(path.with_name("vpt"))
    line = the_fault(root)
    assert line.startswith("own/vit-tiny-streets/vpt/seed0.json: method: lora, but the file is in vpt; move it to own/")


def test_a_copy_under_another_name_is_named(root: Path) -> None:
    original = sound(root, "lora", 0)
    matrices, ids = records.confusions(original)
    # As a forger would: the same results as another seed, and as another method.
    records.write(original.model_copy(update={"seed": 1}), matrices, ids, root)
    assert re.search(r"lora/seed1\.json: confusion: identical to that of .*lora/seed0\.json; remove", the_fault(root))
    sound(root, "lora", 1)
    other = sound(root, "bitfit", 0)
    records.write(original.model_copy(update={"method": "bitfit", "trainable": other.trainable, "settings":
                  other.settings, "origins": other.origins}), matrices, ids, root)  # fmt: skip
    assert re.search(r"identical to that of .*(lora|bitfit)/seed0\.json; remove the copy", the_fault(root))


def test_a_copied_folder_is_named(root: Path) -> None:
    shutil.copytree(root / "own", root / "copy" / "own")
    lines = verdict(root).faults
    assert len(lines) == 2
    assert all(": seed: the same run as " in line and line.endswith("; remove the copy") for line in lines)


def test_other_conditions_and_other_images_are_named(root: Path) -> None:
    sound(root, "lora", 1, data_hash="ff" * 32)
    (line,) = verdict(root).faults
    assert "cannot share a table: data_hash is dadadadadada… in one" in line
    made = sound(root, "lora", 1)
    matrices, ids = records.confusions(made)
    records.write(made, matrices, ids | {"source": names(matrices)["bdd100k"]}, root)
    assert "lora/seed1.json: confusion: other images of source than in " in the_fault(root)


def test_files_beside_records_belong_to_them(root: Path) -> None:
    made = sound(root, "lora", 0)
    matrices, ids = records.confusions(made)
    records.write(made, matrices, ids, root, {"decoder": b"weights"})
    assert verdict(root).faults == ()
    decoder = root / "own/vit-tiny-streets/lora/seed0.decoder.safetensors"
    decoder.write_bytes(b"others")
    assert "seed0.decoder.safetensors: does not match seed0.json" in the_fault(root)
    decoder.unlink()  # weights are large and need not be committed
    assert verdict(root).faults == ()
    np.savez(decoder.with_name("seed7.npz"), x=np.zeros(1))
    assert the_fault(root) == (
        "own/vit-tiny-streets/lora/seed7.npz: record: seed7.json is missing; add it, or remove this file"
    )


# -- the command ---------------------------------------------------------------------------------------


def test_exit_codes_and_lines(root: Path, tmp_path: Path) -> None:
    done = call("records", "verify", root)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{root}: 2 records without fault, 2 with parameters counted again\n"
    path = root / "own/vit-tiny-streets/lora/seed0.json"
    path.write_text("{")
    done = call("records", "verify", root)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == f"{root}: 1 fault in 2 records\n"
    assert "no records here" in refused(call("records", "verify", tmp_path / "nowhere"))


@pytest.mark.slow
def test_the_committed_records_have_no_fault() -> None:
    found = verdict(ROOT / "results")
    assert found.faults == ()
    assert found.records == found.counted == len(list((ROOT / "results").rglob("seed*.json")))
