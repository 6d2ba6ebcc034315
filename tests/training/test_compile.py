"""Runs with compiled blocks compute the same as others."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers import DropPath
from torch._dynamo.utils import counters

from benchmark.models.segmenter import Segmenter
from benchmark.records import read
from benchmark.training.progress import Progress
from benchmark.training.ranks import make_accelerator
from benchmark.training.runtime import RuntimeOptions
from benchmark.training.trainer import Trainer
from tests.backbones import tiny_backbone
from tests.cli.test_cli import call
from tests.runs.test_distributed import Crops
from tests.small import Head, method, protocol
from tests.training.test_trainer import job_of
from tests.warm import shared

pytestmark = pytest.mark.slow

STEPS, BATCH = 5, 4
Run = dict[str, Any]


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def train(name: str, drop_path: float, runtime: RuntimeOptions) -> Run:
    """The decoder alone, an estimate where there is one, then steps of the method; what the last leaves, and scores."""
    counters.clear()
    spec, data = protocol(STEPS, BATCH, decoder_lr=1e-3), Crops()
    spec = spec.model_copy(update={"decoder": spec.decoder.model_copy(update={"warmup": 1})})
    backbone = tiny_backbone("dinov2")
    for block in backbone.blocks:  # alike, so that they are compiled once
        block.drop_path1, block.drop_path2 = DropPath(drop_path), DropPath(drop_path)
    segmenter = Segmenter(backbone, Head())
    made = method(name)
    trainer = Trainer(spec, 0, segmenter, made, data, make_accelerator("float32"), None, runtime)
    losses: list[dict[str, float]] = []
    trainer.run(lambda step: {}, tick=lambda step, named: losses.append(named), until=STEPS - 1)
    trainer.optimizers.clear()  # the last step keeps its gradients
    trainer.model.zero_grad = lambda set_to_none=True: None
    named = trainer.step(*next(trainer._batches(STEPS)))
    gradients = {n: p.grad for n, p in segmenter.named_parameters() if p.grad is not None and bool(p.grad.any())}
    segmenter.eval()
    sizes = (1, 2, 3) if name == "rein" else ()
    scores = [segmenter.predict(data.images[:1, :, : 8 * n]) for n in sizes]
    return {
        "losses": [*losses, named], "gradients": gradients,
        "scores": scores, "chosen": made.report().get("chosen"), "names": list(segmenter.state_dict()),
        "graphs": counters["stats"]["unique_graphs"], "breaks": dict(counters["graph_break"]),
    }  # fmt: skip


@cache
def plain(name: str, drop_path: float) -> Run:
    return train(name, drop_path, RuntimeOptions())


def compare(name: str, drop_path: float, runtime: RuntimeOptions) -> None:
    one, two = plain(name, drop_path), train(name, drop_path, runtime)
    assert (one["graphs"], two["graphs"] > 1, two["breaks"]) == (0, True, {})
    for losses, others in zip(one["losses"], two["losses"], strict=True):
        assert others == pytest.approx(losses, rel=1e-5)
    assert one["gradients"].keys() == two["gradients"].keys()
    for key, gradient in one["gradients"].items():
        torch.testing.assert_close(two["gradients"][key], gradient, rtol=1e-3, atol=1e-6, msg=key)
    torch.testing.assert_close(two["scores"], one["scores"], rtol=1e-4, atol=1e-5)
    assert one["chosen"] == two["chosen"]
    assert one["names"] == two["names"]


@pytest.mark.parametrize("name", ["rein", "lora", "fishertune"])
def test_a_compiled_step_equals_a_plain_one(name: str) -> None:
    """Hooks on blocks, then scored at several sizes; modules put into blocks; an estimate that watches operations."""
    compare(name, 0.0, RuntimeOptions(compile=True))


@pytest.mark.parametrize("times", [1, 2])
def test_drop_path_drops_the_same_paths(times: int) -> None:
    """With micro-batches and recomputed blocks, and with a compiled block that is reused."""
    compare("full", 0.6, RuntimeOptions(accumulate=2, checkpointing=True, compile=True))


def test_a_compiled_run_resumes_as_if_uninterrupted(tmp_path: Path) -> None:
    """Blocks are compiled again and compute the same; the checkpoint equals that of plain blocks."""

    def made(compile: bool = True) -> Trainer:
        spec = protocol(STEPS, BATCH, decoder_lr=1e-3)
        segmenter = Segmenter(tiny_backbone("dinov2", depth=3), Head())
        runtime = RuntimeOptions(compile=compile)
        return Trainer(spec, 0, segmenter, method("fishertune"), Crops(), make_accelerator("float32"), None, runtime)

    def losses(trainer: Trainer, save: Path | None = None, stop: int = STEPS + 1) -> list[dict[str, float]]:
        seen: list[dict[str, float]] = []

        def tick(progress: Progress, named: dict[str, float]) -> None:
            seen.append(named)
            if progress.place == stop:
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            trainer.run(lambda step: {}, save, "key", tick)
        return seen

    straight = losses(made())
    assert (bool(straight[1]), bool(straight[2])) == (False, True), "it estimates, then tunes"
    save = tmp_path / "checkpoint"
    first = losses(made(), save, stop=3)
    kept = Path(shutil.copy(save, tmp_path / "kept"))
    torch._dynamo.reset()
    counters.clear()
    rest = losses(made(), save)
    assert counters["stats"]["unique_graphs"] > 1
    assert [*first, *rest] == straight
    assert losses(made(compile=False), kept)[0] == pytest.approx(straight[3], rel=1e-5)


def test_the_record_says_compiled(tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]) -> None:
    path = tiny_protocol(iterations=4, evaluation={"times": 1})
    words: list[str | Path] = ["--protocol", path, "--data-root", tiny_data, "--records", tmp_path]
    done = call("run", *words, "--methods", "freeze", "--compile")
    assert done.returncode == 0, done.stderr
    record = read(job_of(path, tiny_data, tmp_path, "freeze").record)
    assert record.machine["compile"] is True
    assert record.losses[-1][0] == 4


def test_without_a_compiler_a_run_is_refused_in_one_line(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    words: list[str | Path] = ["--protocol", tiny_protocol(), "--data-root", tiny_data, "--records", tmp_path]
    # As CXX, which torch reads when it is imported.
    code = f"patch('torch._inductor.config.cpp.cxx', (None, {str(tmp_path / 'none')!r}))"
    output = tmp_path / "output"
    assert shared().wait(shared().start(["run", *words, "--methods", "freeze", "--compile"], output, code)) == 2
    (line,) = (line for line in output.read_text().splitlines() if " refused: " in line)
    assert "--compile: torch cannot compile for a cpu here: InvalidCxxCompiler" in line
    assert "Traceback" not in output.read_text()
