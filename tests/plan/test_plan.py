"""The plan: operations against torch's counter, memory against autograd's saved tensors, and the printed text."""

from __future__ import annotations

import re
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
from benchmark.plan import costs, hours
from benchmark.plan.hours import Hours
from benchmark.plan.verdict import Device, verdict
from benchmark.protocol import DecoderSpec, Protocol
from benchmark.runs.job import Job
from benchmark.runs.spec import RunSpec
from benchmark.training.runtime import RuntimeOptions
from tests.backbones import tiny_backbone
from tests.cli.test_cli import call, refused
from tests.records.made import stored
from tests.small import PATCH, protocol

pytestmark = pytest.mark.slow

SIZE = (32, 48)


def fixed(warmup: int = 2) -> Protocol:
    spec = protocol(10, 4)
    return spec.model_copy(update={"decoder": DecoderSpec(lr=1e-3, channels=8, warmup=warmup)})


def meta(backbone: Backbone) -> Backbone:
    return deepcopy(backbone).to("meta")


def small() -> Backbone:
    """Return a backbone with four blocks, as many as the light decoder reads."""
    return tiny_backbone("dinov2", depth=4)


def planned(name: str, decoder: costs.DecoderCost, processes: int = 1, **runtime: Any) -> costs.Cost:
    here = Path()
    job = Job(RunSpec(fixed(), "tiny", name, 0), here, here, runtime=RuntimeOptions(**runtime))
    return costs.cost(job, meta(small()), decoder, {"validation": 5}, processes)


@pytest.fixture(scope="module")
def decoder() -> costs.DecoderCost:
    return costs.decoder_cost(fixed(), small(), 4)


@pytest.mark.parametrize("kind", ["plain", "dinov2", "eva02"])
def test_operations_equal_torchs_count(kind: str) -> None:
    backbone = meta(tiny_backbone(kind)).eval()  # on a CPU torch does not count fused attention
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        backbone(torch.zeros(1, 3, *SIZE, device="meta"))
    assert costs.forward(backbone, SIZE) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_the_decoders_cost_extrapolates_to_larger_images(decoder: costs.DecoderCost) -> None:
    backbone = small()
    built = costs.build_decoder(fixed().decoder, backbone.embed_dim, 4, seed=0)
    flops, kept = costs._measured(built, backbone, 16, 4)
    assert decoder.forward(256) == pytest.approx(flops, rel=0.01)
    assert decoder.memory(256) == pytest.approx(kept, rel=0.02)
    assert decoder.parameters == sum(parameter.numel() for parameter in built.parameters())


@pytest.mark.parametrize(
    ("name", "kind"), [("full", "dinov2"), ("full", "eva02"), ("lora", "plain"), ("vpt", "dinov2")]
)
def test_saved_memory_extrapolates_to_larger_images(name: str, kind: str) -> None:
    """The estimate on the meta device is close to what autograd saves on the CPU."""
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


def test_accumulation_and_checkpointing_take_less_memory(decoder: costs.DecoderCost) -> None:
    plain, steps, saving = (planned("full", decoder, **how) for how in ({}, {"accumulate": 4}, {"checkpointing": True}))
    shared = planned("full", decoder, 4)
    size = sum(parameter.numel() for parameter in small().parameters())
    gradients = 4 * (size + decoder.parameters)  # ranks need a second copy to all-reduce
    assert steps.memory == pytest.approx(shared.memory - gradients)
    assert saving.memory < plain.memory
    assert saving.training > plain.training == steps.training


def test_cost_depends_on_the_trainable_weights(decoder: costs.DecoderCost) -> None:
    backbone = small()
    once, head = costs.forward(backbone, (32, 32)), decoder.forward(16)
    assert planned("freeze", decoder).training == pytest.approx(10 * 4 * (once + 3 * head))
    assert planned("full", decoder).training == pytest.approx(2 * 4 * (once + 3 * head) + 8 * 4 * 3 * (once + head))
    size = sum(parameter.numel() for parameter in backbone.parameters())
    full, freeze, chosen = (planned(name, decoder) for name in ("full", "freeze", "random"))
    norm = 2 * small().embed_dim  # block outputs are read before it
    assert (full.trainable, freeze.trainable, chosen.trainable) == (size - norm, 0, round(0.05 * size))
    assert freeze.memory < chosen.memory < full.memory
    assert full.memory - planned("full", decoder, 2).memory < full.memory / 2, "ranks split images, not weights"
    assert planned("full+perturbed", decoder) == full
    assert (full.kept, freeze.kept) == (4 * (size + decoder.parameters), 4 * decoder.parameters)
    assert chosen.kept == 8 * chosen.trainable + 4 * decoder.parameters


