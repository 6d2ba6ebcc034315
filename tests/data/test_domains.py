"""Domains on disk: several sources joined into one, halved images, notes, missing data, and ``data check``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import pytest
import yaml

from benchmark import protocol
from benchmark.common.errors import UserError
from benchmark.data import command, location
from benchmark.data.broken import ENDS
from benchmark.data.domains import Domain
from benchmark.data.loader import EvaluationSet, TrainingSet
from benchmark.data.samples import Sample
from benchmark.data.views import Halved
from benchmark.protocol import Augmentation, Split
from benchmark.records import read
from benchmark.runs.events import Note
from benchmark.runs.experiment import Experiment
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from benchmark.runs.spec import RunSpec
from tests.data.trees import TREES, VISTAS_1, Tree, mapillary_tree, write_image, write_label

SOURCES = {"gta5": "all", "synthia": "train", "urbansyn": "train"}
AUGMENTATION = Augmentation(short_edges=(12, 20), crop=8)


@pytest.fixture
def trees(tmp_path: Path) -> dict[str, Tree]:
    """A data root with the official layouts of three synthetic and two real datasets."""
    return {name: TREES[name](tmp_path / name) for name in (*SOURCES, "dark-zurich", "bdd100k")}


def splits() -> list[Split]:
    return [Split(dataset=name, split=split) for name, split in SOURCES.items()]


def test_several_sources_are_joined_with_all_their_frames(trees: dict[str, Tree], tmp_path: Path) -> None:
    domain = Domain.joined(splits(), tmp_path)
    expected = [f"{name}/{key}" for name in SOURCES for key in sorted(trees[name].labels)]
    assert [sample.id for sample in domain.samples] == expected
    for sample in domain.samples:
        name, _, key = sample.id.partition("/")
        np.testing.assert_array_equal(domain.reader.read(sample)[1], trees[name].labels[key])
    assert domain.dataset == "gta5+synthia+urbansyn"
    data = TrainingSet(domain.samples, domain.reader, AUGMENTATION, seed=0)
    for epoch in (0, 9):
        assert sorted(str(data[epoch + step]["id"]) for step in range(9)) == sorted(expected)


def test_known_faults_are_handled_with_several_sources(trees: dict[str, Tree], tmp_path: Path) -> None:
    write_image(tmp_path / "gta5/images/20801.png", (8, 12))
    write_label(tmp_path / "gta5/labels/20801.png", np.array([[7, 8], [11, 34]], np.uint8), palette=True)
    domain = Domain.joined(splits(), tmp_path)
    sample = next(sample for sample in domain.samples if sample.id == "gta5/20801")
    assert domain.reader.read(sample)[1].shape == (8, 12)
    assert any(note.startswith("gta5: 1 label(s) resized") for note in domain.notes)
    assert any(note.startswith("gta5: 4 of the 24964 frames") for note in domain.notes)


def test_a_single_source_is_unchanged(trees: dict[str, Tree], tmp_path: Path) -> None:
    domain = Domain.joined(splits()[:1], tmp_path)
    assert [sample.id for sample in domain.samples] == sorted(trees["gta5"].labels)
    assert domain.reader is trees["gta5"].reader


def test_sources_with_different_classes_are_refused(trees: dict[str, Tree], tmp_path: Path) -> None:
    TREES["camvid-segnet"](tmp_path / "camvid")
    with pytest.raises(UserError, match=r"source: camvid and gta5 .*classes"):
        Domain.joined([*splits()[:1], Split(dataset="camvid", split="train")], tmp_path)


class Doubled:
    """Reader with known halves: each pixel of ``label`` (H, W) repeated 2 x 2, and a single image colour."""

    label = np.random.default_rng(0).integers(0, 19, (5, 7), dtype=np.uint8)

    def read(self, sample: Sample) -> tuple[Any, Any]:
        label = np.kron(self.label, np.ones((2, 2), np.uint8))
        return np.full((*label.shape, 3), (10, 200, 77), np.uint8), label


def test_halving_reverses_doubling() -> None:
    image, label = Halved(Doubled()).read(Sample("x", Path("x"), Path("x")))
    np.testing.assert_array_equal(label, Doubled.label)
    np.testing.assert_array_equal(image, np.full((5, 7, 3), (10, 200, 77)))


def test_a_halved_domain_is_evaluated_at_half_size(tmp_path: Path) -> None:
    tree = mapillary_tree(tmp_path / "mapillary", "labels", "config.json", VISTAS_1)
    plain = Domain.find(Split(dataset="mapillary", split="val"), tmp_path)
    half = Domain.find(Split(dataset="mapillary", split="val", halve=True, test_size=(16, 8)), tmp_path)
    data = EvaluationSet(half.samples, half.reader, test_size=half.test_size)
    for index, sample in enumerate(half.samples):
        image, _ = plain.reader.read(sample)
        height, width = tree.labels[sample.id].shape
        size = (width // 2, height // 2)
        theirs = mmcv.imresize(image, size, interpolation="bicubic", backend="pillow")
        np.testing.assert_array_equal(half.reader.read(sample)[0], theirs)
        item = data[index]
        assert item["label"].shape == size[::-1]
        assert item["image"].shape[1:] == mmcv.rescale_size(size, (16, 8))[::-1]


def test_the_split_selects_the_label_mapping(tmp_path: Path) -> None:
    mapillary_tree(tmp_path / "mapillary", "labels", "config.json", VISTAS_1)
    rein, hrda = (
        Domain.find(Split(dataset="mapillary", split="val", mapping=mapping), tmp_path) for mapping in (None, "hrda")
    )
    assert rein.notes[0].endswith("mapping rein")
    assert hrda.notes[0].endswith("mapping hrda")
    assert any((a.reader.read(s)[1] != b.reader.read(s)[1]).any() for a, b in [(rein, hrda)] for s in rein.samples)


# -- runs on several sources ---------------------------------------------------------------------------------


@pytest.fixture
def job(trees: dict[str, Tree], tmp_path: Path) -> Callable[..., Job]:
    """A function that returns a job of the protocol below, with changes."""
    stated: dict[str, Any] = {
        "title": "several sources",
        "source": [{"dataset": name, "split": split} for name, split in SOURCES.items()],
        "validation": {"dataset": "gta5", "split": "all"},
        "targets": {
            "night": {"dataset": "dark-zurich", "split": "val", "halve": True},
            "usa": {"dataset": "bdd100k", "split": "val"},
        },
        "iterations": 2,
        "batch": 2,
        "augmentation": {"short_edges": [16, 20, 30], "crop": 16},
        "decoder": {"channels": 8, "lr": 1.0e-3},
        "backbone": "vit-tiny-random",
    }

    def make(**changes: Any) -> Job:
        path = tmp_path / "several.yaml"
        path.write_text(yaml.safe_dump(protocol.merged(stated, changes)), encoding="utf-8")
        return Job(RunSpec(protocol.load(str(path)), "vit-tiny-random", "freeze", 0), tmp_path, tmp_path / "runs")

    return make


def test_a_run_reports_and_records_notes_on_its_files(job: Callable[..., Job], tmp_path: Path) -> None:
    next((tmp_path / "bdd100k").rglob("*.jpg")).unlink()
    reported: list[str] = []
    made = job()
    train_and_record(made, lambda event: reported.append(event.text) if isinstance(event, Note) else None)
    record = read(made.record)
    orphans, missing = record.data_notes["usa"]
    assert orphans.startswith("1 frame(s) without image or label")
    assert missing.startswith("1 of the 1000 frames")
    assert f"usa (bdd100k): {orphans}; {missing}" in reported[-1]
    assert any("terrain, truck or train" in note for note in record.data_notes["source"])
    assert [part["dataset"] for part in record.protocol_fields["source"]] == list(SOURCES)  # type: ignore[union-attr, index, call-overload]
    assert record.targets["usa"].images == 1


def test_without_class_weights_labels_are_read_only_until_one_has_a_class(
    job: Callable[..., Job], tmp_path: Path
) -> None:
    for name in SOURCES:
        for sample in Domain.joined([Split(dataset=name, split=SOURCES[name])], tmp_path).samples[1:]:
            sample.label.write_bytes(b"\x89PNG" + ENDS[b"\x89P"])  # has the start and end of a PNG
    assert Experiment(job()).classes == 19
    with pytest.raises(UserError, match="PNG"):
        Experiment(job(decoder={"class_weights": "inverse-sqrt"}))


# -- missing data ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "folders"),
    [
        ("gtav-to-cbm", "bdd100k/, cityscapes/, gta5/, mapillary/"),
        ("gtav+synthia+urbansyn-to-cbm", "bdd100k/, cityscapes/, gta5/, mapillary/, synthia/, urbansyn/"),
        (
            "cityscapes-to-adverse",
            "acdc/, cityscapes/, dark-zurich/, foggy-driving/, foggy-zurich/, nighttime-driving/",
        ),
    ],
)  # fmt: skip
def test_an_error_names_the_missing_folders_of_a_protocol(name: str, folders: str, tmp_path: Path) -> None:
    fixed = protocol.load(name)
    with pytest.raises(UserError, match="--data-root") as raised:
        location.place_for(fixed, None)
    assert folders in str(raised.value)
    assert f"data check --protocol {name}" in str(raised.value)
    present, *missing = folders.split(", ")
    (tmp_path / present).mkdir()
    with pytest.raises(UserError) as raised:
        location.require(fixed, tmp_path)
    assert f" {', '.join(missing)};" in str(raised.value)
    for each in missing:
        (tmp_path / each).mkdir()
    location.require(fixed, tmp_path)


def test_check_names_all_missing_files_and_where_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("cityscapes", "foggy-zurich", "foggy-driving", "dark-zurich", "nighttime-driving", "acdc")
    trees = {name: TREES[name](tmp_path / name) for name in names}
    bad = {
        "foggy-driving": tmp_path / "foggy-driving/Foggy_Driving/gtCoarse",
        "nighttime-driving": tmp_path / "nighttime-driving/NighttimeDrivingTest",
    }
    for place in bad.values():
        place.rename(tmp_path / f".{place.name}")
    (lonely,) = [s for s in trees["dark-zurich"].reader.samples(trees["dark-zurich"].root, "val") if "324" in s.id]
    lonely.label.unlink()
    (tmp_path / "cityscapes/leftImg8bit/val").rename(tmp_path / "cityscapes/leftImg8bit/train")
    with pytest.raises(UserError) as raised:
        command.check("cityscapes-to-adverse", tmp_path)
    assert ": source, validation, foggy-driving, dark-zurich, nighttime-driving: " in str(raised.value)
    out = capsys.readouterr().out
    for name in (*bad, "cityscapes", "dark-zurich"):
        assert trees[name].reader.home in out
    assert str(lonely.image) in out
    assert "foggy-zurich testv2: 2 images, 2 labels" in out
    assert "official release has 40" in out
    assert "acdc val:snow: 1 images, 1 labels" in out


def test_check_of_a_data_root_checks_every_dataset_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"--data-root .*cityscapes"):
        command.check(None, tmp_path)
    for name in ("gta5", "mapillary", "acdc", "foggy-driving"):
        TREES[name](tmp_path / name)
    (tmp_path / "cityscpaes").mkdir()
    command.check(None, tmp_path, partial=True)
    out = capsys.readouterr().out
    assert any("cityscpaes: skipped" in line and "did you mean 'cityscapes'" in line for line in out.splitlines())
    assert "mapillary train: skipped: mapillary: folder" in out
    counted = [line.split(" in ")[0] for line in out.splitlines() if " images, " in line]
    assert counted == [
        "acdc val: 4 images, 4 labels", "foggy-driving all: 4 images, 4 labels", "gta5 all: 3 images, 3 labels",
        "mapillary val: 3 images, 3 labels",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"gta5 all lacks 24961 frame\(s\), .* --partial"):
        command.check(None, tmp_path)
    for label in (tmp_path / "acdc").rglob("*_gt_labelIds.png"):
        label.write_bytes(b"")
    (tmp_path / "cityscapes").mkdir()
    with pytest.raises(UserError, match=r": acdc val, cityscapes: .*missing or bad"):
        command.check(None, tmp_path)
    assert "cityscapes: cityscapes: folder" in capsys.readouterr().out


def test_named_frames_are_used_and_missing_ones_named(tiny_data: Path) -> None:
    every = Domain.find(Split(dataset="camvid", split="test"), tiny_data)
    last = every.samples[-1].id
    split = Split(dataset="camvid", split="test", frames=(last,))
    assert Domain.find(split, tiny_data).samples == every.samples[-1:]
    with pytest.raises(UserError, match=r"1 of the 2 frames that the protocol names .* first nine"):
        Domain.find(split.model_copy(update={"frames": (last, "nine")}), tiny_data)
