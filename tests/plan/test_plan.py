"""The plan: operations against torch's own counter, memory against what autograd keeps, and what a user reads."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.common import registry
from benchmark.common.rng import torch_rng
from benchmark.models.backbone import Backbone
from benchmark.plan import costs
from benchmark.protocol import DecoderSpec, Protocol
from benchmark.runs.job import Job
from benchmark.runs.spec import RunSpec
from benchmark.training.runtime import RuntimeOptions
from tests.backbones import tiny_backbone
from tests.cli.test_cli import call, refused
from tests.small import PATCH, protocol

SIZE = (32, 48)


def fixed(warmup: int = 2) -> Protocol:
    spec = protocol(10, 4)
    return spec.model_copy(update={"decoder": DecoderSpec(lr=1e-3, channels=8, warmup=warmup)})


def meta(backbone: Backbone) -> Backbone:
    return deepcopy(backbone).to("meta")


def small() -> Backbone:
    """Four blocks, as many as the light decoder looks at."""
    return tiny_backbone("dinov2", depth=4)


def planned(name: str, decoder: costs.DecoderCost, processes: int = 1, **runtime: Any) -> costs.Cost:
    here = Path()
    job = Job(RunSpec(fixed(), "tiny", name, 0), here, here, runtime=RuntimeOptions(**runtime))
    return costs.cost(job, meta(small()), decoder, {"validation": 5}, processes)


@pytest.fixture(scope="module")
def decoder() -> costs.DecoderCost:
    return costs.decoder_cost(fixed(), small(), 4)


@pytest.mark.parametrize("kind", ["plain", "dinov2", "eva02"])
def test_operations_are_those_that_torch_counts(kind: str) -> None:
    backbone = meta(tiny_backbone(kind)).eval()  # on a CPU torch counts no fused attention
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone(torch.zeros(1, 3, *SIZE, device="meta"))
    assert costs.forward(backbone, SIZE) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_a_small_run_tells_what_a_larger_image_takes(decoder: costs.DecoderCost) -> None:
    backbone = small()
    built = costs.build_decoder(fixed().decoder, backbone.embed_dim, 4, seed=0)
    flops, kept = costs._measured(built, backbone, 16, 4)
    assert decoder.forward(256) == pytest.approx(flops, rel=0.01)
    assert decoder.memory(256) == pytest.approx(kept, rel=0.02)
    assert decoder.parameters == sum(parameter.numel() for parameter in built.parameters())


@pytest.mark.parametrize(
    ("name", "kind"), [("full", "dinov2"), ("full", "eva02"), ("lora", "plain"), ("vpt", "dinov2")]
)
def test_small_runs_tell_what_a_larger_image_keeps(name: str, kind: str) -> None:
    """Without any memory, about as much as autograd keeps where there is some."""
    made, backbone = registry.find("method", name)(), tiny_backbone(kind)
    made.attach(backbone, torch_rng(0, "method"))
    made.train_mode()
    image = torch.zeros(1, 3, 16 * PATCH, 12 * PATCH)
    kept = costs.kept_for_backward(lambda: backbone(image), backbone)
    planned = registry.find("method", name)()
    copy = meta(tiny_backbone(kind))
    planned.attach(copy, torch_rng(0, "method"))
    planned.train_mode()
    constant, slope = costs.feature_cost(copy)
    assert constant + slope * 16 * 12 == pytest.approx(kept, rel=0.15)


def test_fewer_images_at_a_time_and_less_of_each_take_less(decoder: costs.DecoderCost) -> None:
    plain, steps, saving = (planned("full", decoder, **how) for how in ({}, {"accumulate": 4}, {"checkpointing": True}))
    shared = planned("full", decoder, 4)
    gradients = 4 * (plain.trained + decoder.parameters)  # once more where processes exchange them
    assert steps.memory == pytest.approx(shared.memory - gradients)
    assert saving.memory < plain.memory
    assert saving.training > plain.training == steps.training


def test_what_trains_decides_what_training_takes(decoder: costs.DecoderCost) -> None:
    backbone = small()
    once, head = costs.forward(backbone, (32, 32)), decoder.forward(16)
    assert planned("freeze", decoder).training == pytest.approx(10 * 4 * (once + 3 * head))
    assert planned("full", decoder).training == pytest.approx(2 * 4 * (once + 3 * head) + 8 * 4 * 3 * (once + head))
    size = sum(parameter.numel() for parameter in backbone.parameters())
    full, freeze, chosen = (planned(name, decoder) for name in ("full", "freeze", "random"))
    assert (full.trained, freeze.trained, chosen.trained) == (size, 0, round(0.05 * size))
    assert freeze.memory < chosen.memory < full.memory
    assert full.memory - planned("full", decoder, 2).memory < full.memory / 2, "weights are not shared, images are"
    assert planned("full+perturbed", decoder) == full
    assert (full.kept, freeze.kept) == (4 * (size + decoder.parameters), 4 * decoder.parameters)
    assert chosen.kept == 8 * chosen.trained + 4 * decoder.parameters


def test_estimates_take_memory_and_disk(decoder: costs.DecoderCost) -> None:
    """Before optimizer states, so the larger of both counts; the weights that may be chosen are those of Random."""
    matrices, blocks = (4 * (3 * 48 * 48 + 2 * 48 * 192), sum(p.numel() for p in small().blocks.parameters()))
    chosen, estimated, scored = (planned(name, decoder) for name in ("random", "fishertune", "childtune-d"))
    assert estimated.memory == chosen.memory
    assert estimated.checkpoint - chosen.checkpoint == 4 * 4 * matrices - 12 * chosen.trained
    masked = planned("childtune-f", decoder)
    assert masked.checkpoint - scored.checkpoint == 8 * blocks - max(12 * round(0.3 * blocks), 4 * blocks)


def test_scoring_counts_every_window(decoder: costs.DecoderCost) -> None:
    spec = fixed()
    slide = spec.evaluation.model_copy(update={"mode": "slide", "crop": 32, "stride": 16})
    split = spec.validation.model_copy(update={"test_size": (64, 32)})
    spec = spec.model_copy(update={"evaluation": slide, "validation": split})
    backbone = small()
    found = costs._scoring(spec, backbone, decoder, {"validation": 5})
    assert found == pytest.approx(5 * 3 * (costs.forward(backbone, (32, 32)) + decoder.forward(16)))


def rows_of(text: str) -> dict[str, str]:
    """The lines of a table in markdown, by their first cell."""
    return {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}


def test_a_plan_of_the_papers_protocol_needs_neither_data_nor_weights(tmp_path: Path) -> None:
    words = ["--methods", "fishertune,rein", "--protocol", "gtav-to-cbm", "--seeds", "0-2"]
    done = call("plan", *words, "--records", tmp_path / "runs", HF_HOME=str(tmp_path / "hub"), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout)
    assert "3 of 3" in rows["fishertune"]
    assert "4000 decoder + 4000 estimate + 32000 tune" in rows["fishertune"]
    assert "15.210" in rows["fishertune"]
    assert "2.990" in rows["rein"]
    assert "data: missing: protocol gtav-to-cbm@rein-test needs --data-root" in done.stdout
    assert "weights: not here: about 1.2 GB of timm/vit_large_patch14_dinov2.lvd142m" in done.stdout
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "hub").exists()


def test_a_plan_knows_records_and_data(tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]) -> None:
    words: list[str | Path] = [
        "--protocol",
        tiny_protocol(iterations=5),
        "--data-root",
        tiny_data,
        "--records",
        tmp_path / "runs",
    ]
    assert call("run", *words, "--methods", "freeze").returncode == 0
    done = call("plan", *words, "--methods", "freeze,lora", "--seeds", "0,1")
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout)
    assert "1 of 2" in rows["freeze"]
    assert "CPU | 1 records" in rows["freeze"]
    assert "2 of 2" in rows["lora"]
    assert "GPU | arithmetic" in rows["lora"]
    assert "data: elsewhere: 3 of 3 frames in" in done.stdout
    assert "weights: none: random" in done.stdout
    assert "GB are free in" in done.stdout


def test_a_plan_refuses_what_run_would(tmp_path: Path) -> None:
    line = refused(call("plan", "--methods", "freeze", "--protocol", "gtav-to-cbm", "--processes", "3"))
    assert "4 images per batch, which 3 processes cannot share equally" in line