def test_estimates_take_memory_and_disk(decoder: costs.DecoderCost) -> None:
    """Estimates are freed before optimizer states are allocated, so the larger counts; candidates are as in Random."""
    matrices, blocks = (4 * (3 * 48 * 48 + 2 * 48 * 192), sum(p.numel() for p in small().blocks.parameters()))
    chosen, estimated, scored = (planned(name, decoder) for name in ("random", "fishertune", "childtune-d"))
    # Two halves on two domains, and the weights, noise and curvature of an update: more than Random's optimizer states.
    assert estimated.memory - chosen.memory == 4 * 7 * matrices - 12 * chosen.trainable
    assert planned("fishertune-per-sample", decoder).memory == chosen.memory
    assert estimated.checkpoint - chosen.checkpoint == 4 * 4 * matrices - 12 * chosen.trainable
    masked = planned("childtune-f", decoder)
    assert masked.checkpoint - scored.checkpoint == 8 * blocks - max(12 * round(0.3 * blocks), 4 * blocks)


def test_evaluation_counts_every_window(decoder: costs.DecoderCost) -> None:
    spec = fixed()
    slide = spec.evaluation.model_copy(update={"mode": "slide", "crop": 32, "stride": 16})
    split = spec.validation.model_copy(update={"test_size": (64, 32)})
    spec = spec.model_copy(update={"evaluation": slide, "validation": split})
    backbone = small()
    found = costs._evaluation(spec, backbone, decoder, {"validation": 5})
    assert found == pytest.approx(5 * 3 * (costs.forward(backbone, (32, 32)) + decoder.forward(16)))


@pytest.mark.parametrize(
    ("needed", "hours", "pending", "device", "words"),
    [
        (17e9, {"GPU": 12.34}, 3, Device("", 64e9), "fits on a GPU of 24 GB (rein needs about 17.0 GB; this machine"),
        (17e9, {"GPU": 12.34}, 3, Device("", 64e9), "; the 3 pending runs take about 12 GPU-hours"),
        (22e9, {"GPU": 1234.0}, 3, Device("", 64e9), "fits on a GPU of 32 GB"),
        (200e9, {"GPU": 1.0}, 1, Device("", 64e9), "does not fit on a GPU of 141 GB"),
        (
            17e9,
            {"GPU": 1.0},
            1,
            Device("A10", 24e9),
            "fits on this GPU (A10, 24 GB; rein needs about 17.0 GB); the pend",
        ),
        (21e9, {"GPU": 1.0}, 1, Device("A10", 24e9), "does not fit on this GPU (A10, 24 GB;"),
        (21e9, {"GPU": 1.0}, 1, Device("A10", 24e9), "--accumulate and --checkpointing need less"),
        (4e8, {"CPU": 0.001}, 1, Device("", 8e9), "fits in this machine's memory (8 GB free; rein needs about 0.4 GB)"),
        (4e8, {"CPU": 0.001}, 1, Device("", 8e9), "the pending run takes less than 0.01 CPU-hours"),
        (9e9, {"CPU": 0.5}, 2, Device("", 8e9), "does not fit in this machine's memory"),
        (9e9, {"CPU": 0.5, "GPU": 2.5}, 2, Device("", 8e9), "take about 0.50 CPU-hours and about 2.5 GPU-hours"),
        (0.0, {}, 0, Device("", 8e9), "nothing to run: all runs are finished"),
    ],
)
def test_the_verdict_says_whether_it_fits_and_how_long_it_takes(
    needed: float, hours: dict[str, float], pending: int, device: Device, words: str
) -> None:
    assert words in verdict(needed, "rein", hours, pending, device)


