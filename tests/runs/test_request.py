"""From a command line to runs: seeds, hyperparameters, names of folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from benchmark import protocol
from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.method import Method
from benchmark.models import catalogue
from benchmark.models.backbone import build_backbone
from benchmark.runs import request, sweep
from benchmark.runs.pending import longest_first


def planned(methods: list[str], given: dict[str, dict[str, Any]] | None = None, seeds: tuple[int, ...] = (0,)) -> Any:
    fixed = protocol.load("streets")
    common: dict[str, Any] = {"data_root": Path("data"), "folder": Path("runs")}
    return request.plan(fixed, "vit-tiny-streets", methods, seeds, given or {}, **common)


def test_seeds_are_numbers_lists_and_ranges() -> None:
    assert request.parse_seeds("0") == [0]
    assert request.parse_seeds("3,1") == [3, 1]
    assert request.parse_seeds("0-2,7") == [0, 1, 2, 7]


@pytest.mark.parametrize("text", ["", "a", "1,,2", "-1", "3-1", "0-99999", "1.5"])
def test_invalid_seeds_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--seeds"):
        request.parse_seeds(text)


def test_methods_are_names_and_groups() -> None:
    assert request.parse_methods("lora, full,") == ["lora", "full"]
    assert request.parse_methods("fim,figure5")[:3] == ["fim", "fim", "fim-variational"]
    assert "random-q" in request.parse_methods("table4")
    with pytest.raises(UserError, match="unknown method 'tabel4': did you mean 'table4'"):
        request.parse_methods("lora,tabel4")
    with pytest.raises(UserError, match=r"unknown method 'lora.pertubred': did you mean 'lora.perturbed'"):
        request.parse_methods("lora+pertubred")
    with pytest.raises(UserError, match=r"linear is a decoder.*--protocol streets@linear --methods freeze"):
        request.parse_methods("linear")
    with pytest.raises(UserError, match="nothing to run"):
        request.parse_methods(" ,")


def test_hyperparameters_are_read_as_numbers_and_strings() -> None:
    given = request.parse_given(["lora.rank=4", "lora.lr=1e-3", "x.y=word", "x.flag=true"])
    assert given == {"lora": {"rank": 4, "lr": 1e-3}, "x": {"y": "word", "flag": True}}


def test_each_value_of_a_repeated_hyperparameter_is_a_run() -> None:
    given = request.parse_given(["lora.rank=4", "lora.lr=0.1", "lora.rank=8"])
    names = [job.spec.method_name for job in planned(["lora", "freeze"], given)]
    assert names == ["lora[lr=0.1,rank=4]", "lora[lr=0.1,rank=8]", "freeze"]


def test_a_method_with_a_grid_is_run_at_each_of_its_points() -> None:
    every = [job.spec.method_name for job in planned(request.parse_methods("figure3"))]
    assert len(every) == len(set(every)) == 2 + 6 * 3
    some = [job.spec.method_name for job in planned(["parts"], request.parse_given(["parts.pair=q+v"]))]
    assert some == [f"parts[pair=q+v,third={third}]" for third in (1, 2, 3)]


@pytest.mark.parametrize("text", ["lora", "lora.rank", "rank=4", ".rank=4", "lora.=4", "lora.rank="])
def test_invalid_hyperparameters_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"METHOD\.SETTING=VALUE"):
        request.parse_given([text])


def test_runs_are_ordered_by_seed_without_duplicates() -> None:
    found = [(job.spec.seed, job.spec.method) for job in planned(["full", "freeze", "full"], seeds=(1, 0, 1))]
    assert found == [(1, "full"), (1, "freeze"), (0, "full"), (0, "freeze")]


def test_hyperparameters_of_the_user_name_the_folder_and_reach_the_method() -> None:
    (job,) = planned(["lora"], {"lora": {"rank": 4}})
    assert job.record == Path("runs/streets/vit-tiny-streets/lora[rank=4]/seed0.json")
    method = job.spec.make_method()
    assert method.settings.rank == 4
    assert job.spec.origins(method)["rank"] == "given"
    assert job.spec.label(method) == f"{type(method).label}[rank=4]"


def test_a_suffix_adds_feature_perturbation_to_any_method() -> None:
    assert request.parse_methods("rein+perturbed,table5")[:3] == [
        "rein+perturbed",
        "adaptformer",
        "adaptformer+perturbed",
    ]
    assert len(set(request.parse_methods("table5"))) == 8
    given = request.parse_given(["lora+perturbed.rank=4", "lora+perturbed.perturbation.place=2"])
    plain, job = planned(["lora", "lora+perturbed"], given)
    name = "lora+perturbed[perturbation.place=2,rank=4]"
    assert job.record == Path(f"runs/streets/vit-tiny-streets/{name}/seed0.json")
    assert plain.spec.make_perturbation() is None
    carried, method = job.spec.make_perturbation(), job.spec.make_method()
    assert (carried.settings.place, carried.settings.probability, method.settings.rank) == (2, 0.5, 4)
    assert type(method) is type(plain.spec.make_method())
    assert (
        job.spec.settings(method).items()
        >= {"rank": 4, "perturbation.place": 2, "perturbation.probability": 0.5}.items()
    )
    origins = {"rank": "given", "perturbation.place": "given", "perturbation.probability": "paper"}
    assert job.spec.origins(method).items() >= origins.items()
    assert set(job.spec.origins(method)) == set(job.spec.settings(method))
    assert (
        set(plain.spec.settings(plain.spec.make_method()))
        == set(plain.spec.origins(plain.spec.make_method()))
        == set(plain.spec.make_method().settings.model_dump())
    )
    assert job.spec.label(method) == "LoRA + feature perturbation[perturbation.place=2,rank=4]"


def test_a_perturbed_method_inherits_the_plain_ones_hyperparameters() -> None:
    table = {"vpt": {"lr": 0.25, "prompts": 7}, "vpt+perturbed": {"lr": 0.5}}
    fixed = protocol.load("streets").model_copy(update={"settings": {}, "searched": {"vit-tiny-streets": table}})
    common: dict[str, Any] = {"data_root": Path("data"), "folder": Path("runs")}
    found = [
        (job.spec.make_method().settings.lr, job.spec.make_method().settings.prompts)
        for job in request.plan(fixed, fixed.backbone, ["vpt", "vpt+perturbed"], [0], {}, **common)
    ]
    assert found == [(0.25, 7), (0.5, 7)]


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("plcae=2", "method 'lora.perturbed', perturbation: unknown field plcae: did you mean 'place'"),
        ("probability=0", "'lora.perturbed', perturbation: probability: must be above 0 and at most 1 .got 0"),
        ("probability=2", "perturbation: probability: must be above 0 and at most 1 .got 2"),
        ("place=-1", "perturbation: place"),
    ],
)
def test_an_invalid_perturbation_is_refused(setting: str, line: str) -> None:
    (job,) = planned(["lora+perturbed"], request.parse_given([f"lora+perturbed.perturbation.{setting}"]))
    with pytest.raises(UserError, match=line):
        job.spec.make_perturbation()


@pytest.mark.parametrize(
    ("methods", "given", "line"),
    [
        (["lorra"], {}, "unknown method 'lorra': did you mean 'lora'?"),
        (["full"], {"lora": {"rank": 4}}, "'lora' is not among the methods to run"),
        (["lora"], {"lora": {"perturbation.place": 2}}, r"only lora\+perturbed has it; run and set that one"),
        (["lorra+perturbed"], {}, r"unknown method 'lorra': did you mean 'lora'?"),
        (["lora"], {"lora": {"rank": "../../x"}}, "cannot name a folder"),
    ],
)
def test_invalid_plans_are_refused(methods: list[str], given: dict[str, dict[str, Any]], line: str) -> None:
    with pytest.raises(UserError, match=line.replace("?", r"\?")):
        planned(methods, given)


def test_a_misspelt_hyperparameter_is_refused_with_the_nearest() -> None:
    (job,) = planned(["lora"], {"lora": {"rnak": 4}})
    with pytest.raises(UserError, match="method 'lora': unknown field rnak: did you mean 'rank'"):
        job.spec.make_method()


@pytest.mark.parametrize("name", registry.names("method"))
def test_every_method_states_the_origin_of_its_hyperparameters(name: str) -> None:
    kind: type[Method] = registry.find("method", name)
    origins = kind().settings.origins()
    assert set(origins.values()) <= {"paper", "ours"}
    assert all(field.description for field in kind.Settings.model_fields.values())
    assert kind.label
    assert kind.source


def test_searched_values_apply_to_their_backbone_and_the_users_override_them() -> None:
    fixed = protocol.load("streets").model_copy(
        update={"settings": {"vpt": {"prompts": 7}}, "searched": {"vit-tiny-streets": {"vpt": {"lr": 0.25}}}}
    )
    common: dict[str, Any] = {"data_root": Path("data"), "folder": Path("runs")}
    (own,) = request.plan(fixed, fixed.backbone, ["vpt"], [0], {}, **common)
    (other,) = request.plan(fixed, "dinov2-s", ["vpt"], [0], {}, **common)
    (mine,) = request.plan(fixed, fixed.backbone, ["vpt"], [0], {"vpt": {"lr": 0.5}}, **common)
    assert (own.spec.make_method().settings.lr, own.spec.make_method().settings.prompts) == (0.25, 7)
    assert own.spec.origins(own.spec.make_method()) == {"lr": "search", "prompts": "ours", "weight_decay": "ours"}
    assert other.spec.make_method().settings.lr == registry.find("method", "vpt").Settings().lr
    assert other.spec.make_method().settings.prompts == 7
    assert mine.spec.make_method().settings.lr == 0.5
    assert mine.spec.origins(mine.spec.make_method())["lr"] == "given"


@pytest.mark.parametrize(
    "name", sorted(name for name in registry.names("method") if registry.find("method", name).arm_of)
)
def test_an_ablation_without_a_search_uses_the_learning_rate_of_its_method(name: str) -> None:
    kind, fixed = registry.find("method", name), protocol.load("streets")
    assert not registry.find("method", kind.arm_of).arm_of
    job, *_ = request.plan(fixed, fixed.backbone, [name], [0], {}, data_root=Path("data"), folder=Path("runs"))
    method = job.spec.make_method()
    searched = fixed.searched[fixed.backbone]
    assert method.settings.lr == searched.get(name, searched[kind.arm_of])["lr"] != kind.Settings().lr
    assert job.spec.origins(method)["lr"] == "search"


@pytest.mark.parametrize(("how", "antialias"), [("bicubic", False), ("pi", True)])
def test_the_protocol_decides_how_the_backbone_is_resampled(tmp_path: Path, how: str, antialias: bool) -> None:
    table = torch.randn(1, 14 * 14, 192, generator=torch.Generator().manual_seed(1))
    save_file(build_backbone("vit-tiny-random").vit.state_dict() | {"pos_embed": table}, tmp_path / "w.safetensors")
    fixed = protocol.with_vfm(protocol.load("streets"), (f"resample={how}",))
    common: dict[str, Any] = {"data_root": tmp_path, "folder": tmp_path, "weights": tmp_path / "w.safetensors"}
    (job,) = request.plan(fixed, "vit-tiny-random", ["freeze"], [0], {}, **common)
    grid = table.unflatten(1, (14, 14)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(grid, size=(8, 8), mode="bicubic", antialias=antialias)
    assert torch.equal(job.spec.make_backbone().vit.pos_embed, expected.flatten(2).mT)


def test_the_protocol_decides_how_images_are_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    own = catalogue.BackboneSpec("mine", "vit_tiny_patch16_224", (11,), "none", mean=(1.0, 2.0, 3.0))
    monkeypatch.setattr(catalogue, "own_backbones", lambda: {"mine": own})
    means = []
    for choice in ("imagenet", "own"):
        fixed = protocol.with_vfm(protocol.load("streets"), (f"normalisation={choice}",))
        (job,) = request.plan(fixed, "mine", ["freeze"], [0], {}, data_root=Path("data"), folder=Path("runs"))
        means.append(job.spec.make_backbone().mean)
    assert means == [catalogue.IMAGENET_MEAN, (1.0, 2.0, 3.0)]


def test_long_runs_start_first_within_each_seed() -> None:
    fixed = protocol.load("streets")
    common: dict[str, Any] = {"data_root": None, "folder": Path("runs")}
    names = ["freeze", "wise-ft", "full", "childtune-d", "fishertune"]  # WiSE-FT evaluates, the last two estimate
    planned = longest_first(request.plan(fixed, fixed.backbone, names, [0, 1], {}, **common))
    in_order = ["fishertune", "childtune-d", "wise-ft", "freeze", "full"]
    assert [(job.spec.seed, job.spec.method) for job in planned] == [
        (seed, name) for seed in (0, 1) for name in in_order
    ]


def test_queries_of_another_shape_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    fixed = protocol.load("gtav-to-cbm")
    common: dict[str, Any] = {"data_root": tmp_path / "data", "folder": tmp_path / "runs"}
    wanted = request.plan(fixed, "dinov2-b", ["rein"], [0], {"rein": {"tokens": 50}}, **common)
    with pytest.raises(UserError, match=r"queries of shape \(50, 256\), decoder mask2former takes \(100, 256\); give"):
        sweep.run_pending(wanted, 1, Console(quiet=True))
    assert not list(tmp_path.iterdir())
