"""The probe's frames and training, at small scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from benchmark.data.streets import render
from benchmark.models.backbone import build_backbone
from benchmark.models.weights import weight_hash
from benchmark.pretrain.probe import CLASSES, CONTENDERS, TARGETS, UPPER_BOUND, fit, labelled_frames, probe, score
from benchmark.protocol import load


def test_frames_have_train_ids() -> None:
    ((image, label),) = labelled_frames("game", 5, 1, workers=1)
    frame = render("game", 5)
    assert np.array_equal(image, frame.image)
    assert set(np.unique(label).tolist()) <= {*range(CLASSES), 255}
    assert np.array_equal(label == 0, frame.label == 7)


def test_only_a_backbone_that_is_not_frozen_changes() -> None:
    frames, protocol = labelled_frames("game", 5, 2, workers=1), load("streets")
    start = weight_hash(build_backbone("vit-tiny-random"))
    frozen = fit(build_backbone("vit-tiny-random"), 0.0, frames, protocol, steps=2, seed=0)
    trained = fit(build_backbone("vit-tiny-random"), 1e-3, frames, protocol, steps=2, seed=0)
    assert weight_hash(frozen.backbone) == start
    assert weight_hash(trained.backbone) != start
    assert 0 <= score(frozen, frames) < 1


def test_every_contender_gets_a_row(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(build_backbone("vit-tiny-random", seed=9).vit.state_dict(), tmp_path / "w.safetensors")
    lines: list[str] = []
    result = probe(tmp_path / "w.safetensors", seeds=(0,), images=2, tests=1, iterations=1, workers=1, log=lines.append)
    assert [row["name"] for row in result["rows"]] == [*(contender.name for contender in CONTENDERS), UPPER_BOUND]
    assert len(lines) == len(CONTENDERS) + len(TARGETS)
    assert [row["in_domain"] is None for row in result["rows"]] == [False] * len(CONTENDERS) + [True]
    for row in result["rows"]:
        assert 0 <= row["unseen"] <= 100
        assert abs(np.mean([row["targets"][name] for name in TARGETS]) - row["unseen"]) < 0.01
