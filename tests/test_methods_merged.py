"""Merged weights: for every method and architecture, the plain backbone with them computes what the tuned one does."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.common.rng import torch_rng
from benchmark.method import Method, Settings
from benchmark.models.backbone import Backbone
from tests.backbones import KINDS, tiny_backbone
from tests.expected import METHODS
from tests.small import method

pytestmark = pytest.mark.slow

INSERTING = {"adaptformer", "fada", "rein", "vpt", "vqt"}
WITHOUT_BIAS = {"eva02": r"attn\.k_proj", "eva02-fused": r"attn\.qkv has no bias for keys", "dinov3": r"attn\.qkv"}
"""Architectures in which SSF has shifts that no bias can take."""
IMAGES = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(0))


def tuned(name: str, kind: str) -> tuple[Method, Backbone]:
    """Return a method whose parameters all differ from their initial values, and its backbone."""
    backbone = tiny_backbone(kind).eval()
    made = method(name)
    made.attach(backbone, torch_rng(0, "method"))
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for group in made.parameter_groups():
            for parameter in group["params"]:
                parameter += 0.03 * torch.randn(parameter.shape, generator=rng)
    return made, backbone


def difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Return the largest absolute difference, relative to the largest value of a map if that is above 1."""
    return max(
        float((a - b).abs().max() / a.abs().max().clamp(min=1)) for a, b in zip(ours, theirs, strict=True)
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(METHODS) - INSERTING))
@torch.no_grad()
def test_merged_weights_give_the_outputs_of_the_tuned_backbone(name: str) -> None:
    for kind in KINDS:
        if name == "ssf" and kind in WITHOUT_BIAS:
            continue
        made, backbone = tuned(name, kind)
        plain = tiny_backbone(kind).eval()
        before, wanted = plain(IMAGES), backbone(IMAGES)
        plain.vit.load_state_dict(made.merged())
        assert difference(wanted, plain(IMAGES)) < 1e-5, kind
        assert (difference(wanted, before) > 1e-3) is (name != "freeze"), kind


@pytest.mark.parametrize("name", sorted(INSERTING))
def test_a_method_that_inserts_modules_states_its_own_reason(name: str) -> None:
    made, _ = tuned(name, "plain")
    assert made.unmergeable
    with pytest.raises(
        UserError, match=re.escape(f"{made.label} cannot be merged") + ".*" + re.escape(made.unmergeable)
    ):
        made.merged()


@pytest.mark.parametrize(("kind", "place"), WITHOUT_BIAS.items())
def test_ssf_names_the_layer_without_a_bias(kind: str, place: str) -> None:
    with pytest.raises(UserError, match=place):
        tuned("ssf", kind)[0].merged()


def test_merging_leaves_the_tuned_backbone_unchanged() -> None:
    made, backbone = tuned("soma", "dinov2")
    state = {name: value.clone() for name, value in backbone.state_dict().items()}
    for value in made.merged().values():
        value.zero_()
    assert all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())


class Silent(Method):
    """Adds a module without a word about merging, as methods of other packages may."""

    label, source, Settings = "Silent", "test", Settings

    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        self.begin(backbone)
        self.add("silent", nn.Linear(1, 1))

    def parameter_groups(self) -> list[dict[str, object]]:
        return []


def test_a_method_that_defines_nothing_is_refused_and_not_merged_wrongly() -> None:
    made = Silent()
    made.attach(tiny_backbone("plain"), torch_rng(0, "method"))
    with pytest.raises(UserError, match="Silent adds modules and does not define merged"):
        made.merged()


def test_the_tests_know_every_method() -> None:
    assert set(METHODS) >= INSERTING
    assert {name for name in registry.main_methods() if registry.find("method", name).unmergeable} == INSERTING
