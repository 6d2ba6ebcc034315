"""Performance targets: the tests to compare, the target ratio, and the explanation if it is missed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

VITS = {"dinov2-s": "ViT-S", "dinov2-b": "ViT-B"}


@dataclass(frozen=True)
class Aim:
    """One row of the first table.

    Attributes:
        what, against: descriptions of the two sides.
        ours, theirs: names of tests; if ``theirs`` is empty, ours is compared with an absolute target.
        aim: target ratio, or absolute target.
        kind: ``at most``: ours / theirs; ``at least``: speed-up, theirs / ours; ``rate``: calls per second, at least;
            ``seconds``: at most.
        of: ``time`` or ``memory``.
        floor: a test of the unavoidable part, used as the lower bound instead of counted operations or bytes.
        note: what limits it, if the target is missed.
    """

    what: str
    against: str
    ours: str
    theirs: str
    aim: float
    kind: Literal["at most", "at least", "rate", "seconds"]
    of: Literal["time", "memory"] = "time"
    floor: str = ""
    note: str = ""


def _step(backbone: str, name: str, way: str = "ours") -> str:
    return f"test_training_step[{backbone}-{name}-{way}]"


def _squares(name: str, how: str) -> str:
    return f"test_squared_gradients_of_a_batch[{name}-{how}]"


def steps() -> list[Aim]:
    """Return the rows of training steps."""
    rows = []
    for backbone, vit in VITS.items():
        for name in ("rein", "vpt", "lora", "adaptformer"):
            rows.append(Aim(
                f"step of {name}, {vit}", "plain implementation", _step(backbone, name),
                _step(backbone, name, "formula"), 1.0, "at most", note=NOTES["steps"],
            ))  # fmt: skip
        rows.append(Aim(f"step of lora, {vit}", "plain loop with peft", _step(backbone, "lora"),
                        _step(backbone, "lora", "peft"), 1.0, "at most", note=NOTES["peft"]))  # fmt: skip
        rows += [
            Aim(
                f"step of {name}, {vit}",
                "step of full",
                _step(backbone, name),
                _step(backbone, "full"),
                aim,
                "at most",
                note=NOTES["full"],
            )
            for name, aim in (("freeze", 0.45), ("lora", 0.85), ("rein", 0.85))
        ]  # fmt: skip
    return rows


SQUARES = {"vit-tiny-random-8-128": "vit-tiny, 8 images", "dinov2-s-4-128": "ViT-S, 4 images"}
WINDOWS = {
    "vit-tiny-random-size0-64-43": "vit-tiny, windows of 64", "vit-tiny-random-size1-512-341": "vit-tiny, of 512",
    "dinov2-s-size2-512-341": "ViT-S, of 512",
}  # fmt: skip


def data_and_runs() -> list[Aim]:
    """Return the rows of reading data, of whole runs and of the per-sample Fisher."""
    memory = "test_memory_on_a_vit_b"
    rows = [
        Aim("samples from disk, embedded default", "mmsegmentation's pipeline", "test_samples[ours-embedded default]",
            "test_samples[mmsegmentation-embedded default]", 2, "at least"),
        Aim("samples from disk, GTA5's size", "mmsegmentation's pipeline", "test_samples[ours-GTA5's size]",
            "test_samples[mmsegmentation-GTA5's size]", 1.6, "at least",
            floor="test_samples[decoding-GTA5's size]", note=NOTES["samples"]),
        *(Aim(f"labels of {name}", "pre-converted files", f"test_label[{name.lower()}-on the fly]",
              f"test_label[{name.lower()}-converted]", 0.95, "at least") for name in ("GTA5", "Mapillary")),
        Aim("run of fishertune, CPU time in the committed records", "run of full", "records[fishertune]",
            "records[full]", 1.1, "at most", note=NOTES["estimate"]),
        Aim("run of fishertune, ViT-B", "run of full", f"{memory}[fishertune-run]", f"{memory}[full-run]",
            0.65, "at most", "memory", note=NOTES["run"]),
        Aim("tuning phase of fishertune, ViT-B", "run of full", f"{memory}[fishertune-tuning]",
            f"{memory}[full-tuning]", 0.65, "at most", "memory"),
    ]  # fmt: skip
    for name, words in SQUARES.items():
        ours, plain = _squares(name, "one backward"), _squares(name, "plain backward")
        rows += [
            Aim(f"per-sample Fisher, {words}", "plain backward pass", ours, plain, 1.25, "at most",
                note=NOTES["fisher"]),
            Aim(f"per-sample Fisher, {words}", "plain backward pass", ours, plain, 1, "at most", "memory",
                note=NOTES["fisher memory"]),
            Aim(f"per-sample Fisher, {words}", "loop over images", ours, _squares(name, "loop"), 1, "at least"),
            Aim(f"per-sample Fisher, {words}", "torch.func.vmap", ours, _squares(name, "vmap"), 1.5, "at least",
                note=NOTES["fisher"]),
            Aim(f"per-sample Fisher, {words}", "torch.func.vmap", ours, _squares(name, "vmap"), 1, "at most", "memory"),
        ]  # fmt: skip
    return rows


def scoring_and_commands() -> list[Aim]:
    """Return the rows of evaluation, rendering and commands."""
    rows = [
        Aim(
            "confusion of 1024 x 2048",
            who,
            "test_confusion[ours]",
            f"test_confusion[{who}]",
            5,
            "at least",
            note=NOTES["confusion"],
        )
        for who in ("mmsegmentation", "torchmetrics", "detectron2")
    ]
    rows += [
        Aim(f"sliding inference, {words}", "loop over windows", f"test_sliding_windows[{name}-ours]",
            f"test_sliding_windows[{name}-loop]", 1.5, "at least", note=NOTES["windows"] if "512" in name else "")
        for name, words in WINDOWS.items()
    ]  # fmt: skip
    rows += [
        Aim(
            "run --all --quick, two workers",
            "one worker",
            "test_all_quick_runs[2]",
            "test_all_quick_runs[1]",
            1.6,
            "at least",
            note=NOTES["workers"],
        ),
        *(
            Aim(f"rendering, {name}", "", f"test_render[{name}]", "", 60, "rate", note=NOTES["rendering"])
            for name in ("game", "night", "world")
        ),
        Aim("python -m benchmark --help", "", "test_help", "", 0.5, "seconds"),
        Aim(
            "from command to first iteration",
            "",
            "test_start[first iteration]",
            "",
            6,
            "seconds",
            floor="test_start[imports-torch and timm]",
            note=NOTES["start"],
        ),
        Aim(
            "from a run's end to the next's first iteration",
            "",
            "test_start[next run]",
            "",
            2,
            "seconds",
            note=NOTES["next"],
        ),
        Aim("table of 1,000 records", "", "test_table_of_a_thousand_records", "", 2, "seconds"),
    ]
    return rows


NOTES = {
    "steps": "Steps against the plain implementation: both do the same matrix products, within 1.3 times the lower "
    "bound; two runs of the same step differ by 1 to 3 %.",
    "peft": "Steps against peft: our LoRA uses peft too, so the steps are the same up to run-to-run noise.",
    "full": "Steps against full: limited by arithmetic. The two are measured minutes apart, which shifts their ratio: "
    "Rein on a ViT-S had 0.79 in the previous run.",
    "samples": "Samples at GTA5's size: most of the time is decompression by libspng.",
    "estimate": "Run of FisherTune: its estimate, four gradient evaluations for each of 512 images, comes on top of "
    "the iterations that every method has.",
    "run": "Memory of a FisherTune run: 9 bytes per weight (weight, gradient, and moments for a twentieth), against 16 "
    "for full fine-tuning, plus the same activations for the backward pass. Estimates and scores are stored in a file.",
    "fisher": "Per-sample Fisher: limited by arithmetic. All variants do the matrix products of a plain backward pass, "
    "and ours takes a tenth longer; on one core the small products of a loop run nearly as fast as large ones.",
    "fisher memory": "Memory of the per-sample Fisher: inputs and output gradients of all layers are held until their "
    "products are taken.",
    "windows": "Windows of 512: limited by arithmetic. One window saturates a core, so batching windows gains nothing.",
    "workers": "Two workers: a run takes as long next to another as alone; start-up and the table are sequential, and "
    "are a large part of such short runs.",
    "confusion": "Confusion: limited by memory. The machine was slower than in an earlier run, which reached 5.6×.",
    "rendering": "Rendering: 79, 71 and 66 per second with version 1. Version 2 draws more; no step of it takes more "
    "than a fifth of the time.",
    "start": "First iteration: torch and timm (with torchvision, which imports torch's compiler) are imported, then "
    "mmsegmentation's parts, and the source's 600 images are read.",
    "next": "Next run: its process has all libraries; it builds the models, reads images and hashes the weights.",
}
"""What limits the rows that miss their target."""
AIMS = [*steps(), *data_and_runs(), *scoring_and_commands()]


@dataclass(frozen=True)
class Growth:
    """One table of growth.

    Attributes:
        title, size: titles of the table and of its first column.
        test: name of the test; its parameter is the size.
        sizes: in order.
        bound: what limits time and memory.
    """

    title: str
    size: str
    test: str
    sizes: tuple[str, ...]
    bound: str


GROWTH = [
    Growth(
        "Image size: a whole image through a ViT-S and the light decoder", "side", "test_image_size",
        ("128", "256", "512", "1024"),
        "Time is limited by arithmetic: linear in pixels, except for attention, which is quadratic. Memory: weights "
        "(4 bytes each) plus feature maps and logits, linear in pixels.",
    ),
    Growth(
        "Tokens: a step of full fine-tuning of a ViT-S on one image", "tokens", "test_tokens",
        ("64", "256", "1024", "2304"),
        "Time as above. Memory: 16 bytes per parameter (weight, gradient, two moments) plus activations saved for the "
        "backward pass, linear in tokens.",
    ),
    Growth(
        "Model size: a step of full fine-tuning on one image of 128 x 128", "model", "test_model_size",
        ("vit-tiny-random", "dinov2-s", "dinov2-b", "dinov2-l"),
        "With so few tokens the optimizer update is visible next to the arithmetic: AdamW reads and writes 28 bytes "
        "per parameter. Memory is linear in parameters.",
    ),
    Growth(
        "Runs: finding the pending ones", "runs", "test_runs", ("10", "100", "1000"),
        "Linear: one path and one file-system look-up per run, after finding the methods.",
    ),
    Growth(
        "Records: from files to tables", "records", "test_records", ("100", "300", "1000"),
        "Linear: each file is parsed, validated and checked against its digests.",
    ),
]  # fmt: skip
