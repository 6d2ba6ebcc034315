"""Weight decay exempts exactly the parameters that the paper of each method exempts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from baselines.bitfit import BitFit
from baselines.childtune_d import ChildTuneD
from baselines.dora import DoRA
from baselines.full import Full
from baselines.lora import LoRA
from baselines.random import Random
from baselines.recyclelora import RecycleLoRA
from baselines.rein import Rein
from baselines.ssf import SSF
from baselines.vpt import VPT
from benchmark.method import Method
from benchmark.models.backbone import Backbone
from tests.backbones import tiny_backbone
from tests.baselines.numerics import attach


def norms(backbone: Backbone) -> set[str]:
    layers = [name for name, module in backbone.named_modules() if isinstance(module, nn.LayerNorm)]
    return {name for name, _ in backbone.named_parameters() if name.rpartition(".")[0] in layers}


def magnitudes(backbone: Backbone) -> set[str]:
    return {name for name, _ in backbone.named_parameters() if "lora_magnitude_vector" in name}


@pytest.mark.parametrize(
    ("cls", "decay", "exempt"),
    [
        (Full, 0.05, norms),
        (BitFit, 0.0, lambda backbone: set()),
        (LoRA, 0.05, lambda backbone: set()),
        (DoRA, 0.05, magnitudes),
        (VPT, 0.0, lambda backbone: set()),
        (Rein, 0.05, lambda backbone: {"rein.a", "rein.b", "rein.scale"}),
        (RecycleLoRA, 0.0, lambda backbone: set()),
        (SSF, 0.0, lambda backbone: set()),
        (Random, 0.05, lambda backbone: set()),
        (ChildTuneD, 0.05, lambda backbone: set()),
    ],
)
def test_weight_decay_exempts_exactly_what_the_papers_exempt(
    cls: type[Method], decay: float, exempt: Callable[[Backbone], set[str]]
) -> None:
    for given in (None, 0.3):
        settings = cls.Settings() if given is None else cls.Settings.model_validate({"weight_decay": given})
        backbone = tiny_backbone("eva02")
        groups = attach(cls(settings), backbone).parameter_groups()
        names = {id(parameter): name for name, parameter in backbone.named_parameters()}
        decays = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
        spared = exempt(backbone)
        assert decays == {name: 0.0 if name in spared else decay if given is None else given for name in decays}
        assert spared <= set(decays)
