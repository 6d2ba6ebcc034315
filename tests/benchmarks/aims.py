"""What the benchmarks are held against: ours, the other, the ratio aimed at, and what bounds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

VITS = {"dinov2-s": "ViT-S", "dinov2-b": "ViT-B"}


@dataclass(frozen=True)
class Aim:
    """One row.

    Attributes:
        what, against: in words.
        ours, theirs: names of tests; without the other one, ours is held against a figure.
        aim: the ratio that is wanted, or the figure.
        kind: ``at most``: ours / theirs; ``at least``: how many times as fast, theirs / ours; ``rate``: calls in a
            second, at least; ``seconds``: at most.
        of: ``time``, or ``memory``.
        floor: a test of what takes time in any case, in place of arithmetic or bytes that a test counts.
        note: what bounds it, where an aim is missed.
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
                f"step of {name}, {vit}", "the formula, plainly", _step(backbone, name),
                _step(backbone, name, "formula"), 1.0, "at most", note=NOTES["steps"],
            ))  # fmt: skip
        rows.append(Aim(f"step of lora, {vit}", "peft, plainly", _step(backbone, "lora"),
                        _step(backbone, "lora", "peft"), 1.0, "at most", note=NOTES["peft"]))  # fmt: skip
        rows += [
            Aim(
                f"step of {name}, {vit}",
                "a step of full",
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


def rest() -> list[Aim]:
    """Return all other rows, in the order of a run."""
    memory = "test_memory_on_a_vit_b"
    rows = [
        Aim("samples from disk, embedded default", "mmsegmentation's pipeline", "test_samples[ours-embedded default]",
            "test_samples[mmsegmentation-embedded default]", 2, "at least"),
        Aim("samples from disk, GTA5's size", "mmsegmentation's pipeline", "test_samples[ours-GTA5's size]",
            "test_samples[mmsegmentation-GTA5's size]", 2, "at least",
            floor="test_samples[decoding-GTA5's size]", note=NOTES["samples"]),
        *(Aim(f"labels of {name}", "files converted beforehand", f"test_label[{name.lower()}-on the fly]",
              f"test_label[{name.lower()}-converted]", 0.95, "at least") for name in ("GTA5", "Mapillary")),
        Aim("run of fishertune, processor time in the committed records", "run of full", "records[fishertune]",
            "records[full]", 1.1, "at most"),
        Aim("run of fishertune, ViT-B", "run of full", f"{memory}[fishertune-run]", f"{memory}[full-run]",
            0.65, "at most", "memory", note=NOTES["run"]),
        Aim("its tuning alone", "run of full", f"{memory}[fishertune-tuning]", f"{memory}[full-tuning]",
            0.65, "at most", "memory"),
    ]  # fmt: skip
    for name, words in SQUARES.items():
        ours = _squares(name, "one backward")
        rows += [
            Aim(f"per-sample Fisher, {words}", "image by image", ours, _squares(name, "loop"), 3, "at least",
                note=NOTES["fisher"]),
            Aim(f"per-sample Fisher, {words}", "torch.func.vmap", ours, _squares(name, "vmap"), 1.5, "at least",
                note=NOTES["fisher"]),
            Aim(f"per-sample Fisher, {words}", "torch.func.vmap", ours, _squares(name, "vmap"), 1, "at most", "memory"),
        ]  # fmt: skip
    rows += [
        Aim("confusion of 1024 x 2048", who, "test_confusion[ours]", f"test_confusion[{who}]", 5, "at least")
        for who in ("mmsegmentation", "torchmetrics", "detectron2")
    ]
    rows += [
        Aim(f"sliding inference, {words}", "window by window", f"test_sliding_windows[{name}-ours]",
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
        *(Aim(f"rendering, {name}", "", f"test_render[{name}]", "", 60, "rate") for name in ("gta5", "night", "world")),
        Aim("python -m benchmark --help", "", "test_help", "", 0.5, "seconds"),
        Aim("table of 1,000 records", "", "test_table_of_a_thousand_records", "", 2, "seconds"),
    ]
    return rows


NOTES = {
    "steps": "Steps against the plain ones: both do the same matrix products, within 1.3 times the bound; "
    "two runs of one and the same step differ by 1 to 3 %.",
    "peft": "LoRA is peft's here, too: the same step, within what two runs of it differ by.",
    "full": "Steps against full's: arithmetic. The two are timed minutes apart, which moves their ratio: Rein's on a "
    "ViT-S was 0.79 in the run before this one.",
    "samples": "Samples at GTA5's size: nine tenths of the time is Pillow that inflates the two PNG files, since the "
    "data set does not fit into memory; nothing that follows could make it twice as fast.",
    "run": "Memory of a FisherTune run: bytes. A weight, its gradient, and moments of a twentieth: 9 bytes, where full "
    "fine-tuning has 16; then what the backward pass needs, as much for both. Estimates and scores lie in a file.",
    "fisher": "Per-sample Fisher: arithmetic. All ways do the products of a plain backward pass, and ours takes a tenth"
    " more than that; on one core the small products of a loop run nearly as fast as large ones.",
    "windows": "Windows of 512: arithmetic. One window fills a core, so that company gains nothing.",
    "workers": "Two workers: a run takes as long beside another one as alone; what is left are the start and the table,"
    " which only one can do, and of so short runs they are much.",
}
"""What bounds a row whose aim is missed, and how far it is from there."""
AIMS = [*steps(), *rest()]


@dataclass(frozen=True)
class Growth:
    """One table of growth.

    Attributes:
        title, size: of the table and of its first column.
        test: what stands before a size in brackets.
        sizes: in order.
        bound: what bounds time and memory.
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
        "Arithmetic bounds the time: linear in pixels, but for attention, which grows with their square. Memory is "
        "that of the weights (4 bytes each), then of feature maps and logits, linear in pixels.",
    ),
    Growth(
        "Tokens: a step of full fine-tuning of a ViT-S on one image", "tokens", "test_tokens",
        ("64", "256", "1024", "2304"),
        "As above; memory is 16 bytes for each parameter (weight, gradient, two moments), then what blocks and decoder "
        "keep for the backward pass, linear in tokens.",
    ),
    Growth(
        "Model size: a step of full fine-tuning on one image of 128 x 128", "model", "test_model_size",
        ("vit-tiny-random", "dinov2-s", "dinov2-b", "dinov2-l"),
        "With so few tokens the update is to be seen beside the arithmetic: AdamW reads and writes 28 bytes for each "
        "parameter. Memory is linear in parameters.",
    ),
    Growth(
        "Runs: which of so many are due", "runs", "test_runs", ("10", "100", "1000"),
        "Linear: a path and a look at the disk for each, beside what it takes to find the methods.",
    ),
    Growth(
        "Records: from files to tables", "records", "test_records", ("100", "300", "1000"),
        "Linear: each file is parsed, validated and held against its digests.",
    ),
]  # fmt: skip