def rows_of(text: str) -> dict[str, str]:
    """Return the lines of a markdown table by their first cell."""
    return {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}


def test_a_plan_of_the_papers_protocol_needs_neither_data_nor_weights(tmp_path: Path) -> None:
    words = ["--methods", "fishertune,rein", "--protocol", "gtav-to-cbm", "--seeds", "0-2"]
    done = call("plan", *words, "--records", tmp_path / "runs", HF_HOME=str(tmp_path / "hub"), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    first, rows = done.stdout.splitlines()[0], rows_of(done.stdout)
    assert re.match(
        r"fits on .*GPU.* \d+ GB.*\w+ needs about [\d.]+ GB.*; the 6 pending runs take about \d+ GPU-", first
    )
    assert "3 of 3" in rows["fishertune"]
    assert "4000 decoder on top + 128 estimate on top + 40000 tune" in rows["fishertune"]
    assert "15.210" in rows["fishertune"]
    assert "2.990" in rows["rein"]
    (data,) = (line for line in done.stdout.splitlines() if line.startswith("data: "))
    assert "missing" in data
    assert "--data-root" in data
    (weights,) = (line for line in done.stdout.splitlines() if line.startswith("weights: "))
    assert "1.2 GB of timm/vit_large_patch14_dinov2.lvd142m" in weights
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "hub").exists()


def test_hours_of_gpus_and_cpus_have_no_mean(decoder: costs.DecoderCost, tmp_path: Path) -> None:
    job = Job(RunSpec(fixed(), "tiny", "full", 0), None, tmp_path)
    facts: dict[str, Any] = {"protocol": fixed().name, "fingerprint": fixed().fingerprint(), "backbone": "tiny"}
    stored(tmp_path, "full", 0, machine={"accelerator": "H200"}, **facts)
    stored(tmp_path, "full", 1, machine={"accelerator": None}, cpu_seconds=1e6, **facts)
    found = hours.recorded(job)
    assert found is not None
    assert (found.kind, found.basis) == ("GPU", "1 record")
    assert found.each == pytest.approx(15.5 / 3600)


def test_unrecorded_methods_take_the_time_that_the_others_suggest(decoder: costs.DecoderCost) -> None:
    full, lora, freeze = (planned(name, decoder) for name in ("full", "lora", "freeze"))

    def operations(cost: costs.Cost) -> float:
        return cost.training + cost.evaluation

    job = Job(RunSpec(fixed(), "tiny", "lora", 0), None, Path("runs"))
    on_cpu = [(Hours("CPU", 3.0, "2 records"), full), (None, lora), (Hours("CPU", 1.0, "1 record"), freeze)]
    found = hours.estimated(job, lora, hours.speed(on_cpu))
    assert (found.kind, found.basis) == ("CPU", "2 others")
    assert found.each == pytest.approx(4 * operations(lora) / (operations(full) + operations(freeze)))
    on_both = [*on_cpu, (Hours("GPU", 0.5, "1 record"), freeze)]
    found = hours.estimated(job, lora, hours.speed(on_both))
    assert (found.kind, found.basis) == ("GPU", "1 other")
    assert found.each == pytest.approx(0.5 * operations(lora) / operations(freeze))
    assert hours.speed([(None, full)]) is None
    assert hours.estimated(job, lora, None).basis == "arithmetic"


def test_a_plan_uses_records_and_data(tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]) -> None:
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
    assert "CPU | 1 record " in rows["freeze"]
    assert "2 of 2" in rows["lora"]
    assert "CPU | 1 other " in rows["lora"]
    assert "data: elsewhere: 3 of 3 frames in" in done.stdout
    assert "weights: none: random" in done.stdout
    assert f"GB are free in {tmp_path / 'runs'}" in done.stdout


def test_a_plan_fails_where_run_would(tmp_path: Path) -> None:
    line = refused(call("plan", "--methods", "freeze", "--protocol", "gtav-to-cbm", "--processes", "3"))
    assert "4 images" in line
    assert " 3 " in line
