"""Protocol files: one-line validation errors, variants that keep all other fields, and fingerprints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark import protocol
from benchmark.common.errors import UserError
from benchmark.data import streets
from benchmark.runs.scored import OWN
from benchmark.tables.factors import steps

STREETS = yaml.safe_load((protocol.FOLDER / "streets.yaml").read_text(encoding="utf-8"))
GTA5, SYNTHIA = {"dataset": "gta5", "split": "train"}, {"dataset": "synthia", "split": "train"}
FULL_SIZE = [name for name in protocol.available() if "-to-" in name and not name.startswith("streets")]
# These fingerprints are stored in records: adding a field to the schema must not change them.
FINGERPRINTS = {
    "camvid": "845027c124428516043e65402266f84801752ac39a0cb11756ebe69091054059",
    "camvid@quick": "7380d5b7a5f7f1d2983c669e93b7fcad499daa4a06b59bbdbd29ed163b9bf2e4",
    "streets": "5d5f9eb8e796d4bb8e88b83c3cbe6c91d05af9e44a8ec6557113f84bbe5538c0",
    "streets@quick": "33231d8af266a17035dd6a47471e2e18879e34237a0a1ed2136870ae1c2789d0",
    "streets@tune": "d2944a6bfb10424758820fe8959be4692cde97894fab983a0ff4e2d32d7e8e93",
    "streets@tune-short": "0e8f53a7df588cdcc8b43a11721886f278faacf953ae65ebe49c9d7d765d98e8",
    "streets@check": "b4ea4a93667d905a00d136779d4227918dc2ec55fea862579733c5d71a9b2214",
    "streets-adverse": "c82c96823e74ce004aa434e62fc10dab15da72bc18af98fd7244043a3245c76c",
}


def written(folder: Path, changes: dict[str, Any]) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(protocol.merged(STREETS, changes)), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", protocol.available())
def test_every_protocol_and_variant_is_valid(name: str) -> None:
    content = yaml.safe_load((protocol.FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    assert list(content.get("variants", {})) == protocol.variants(name)
    for variant in (None, *protocol.variants(name)):
        which = variant or content.get("default_variant")
        assert protocol.load(name, variant).name == (f"{name}@{which}" if which else name)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"itterations": 3}, "unknown field itterations: did you mean 'iterations'?"),
        ({"decoder": {"chanels": 3}}, "unknown field decoder.chanels: did you mean 'channels'?"),
        ({"targets": {"dashcam": {"spilt": "x"}}}, "unknown field targets.dashcam.spilt: did you mean 'split'?"),
        ({"batch": -1}, "batch: must be above 0 and at most 65536 (got -1)"),
        ({"decoder": {"weight_decay": 2}}, "decoder.weight_decay: must be at least 0 and below 1 (got 2)"),
        ({"targets": {"dashcam": {"limit": 0}}}, "targets.dashcam.limit: Input should be greater than 0 (got 0)"),
        ({"decoder": {"channels": 10**12}}, "decoder.channels: must be at least 0 and at most 65536"),
        ({"validation": {"test_size": [10**9, 9]}}, "less than or equal to 16384 (got 1000000000)"),
        ({"augmentation": {"crop": "big"}}, "augmentation.crop: must be a whole number (got big)"),
        ({"augmentation": {"short_edge": [9, 3]}}, "augmentation: short_edge must be"),
        ({"decoder": {"name": "mask3former"}}, "decoder.name: must be 'segformer', 'linear' or 'mask2former'"),
        ({"decoder": {"name": "linear"}}, "channels of linear must be 0, not 64"),
        ({"decoder": {"channels": 0}}, "channels of segformer must be 1 or more, not 0"),
        ({"decoder": {"name": "mask2former"}}, "channels of mask2former must be 256, not 64"),
        (
            {"decoder": {"name": "mask2former", "channels": 256}},
            "class_weights of mask2former must be none, not inverse-sqrt",
        ),
        ({"augmentation": {"short_edge": None}}, "short_edge or short_edges"),
        ({"augmentation": {"short_edges": [9, 3, 5]}}, "short_edge or short_edges"),
        ({"source": {"spilt": "x"}}, "unknown field source.spilt: did you mean 'split'?"),
        ({"source": [GTA5, {"dataset": "synthia", "lmit": 3}]}, "field source.1.split is missing"),
        ({"source": [GTA5, {**SYNTHIA, "lmit": 3}]}, "unknown field source.1.lmit: did you mean 'limit'?"),
        ({"source": [GTA5, {**GTA5, "split": "val"}]}, "source contains a dataset twice"),
        ({"source": [GTA5]}, "source: Tuple should have at least 2 items"),
        ({"source": 3}, "source: must be fields (name: value)"),
        ({"default_variant": "quik"}, "no variant 'quik': did you mean 'quick'?"),
        ({"decoder": {"warmup": 10**6}}, "decoder.warmup must be"),
        ({"evaluation": {"mode": "slide"}}, "evaluation: mode slide needs"),
        ({"evaluation": {"mode": "slide", "crop": 8, "stride": 9}}, "evaluation: mode slide needs"),
        ({"targets": None}, "targets: must be fields (name: value)"),
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
def test_a_file_without_fields_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"mine\.yaml"):
        protocol.load(str(path))


def test_error_on_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'streets'"):
        protocol.load("street")
    with pytest.raises(UserError, match="did you mean 'quick'"):
        protocol.load("streets@quik")


def test_a_variant_removes_a_target_by_null() -> None:
    tune = protocol.load("streets@tune")
    assert set(tune.targets) == {"held-out"}
    assert tune.targets["held-out"].dataset == tune.sources[0].dataset, "the search must not see a target domain"
    assert tune.targets["held-out"].split not in (tune.sources[0].split, tune.validation.split)


def test_searched_hyperparameters_do_not_change_the_fingerprint(tmp_path: Path) -> None:
    plain, other = (
        protocol.load(written(tmp_path, {})),
        written(tmp_path, {"searched": {"vit-tiny-streets": {"lora": {"lr": 0.5}}}}),
    )
    assert protocol.load(other).fingerprint() == plain.fingerprint()


def test_a_variant_keeps_the_fields_that_it_does_not_change() -> None:
    whole, quick = protocol.load("streets").model_dump(), protocol.load("streets@quick").model_dump()
    assert quick["decoder"]["lr"] == whole["decoder"]["lr"]
    assert quick["iterations"] < whole["iterations"]
    assert list(quick["targets"]) == list(whole["targets"])


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_fingerprints_of_protocols_with_records_do_not_change(name: str) -> None:
    assert protocol.load(name).fingerprint() == FINGERPRINTS[name]


def test_mask2former_has_a_fixed_width_and_no_class_weights() -> None:
    made = protocol.DecoderSpec(name="mask2former", lr=1e-4)
    assert (made.channels, made.class_weights) == (256, "none")
    assert protocol.DecoderSpec(lr=1e-4).channels == 64


@pytest.mark.parametrize("name", protocol.available())
def test_a_shortened_variant_has_a_third_of_the_length(name: str) -> None:
    for variant in protocol.variants(name):
        whole, short = protocol.load(name, variant), protocol.load(name, f"{variant}-short")
        assert short.name == f"{whole.name}-short"
        for get in (lambda p: p.iterations, lambda p: p.decoder.warmup, lambda p: p.lr_warmup):
            assert abs(get(short) - get(whole) / 3) < 1
        assert protocol.Protocol.model_validate(short.model_dump()) == short
        shared = {"name", "title", "iterations", "lr_warmup", "decoder", "evaluation"}
        assert short.model_dump(exclude=shared) == whole.model_dump(exclude=shared)


@pytest.mark.parametrize(("iterations", "warmup", "short"), [(12, 3, (4, 1)), (4, 3, (2, 1)), (1, 0, (1, 0))])
def test_the_shortest_protocols_can_be_shortened(
    tmp_path: Path, iterations: int, warmup: int, short: tuple[int, int]
) -> None:
    changes = {"iterations": iterations, "decoder": {"warmup": warmup}, "evaluation": {"times": iterations}}
    fixed = protocol.load(written(tmp_path, {"variants": {"mine": changes}}), "mine-short")
    assert (fixed.iterations, fixed.decoder.warmup) == short
    assert fixed.evaluation.times == fixed.iterations
    assert protocol.Protocol.model_validate(fixed.model_dump()) == fixed


def test_a_variant_may_end_as_a_shortened_one_does(tmp_path: Path) -> None:
    path = written(tmp_path, {"variants": {"mine-short": {"iterations": 150}}})
    assert protocol.load(path, "mine-short").iterations == 150
    for unknown in ("short", "-short", "other-short", "mine-short-shor"):
        with pytest.raises(UserError, match="no variant"):
            protocol.load(path, unknown)


def test_variant_linear_changes_only_the_decoder() -> None:
    assert protocol.DecoderSpec(name="linear", lr=1e-4).channels == 0
    for name, base in (("streets", None), ("camvid", None), ("gtav-to-cbm", "rein-test")):
        plain, probe = protocol.load(name, base), protocol.load(name, "linear")
        assert (probe.decoder.name, probe.decoder.channels) == ("linear", 0)
        assert plain.model_dump(exclude={"name", "decoder"}) == probe.model_dump(exclude={"name", "decoder"})
        assert plain.decoder.lr == probe.decoder.lr
        assert plain.fingerprint() != probe.fingerprint()


def test_later_fields_are_serialised_only_if_used(tmp_path: Path) -> None:
    plain = protocol.load(written(tmp_path, {})).fields()
    assert set(plain["source"]) == {"dataset", "split", "limit", "test_size"}
    assert "short_edges" not in plain["augmentation"]
    used = {"targets": {"dashcam": {"halve": True, "mapping": "hrda"}},
            "augmentation": {"short_edge": None, "short_edges": [96, 256]}}  # fmt: skip
    fields = protocol.load(written(tmp_path, used)).fields()
    assert fields["targets"]["dashcam"]["halve"] is True
    assert fields["targets"]["dashcam"]["mapping"] == "hrda"
    assert fields["augmentation"]["short_edges"] == [96, 256]


def test_several_sources_are_listed(tmp_path: Path) -> None:
    several = protocol.load(written(tmp_path, {"source": [GTA5, SYNTHIA]}))
    assert [part["dataset"] for part in several.fields()["source"]] == ["gta5", "synthia"]
    assert [split.dataset for split in several.sources] == ["gta5", "synthia"]
    assert list(several.splits())[:3] == ["source gta5", "source synthia", "validation"]
    one = protocol.load("streets")
    assert one.sources == (one.source,)
    assert list(one.splits()) == ["source", "validation", *one.targets]


def test_all_full_size_protocols_exist() -> None:
    assert set(FULL_SIZE) == {
        "gtav-to-cbm", "gtav+synthia-to-cbm", "gtav+synthia+urbansyn-to-cbm", "cityscapes-to-bdd",
        "cityscapes-to-acdc", "cityscapes-to-adverse",
    }  # fmt: skip


@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size_protocols_use_reins_training_recipe(name: str) -> None:
    rein, full = (protocol.load(name, variant) for variant in ("rein-test", "full-test"))
    assert protocol.load(name) == rein
    assert (rein.iterations, rein.batch, rein.power, rein.lr_warmup, rein.betas) == (40000, 4, 0.9, 0, (0.9, 0.999))
    assert (rein.decoder.lr, rein.decoder.weight_decay, rein.decoder.class_weights) == (1e-4, 0.05, "none")
    assert rein.augmentation == protocol.Augmentation(
        short_edges=tuple(int(512 * x * 0.1) for x in range(5, 21)), crop=512, cat_max_ratio=0.75, flip=0.5
    )
    assert (rein.evaluation.mode, rein.evaluation.crop, rein.evaluation.stride) == ("slide", 512, 341)
    different = {"name", "validation", "targets"}
    assert rein.model_dump(exclude=different) == full.model_dump(exclude=different)
    sizes = {"cityscapes": ((1024, 512), (2048, 1024)), "bdd100k": ((1280, 720),) * 2,
             "mapillary": ((1024, 512), (2048, 1024))}  # fmt: skip
    for key, split in rein.targets.items():
        expected = sizes.get(split.dataset, ((960, 540), (1920, 1080)))
        assert (split.test_size, full.targets[key].test_size) == expected
        assert split.halve == (split.dataset == "mapillary")


def test_fingerprint_depends_on_conditions_but_not_on_settings_or_title(tmp_path: Path) -> None:
    base = protocol.load(written(tmp_path, {})).fingerprint()
    assert protocol.load(written(tmp_path, {"decoder": {"lr": 0.002}})).fingerprint() != base
    assert protocol.load(written(tmp_path, {"targets": {"dashcam": {"limit": 7}}})).fingerprint() != base
    assert protocol.load(written(tmp_path, {"settings": {"lora": {"lr": 0.5}}})).fingerprint() == base
    assert protocol.load(written(tmp_path, {"title": "other words"})).fingerprint() == base


def test_section_vfm_is_fingerprinted_unless_it_is_the_default(tmp_path: Path) -> None:
    plain = protocol.load(written(tmp_path, {}))
    assert "vfm" not in plain.fields()
    assert protocol.load(written(tmp_path, {"vfm": {"resample": "bicubic"}})).fingerprint() == plain.fingerprint()
    timms = protocol.load(written(tmp_path, {"vfm": {"resample": "pi", "normalisation": "own"}}))
    assert timms.fields()["vfm"] == {"resample": "pi", "normalisation": "own"}
    assert timms.fingerprint() != plain.fingerprint()


def test_with_vfm_changes_section_and_name() -> None:
    fixed = protocol.load("gtav-to-cbm")
    assert protocol.with_vfm(fixed, ()) == fixed
    assert protocol.with_vfm(fixed, ("resample=bicubic",)) == fixed
    changed = protocol.with_vfm(fixed, ("resample=pi", "normalisation=own"))
    assert changed.name == "gtav-to-cbm@rein-test+resample=pi+normalisation=own"
    assert (changed.vfm.resample, changed.vfm.normalisation) == ("pi", "own")
    assert changed.fingerprint() != fixed.fingerprint()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("resmaple=pi", "--vfm: unknown field resmaple: did you mean 'resample'?"),
        ("resample=lanczos", "--vfm: resample: must be 'bicubic' or 'pi' (got lanczos)"),
        ("normalisation", "--vfm: normalisation: must be 'imagenet' or 'own' (got )"),
    ],
)
def test_errors_in_option_vfm_are_one_line(text: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        protocol.with_vfm(protocol.load("streets"), (text,))
    assert str(caught.value) == line


def test_a_list_of_frames_is_read_beside_the_protocol(tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("a\nb/c\n", encoding="utf-8")
    changes = {"targets": {"dashcam": {"dataset": "streets", "split": "dashcam/val", "frames": "few.txt"}}}
    path = written(tmp_path, changes)
    fixed = protocol.load(path)
    assert fixed.targets["dashcam"].frames == ("a", "b/c")
    again = protocol.Protocol.of(fixed.fields(), fixed.title, fixed.backbone)
    assert again.fingerprint() == fixed.fingerprint()
    (tmp_path / "few.txt").write_text("a\n", encoding="utf-8")
    assert protocol.load(path).fingerprint() != fixed.fingerprint()
    (tmp_path / "few.txt").unlink()
    with pytest.raises(UserError, match=r"few\.txt: dashcam\.frames: cannot be read"):
        protocol.load(path)


@pytest.mark.parametrize("variant", ["", "@full", "@tune", "@tune-short", "@linear", "@quick"])
def test_streets_to_photos_tunes_on_no_photograph(variant: str) -> None:
    fixed = protocol.load(f"streets-to-photos{variant}")
    datasets = {split.dataset for split in fixed.targets.values()}
    assert datasets == ({"streets-large"} if "tune" in variant else {"camvid", "idd-lite", "labelmefacade"})
    assert {fixed.validation.dataset, *(split.dataset for split in fixed.sources)} == {"streets-large"}
    lists = [split.frames for split in fixed.targets.values()]
    assert all((frames is None) == (variant == "@full" or "tune" in variant) for frames in lists)


def test_streets_factors_trains_as_streets_and_changes_each_factor_in_three_steps() -> None:
    plain, factors = protocol.load("streets"), protocol.load("streets@factors")
    assert factors.trained == plain.name
    stated = [{name: value for name, value in each.fields().items() if name not in OWN} for each in (plain, factors)]
    assert stated[0] == stated[1]
    assert {name: set(places) for name, places in steps(factors.targets).items()} == {
        name: {0, 1, 2, 3} for name in streets.FACTORS
    }
    counts = {streets.find_part(split.dataset, split.split).count for split in factors.targets.values()}
    assert counts == {factors.validation.limit}, "strength 0 is the source on the same scenes"


def test_rates_found_on_another_protocol_can_be_taken_over(tmp_path: Path) -> None:
    there = protocol.load("streets").searched["vit-tiny-streets"]
    assert there
    fixed = protocol.load(written(tmp_path, {"searched": {"vit-tiny-streets": "streets", "dinov2-s": "streets"}}))
    assert fixed.searched == {"vit-tiny-streets": there, "dinov2-s": {}}
    assert protocol.load("streets-adverse").searched["vit-tiny-streets"] == there
    with pytest.raises(UserError, match="unknown protocol 'street'"):
        protocol.load(written(tmp_path, {"searched": {"vit-tiny-streets": "street"}}))


def test_names_of_protocols_with_changes_are_resolved() -> None:
    known = protocol.load("gtav+synthia-to-cbm@rein-test")
    assert protocol.shipped(known.name) == known
    changed = protocol.with_vfm(known, ["resample=pi", "normalisation=own"])
    assert protocol.shipped(changed.name) == changed
    assert protocol.shipped("own") is None


@pytest.mark.parametrize(
    ("option", "stated"),
    [
        ({"rare_classes": {}}, {"temperature": 0.01, "min_pixels": 1}),
        ({"rare_classes": {"temperature": 0.1}}, {"temperature": 0.1, "min_pixels": 1}),
        ({"perturbation": {}}, {"place": "embedding", "probability": 0.5, "deviations": "unbiased"}),
    ],
)
def test_options_of_training_are_fingerprinted_only_if_used(
    tmp_path: Path, option: dict[str, Any], stated: dict[str, Any]
) -> None:
    plain = protocol.load(written(tmp_path, {}))
    (name,) = option
    assert name not in plain.fields()
    assert plain.fingerprint() == protocol.load(written(tmp_path, {name: None})).fingerprint()
    used = protocol.load(written(tmp_path, option))
    assert used.fields() == plain.fields() | {name: stated}
    assert used.fingerprint() != plain.fingerprint()
    assert protocol.Protocol.of(used.fields(), used.title, used.backbone).fingerprint() == used.fingerprint()


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ({"rare_classes": {"temperature": 0}}, "rare_classes.temperature: must be above 0 (got 0)"),
        ({"rare_classes": {"temprature": 1}}, "unknown field rare_classes.temprature: did you mean 'temperature'?"),
        ({"perturbation": {"probability": 2}}, "perturbation.probability: must be above 0 and at most 1 (got 2)"),
    ],
)
def test_a_bad_option_of_training_is_named(tmp_path: Path, option: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as error:
        protocol.load(written(tmp_path, option))
    assert line in str(error.value)


def test_committed_records_have_the_fingerprints_of_their_protocols() -> None:
    folder = Path(__file__).parents[2] / "results"
    known: dict[str, protocol.Protocol] = {}
    for path in sorted(folder.glob("*/*/*/seed0.json")):
        record = json.loads(path.read_bytes())
        name = record["protocol"]
        fixed = known[name] = known.get(name) or protocol.load(name)
        assert (record["fingerprint"], record["protocol_fields"]) == (fixed.fingerprint(), fixed.fields()), path
    assert len(known) >= 5
