"""Ablation arms: each is its base method with other hyperparameters and nothing else.

The contract tests therefore need not run for them. What is shown here, arm by arm: the class overrides nothing, its
hyperparameters are the base's with other defaults, and it attaches, selects and trains exactly as the base does with
these hyperparameters.
"""

from __future__ import annotations

import pytest
import torch

from benchmark.common import registry
from benchmark.common.rng import torch_rng
from benchmark.method import Method
from benchmark.models.backbone import build_backbone
from benchmark.records import naming
from benchmark.runs import request
from benchmark.tables.main import ORDER
from methods.ablations import arms
from tests.backbones import tiny_backbone
from tests.expected import ARMS, VIT_L
from tests.methods.fishertune.small_runs import Run

pytestmark = pytest.mark.slow

# The other ablations are methods of their own and go through the contract tests.
ABLATIONS = sorted(name for name, place in registry.names("method").items() if place.startswith(arms.__name__))


def test_every_arm_is_listed_and_has_its_place_in_the_table() -> None:
    assert set(ABLATIONS) == set(ARMS)
    assert set(registry.names("method")) <= set(ORDER)


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_arm_is_its_base_with_other_defaults(name: str) -> None:
    base, settings = ARMS[name]
    arm: type[Method] = registry.find("method", name)
    plain: type[Method] = registry.find("method", base)
    assert arm.__bases__ == (plain,)
    assert set(vars(arm)) - {"__module__", "__doc__", "__abstractmethods__", "_abc_impl"} <= {
        "label",
        "arm_of",
        "Settings",
    }
    assert arm.arm_of == base
    assert arm.label
    assert arm.label != plain.label
    assert arm.Settings.__bases__ == (plain.Settings,)
    assert arm().settings.model_dump() == plain.Settings(**settings).model_dump()
    assert all(arm().settings.origins()[key] == "paper" for key in settings)
    for key, field in plain.Settings.model_fields.items():
        own = arm.Settings.model_fields[key]
        assert (own.annotation, own.metadata) == (field.annotation, field.metadata), key
        assert own.description
        assert key in settings or own.description == field.description


@pytest.mark.parametrize("kind", ["plain", "dinov2", "eva02", "eva02-fused", "dinov3", "sam"])
@pytest.mark.parametrize("name", ABLATIONS)
def test_an_arm_attaches_as_its_base_with_these_hyperparameters(name: str, kind: str) -> None:
    base, settings = ARMS[name]
    arm, plain = registry.find("method", name), registry.find("method", base)
    backbone = tiny_backbone(kind)
    found = []
    for method in (arm(), plain(plain.Settings(**settings))):
        method.attach(backbone, torch_rng(0, "method"))
        trains = [key for key, parameter in backbone.named_parameters() if parameter.requires_grad]
        grouped = [
            [
                key
                for key, parameter in backbone.named_parameters()
                if any(parameter is each for each in group["params"])
            ]
            for group in method.parameter_groups()
        ]
        found.append((method.trainable(), trains, grouped, method.stored_values(), method.peak_values()))
        method.detach()
    assert found[0] == found[1]
    assert found[0][0] > 0
    assert found[0][1]


def test_parameters_of_a_vit_l_are_those_of_the_base() -> None:
    with torch.device("meta"):
        backbone = build_backbone("dinov2-l", pretrained=False)
    for name in ABLATIONS:
        made = registry.find("method", name)()
        made.attach(backbone, torch_rng(0, "method"))
        assert made.trainable() == VIT_L[ARMS[name][0]], name
        made.detach()


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_arm_selects_and_trains_what_its_base_with_these_hyperparameters_does(name: str) -> None:
    base, settings = ARMS[name]
    arm, plain = registry.find("method", name), registry.find("method", base)
    share: dict[str, float] = {"share": 0.03, "share_start": 0.01, "images": 16}
    runs = [
        Run(cls(cls.Settings(**given)), 8).finish()
        for cls, given in ((arm, share), (plain, share | settings), (plain, share))
    ]
    mine, same, other = (torch.cat([m.flatten() for m in run.selected().values()]) for run in runs)
    assert torch.equal(mine, same)
    assert not torch.equal(mine, other)
    assert int(mine.sum()) == int(other.sum())
    weights = [run.weights() for run in runs[:2]]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_no_two_methods_are_the_same() -> None:
    known = registry.names("method")
    found = [
        (ARMS.get(name, (name, {}))[0], registry.find("method", name)().settings.model_dump_json()) for name in known
    ]
    assert len(set(found)) == len(known)


def test_group_words_expand_to_registered_methods() -> None:
    known = registry.names("method")
    for word, names in request.GROUPS.items():
        assert word not in known
        assert {naming.base(name) for name in names} <= set(known)
        assert len(set(names)) == len(names)
    assert {name for names in request.GROUPS.values() for name in names} >= set(ABLATIONS)
