"""Cases of the training loop: schedules, micro-batches, checkpointing, perturbation, and resuming."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmark.check.micro import tiny
from benchmark.check.micro.digest import Numbers
from benchmark.check.micro.methods import make
from benchmark.check.micro.settled import Wide
from benchmark.check.micro.training import Run
from benchmark.common.microbatch import MicroBatch
from benchmark.common.temporary import temporary_folder
from benchmark.method import (
    Budget,
    EstimateSettings,
    Perturbation,
    PerturbationSettings,
    SparseAdamW,
    phases_with_estimate,
    top_k,
)
from benchmark.method.perturbation import restyle
from benchmark.protocol import DecoderSpec, Evaluation
from benchmark.training.runtime import RuntimeOptions
from benchmark.training.schedule import evaluation_steps, missing, schedule, timeline

RUNTIMES = {
    "accumulated": RuntimeOptions(accumulate=2),
    "checkpointed": RuntimeOptions(checkpointing=True),
    "both": RuntimeOptions(accumulate=2, checkpointing=True),
}
PERTURBATIONS: dict[str, dict[str, Any]] = {
    "embedding": {"probability": 1.0},
    "block": {"place": 1, "probability": 0.5},
    "population": {"deviations": "population", "probability": 0.7},
}


def cases() -> dict[str, Callable[[], Numbers]]:
    """Return the cases of the training loop."""
    found: dict[str, Callable[[], Numbers]] = {
        f"training/{name}": partial(_with_runtime, options) for name, options in RUNTIMES.items()
    }
    found |= {f"training/perturbed {name}": partial(_perturbed, given) for name, given in PERTURBATIONS.items()}
    return found | {
        "training/resumed": _resumed,
        "training/frozen": _frozen,
        "training/schedule": _schedule,
        "training/phases": _phases,
        "training/sparse": _sparse,
        "training/restyled": _restyled,
        "training/micro-batches": _micro_batches,
    }


def _with_runtime(options: RuntimeOptions) -> Numbers:
    """Full fine-tuning with drop path, and an estimate with micro-batches."""
    numbers = Numbers()
    for name in ("full", "fishertune-per-sample", "geco", "dora"):
        run = Run(make(name), tiny.protocol(iterations=3), tiny.SHORT, runtime=options)
        run.train()
        for key, value in run.numbers.items():
            numbers[f"{name}: {key}"] = value
        numbers.put_all(f"{name}: features", run.features())
    return numbers


def _perturbed(given: dict[str, Any]) -> Numbers:
    perturbation = Perturbation(PerturbationSettings(**given))
    run = Run(make("full"), tiny.protocol(iterations=5), tiny.SHORT, perturbation=perturbation)
    run.train()
    run.numbers.put_all("features", run.features())
    return run.numbers


def _resumed() -> Numbers:
    """Stop after each step and resume in a new trainer: the same weights as without a stop."""
    numbers = Numbers()
    for name in ("fishertune", "l2-sp"):
        fixed = tiny.protocol(iterations=4, evaluation=Evaluation(times=2))
        whole = Run(make(name), fixed, tiny.SHORT)
        whole.train()
        with temporary_folder("dgss-micro-") as folder:
            path = folder / "checkpoint"
            for until in range(1, len(whole.trainer.timeline) + 1):
                run = Run(make(name), fixed, tiny.SHORT)
                with Wide():
                    progress = run.trainer.run(lambda step: {"step": step}, path, "micro", until=until)
                    run.trainer.state.save(path, "micro", progress)
        apart = [float((a - b).abs().max()) for a, b in zip(whole.features(), run.features(), strict=True)]
        numbers.put(f"{name}: largest difference after resuming", max(apart))
        numbers.put_tree(f"{name}: losses", progress.losses)
        numbers.put_tree(f"{name}: progress", [progress.step, progress.extra, progress.scores])
        numbers.put_tree(f"{name}: unreached", run.trainer.progress.unreached)
    return numbers


def _frozen() -> Numbers:
    """While only the decoder trains, the backbone computes no gradient."""
    numbers = Numbers()
    run = Run(make("full"), tiny.protocol(iterations=3), tiny.SHORT)
    images, labels = tiny.batch()
    for place in range(2):
        run.trainer.progress.step = place
        run.trainer.enter(run.trainer.timeline[place].phase)
        with Wide():
            torch.stack(list(run.segmenter.losses(images, labels).values())).sum().backward()
        gradients = [parameter.grad is not None for parameter in run.segmenter.backbone.parameters()]
        numbers.put(f"gradients in step {place}", sum(gradients))
    return numbers


def _schedule() -> Numbers:
    numbers = Numbers()
    for title, fields in (
        ("usual", {}), ("no warm-up", {"lr_warmup": 0}), ("linear", {"power": 1.0, "lr_warmup": 4}),
        ("constant", {"power": 0.0, "lr_warmup": 3}),
    ):  # fmt: skip
        fixed = tiny.protocol(iterations=12, **fields)
        numbers.put(f"{title} factors", [schedule(fixed, step) for step in range(12)])
    for times in (1, 3, 5, 12):
        fixed = tiny.protocol(iterations=12, evaluation=Evaluation(times=times))
        numbers.put(f"evaluation steps of {times}", sorted(evaluation_steps(fixed)))
        numbers.put(f"missing of {times}", [missing(fixed, step, 1) for step in range(13)])
    return numbers


def _phases() -> Numbers:
    """Phases of methods that estimate, and the line of steps, with each budget and decoder warm-up."""
    numbers = Numbers()
    for warmed in (0, 8):
        for own in (True, False):
            settings = EstimateSettings(budget="own" if own else "shared", images=9)
            found = phases_with_estimate(settings, Budget(40 - warmed, warmed, 2), method="m", passes=3, at_least=2)
            words = f"budget {settings.budget} after {warmed}"
            numbers.put_tree(words, [[*vars(phase).values(), *phase.trains] for phase in found])
            decoder = DecoderSpec(lr=1e-3, channels=8, warmup=warmed)
            method = make("childtune-d", budget=settings.budget)
            line = timeline(method, tiny.protocol(iterations=40, decoder=decoder))
            places = [[slot.phase.name, slot.index, slot.iteration, slot.batch] for slot in line]
            numbers.put_tree(f"line, {words}", places)
    run = Run(make("gps"), tiny.protocol(iterations=6, decoder=DecoderSpec(lr=1e-3, channels=8)), tiny.SHORT)
    run.train()  # the decoder phase on top of the iterations is undone
    numbers.update(run.numbers)
    numbers.put("logits", run.logits())
    return numbers


def _sparse() -> Numbers:
    """Selecting by score, with ties, and cohorts of selected weights that come and go."""
    numbers = Numbers()
    scores = {"one": torch.tensor([3.0, 1, 2, 2, torch.inf]), "two": torch.tensor([[2.0, -1], [2, 0]])}
    for k in range(10):
        numbers.put_all(f"top {k}", top_k(scores, k).values())
    weights = {name: torch.nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4)) for name in ("a", "b")}
    optimizer = SparseAdamW(weights.values(), (0.8, 0.9), 1e-3, lr=0.1, weight_decay=0.3, names=weights)
    for step in range(6):
        mask = (torch.arange(12).reshape(3, 4) + step) % 3 == 0
        numbers.put(f"new at step {step}", optimizer.select(weights["a"], mask))
        numbers.put(f"left at step {step}", optimizer.unselect(weights["a"], ~mask) if step % 2 else 0)
        if step == 2:
            optimizer.select(weights["b"], torch.ones(3, 4, dtype=torch.bool))
        for name, weight in weights.items():
            weight.grad = torch.sin(torch.arange(12.0).reshape(3, 4) + step) * (1 + (name == "b"))
        optimizer.step()
        numbers.put_all(f"weights after step {step}", weights.values())
        numbers.put(f"selected after step {step}", optimizer.selected(weights["a"]))
    numbers.put_tree("changes", optimizer.changes())
    numbers.put_tree("state", optimizer.state_dict())
    return numbers


def _restyled() -> Numbers:
    numbers = Numbers()
    images = torch.stack([tiny.image(f"style {place}", 6, 7).flatten(1).T for place in range(3)])
    first, second = torch.linspace(-1, 2, 9).reshape(3, 1, 3), torch.linspace(1, -1, 9).reshape(3, 1, 3)
    for correction in (0, 1):
        numbers.put(f"correction {correction}", restyle(images, first, second, correction))
    numbers.put("one image", restyle(images[:1], first[:1], second[:1]))
    numbers.put("one position", restyle(images[:, :1], first, second))
    return numbers


def _micro_batches() -> Numbers:
    numbers = Numbers()
    everything = torch.arange(12.0).reshape(6, 2)
    for index in range(3):
        part = MicroBatch(index, 3)
        numbers.put(f"rows of part {index}", part.rows(everything))
        numbers.put(f"drawn for part {index}", part.draw(torch.rand, (2, 3), torch.Generator().manual_seed(3)))
        with part.whole_batch_draws():
            torch.manual_seed(2)
            numbers.put(f"kept in part {index}", torch.nn.functional.dropout(torch.ones(2, 4), 0.4))
            numbers.put(f"dropped in part {index}", torch.ones(2, 4).bernoulli_(0.7))
    return numbers
