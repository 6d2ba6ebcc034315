"""LP-FT: what trains in each of its phases, and where it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from baselines.full import Full
from baselines.lp_ft import LPFT
from benchmark import protocol as protocols
from benchmark.method import Budget, Method, Phase, UserError
from benchmark.models.segmenter import Segmenter
from benchmark.plan import command
from benchmark.runs import request
from benchmark.training.progress import Progress
from benchmark.training.trainer import Trainer
from tests.backbones import tiny_backbone
from tests.small import Head, OneBatch, protocol


@pytest.mark.parametrize(("share", "alone"), [(0.5, 20_000), (0.25, 10_000), (1e-9, 1)])
def test_the_decoder_trains_first(share: float, alone: int) -> None:
    made = LPFT(LPFT.Settings(decoder_first=share))
    assert made.phases(Budget(40_000, 0, 4)) == (
        Phase("decoder", alone, backbone=False), Phase("tune", 40_000 - alone),
    )  # fmt: skip
    assert LPFT(LPFT.Settings(decoder_first=0)).phases(Budget(9, 0, 4)) == Full().phases(Budget(9, 0, 4))


def test_it_is_refused_where_every_method_has_a_decoder_phase_and_where_there_is_no_room() -> None:
    with pytest.raises(UserError, match=r"^lp-ft: .* 75 iterations .*use method full$"):
        LPFT().phases(Budget(225, 75, 8))
    with pytest.raises(UserError, match=r"lp-ft: 1 iterations .*\(1\).*lower decoder_first"):
        LPFT().phases(Budget(1, 0, 8))


def trainer(made: Method) -> Trainer:
    segmenter = Segmenter(tiny_backbone("dinov2", drop_path_rate=0.3), Head())
    return Trainer(protocol(6, 2, decoder_lr=1e-2), 0, segmenter, made, OneBatch(), Accelerator(cpu=True))


def test_in_training_the_backbone_moves_only_in_the_second_phase() -> None:
    run = trainer(LPFT(LPFT.Settings(lr=1e-3)))
    sides = {"backbone": run.segmenter.backbone, "decoder": run.segmenter.decoder}
    last = {name: [p.detach().clone() for p in side.parameters()] for name, side in sides.items()}
    moved: dict[str, list[bool]] = {name: [] for name in sides}

    def tick(progress: Progress, losses: dict[str, float]) -> None:
        for name, side in sides.items():
            now = [p.detach().clone() for p in side.parameters()]
            moved[name].append(any(not torch.equal(a, b) for a, b in zip(now, last[name], strict=True)))
            last[name] = now

    run.run(lambda step: {}, tick=tick)
    assert moved == {"backbone": [False] * 3 + [True] * 3, "decoder": [True] * 6}


def test_without_a_decoder_phase_it_is_full_fine_tuning() -> None:
    runs = [trainer(LPFT(LPFT.Settings(lr=1e-3, decoder_first=0))), trainer(Full(Full.Settings(lr=1e-3)))]
    for run in runs:
        run.run(lambda step: {})
    one, other = (run.segmenter.state_dict() for run in runs)
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_the_plan_of_all_methods_omits_it_where_it_is_refused(tmp_path: Path) -> None:
    fixed = protocols.load("streets", "quick")
    jobs = request.plan(fixed, fixed.backbone, ["freeze", "lp-ft"], [0], {}, data_root=tmp_path, folder=tmp_path)
    with pytest.raises(UserError, match=r"lp-ft: .* 6 iterations"):
        command.show(jobs, None)
    shown = command.show(jobs, None, skip_unserved=True)
    assert "omitted: lp-ft: the protocol trains the decoder alone for 6 iterations" in shown
    assert "| freeze" in shown
