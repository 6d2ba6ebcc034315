"""A method's trainable parameters are those that get a gradient; the others are counted apart.

The backbone has a block after the last out index, so that every method with parameters per block has some without a
gradient. AdamW has no state for a parameter that never got a gradient, which is the independent measurement here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from benchmark.models.backbone import Backbone
from benchmark.models.catalogue import BackboneSpec
from benchmark.models.decoder import Decoder
from benchmark.models.decoders import build_decoder
from benchmark.models.mask2former import Mask2Former
from benchmark.models.segmenter import Segmenter
from benchmark.parameters import counting
from benchmark.protocol import DecoderSpec
from benchmark.training.reached import unreached
from benchmark.training.trainer import Trainer
from tests.backbones import tiny_backbone
from tests.expected import EXPECTED, METHODS, UNREACHED
from tests.small import CLASSES, DIM, OneBatch, method, protocol

pytestmark = pytest.mark.slow

QUERIES, LEVELS = 8, (0, 1, 2, 3)
DECODERS = ("segformer", "linear", "mask2former")
BEHIND = r"vit\.blocks\.4\..*|(adaptformer\.4\.|fada\.\w+\.4\.|(minor_components|recyclelora)\.4_|ssf\.\w*blocks_4_).*"
"""Parameters of the block after the last out index."""
QUERY_LINK = r"rein\.(query|merge)\..*"
KINDS = ("weight", "bias")


def spec(decoder: str) -> DecoderSpec:
    return DecoderSpec.model_validate({"name": decoder, "lr": 1e-3})


def decoder_of(name: str) -> Decoder:
    if name != "mask2former":
        return build_decoder(spec(name), DIM, CLASSES, seed=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Mask2Former(DIM, CLASSES, QUERIES, encoder_layers=1, decoder_layers=2, points=256)


def trainer_of(name: str, decoder: str) -> Trainer:
    vit = tiny_backbone("dinov2", depth=5).vit
    backbone = Backbone(vit, BackboneSpec("tiny-dinov2", timm="", out_indices=LEVELS, weights="none"))
    made = method(name, **({"tokens": QUERIES} if name == "rein" else {}))
    segmenter = Segmenter(backbone, decoder_of(decoder))
    return Trainer(protocol(2, 2, 1e-3), 0, segmenter, made, OneBatch(), Accelerator(cpu=True))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", METHODS)
def test_exactly_the_parameters_without_gradient_are_unreached(name: str, decoder: str) -> None:
    trainer = trainer_of(name, decoder)
    trainer.run(lambda step: {})
    made, lost = trainer.method, trainer.progress.unreached
    names = {id(parameter): key for key, parameter in made.backbone.named_parameters()}
    groups = {names[id(p)]: p for group in made.parameter_groups() for p in group["params"]}
    linked = {key for key in groups if decoder == "mask2former" and re.fullmatch(QUERY_LINK, key)}
    known = {key for key in groups if re.fullmatch(f"{UNREACHED}|{BEHIND}", key)} - linked
    assert bool(linked) == ((name, decoder) == ("rein", "mask2former"))
    assert lost == {key: groups[key].numel() for key in known}
    states = {} if name == "freeze" else trainer.optimizers["backbone"].state
    if EXPECTED[name].part == "never":
        reached = sum(parameter.numel() for parameter in groups.values() if states.get(parameter))
        assert counting.unreached(made, spec(decoder)) == [made.trainable() - reached]
    else:
        selected = [states[parameter] for parameter in groups.values() if states.get(parameter)]
        reached = sum(len(state["index"]) for state in selected if state["steps"].any())
    assert made.trainable() - unreached(made, lost) == reached


def test_a_part_behind_the_last_out_index_gets_no_gradient() -> None:
    """Parts selects q and k of the last third of the blocks."""
    trainer = trainer_of("parts", "segformer")
    trainer.run(lambda step: {})
    assert unreached(trainer.method, trainer.progress.unreached or {}) == trainer.method.trainable() == 2 * DIM**2


def test_a_run_that_resumes_in_its_last_evaluation_knows_them(tmp_path: Path) -> None:
    def interrupt(step: int) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer_of("rein", "segformer").run(interrupt, tmp_path / "checkpoint", "k")
    resumed = trainer_of("rein", "segformer").run(lambda step: {}, tmp_path / "checkpoint", "k")
    assert set(resumed.unreached or {}) == {f"rein.{name}.{kind}" for name in ("query", "merge") for kind in KINDS}
