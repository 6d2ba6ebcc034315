"""Mask2Former in the training loop: it memorises, resumes bit-identically, and works with every kind of method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from benchmark.common.errors import UserError
from benchmark.method import Method
from benchmark.models.mask2former import Mask2Former
from benchmark.models.segmenter import Segmenter
from benchmark.protocol import DecoderSpec
from benchmark.records import read
from benchmark.runs.one_run import train_and_record
from benchmark.sharing import bundle
from benchmark.sharing.rescore import rescore
from benchmark.training.progress import Progress
from benchmark.training.trainer import Trainer
from tests.backbones import tiny_backbone
from tests.models.test_mask2former import formula
from tests.small import CLASSES, DIM, OneBatch, method, protocol
from tests.training.test_trainer import job_of

pytestmark = pytest.mark.slow

QUERIES = 8
LOSSES = {"cls", "mask", "dice"}


def test_rein_by_a_protocol_file_is_recorded(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    changes = {"iterations": 2, "evaluation": {"mode": "slide", "crop": 48, "stride": 48}}
    path = tiny_protocol(**changes, decoder={"name": "mask2former", "lr": 1e-4})
    job = job_of(path, tiny_data, tmp_path, "rein")
    record = train_and_record(job)
    assert record.state == "finished"
    assert record.trainable is not None
    assert record.trainable.decoder == formula(192, 11) - 2 * 100 * 256 + 256 * 256 + 256
    assert set(record.losses[-1][1]) == LOSSES
    assert record.protocol_fields["decoder"] == DecoderSpec(name="mask2former", lr=1e-4).model_dump()
    kept = read(job.record)
    files = bundle.contents(kept, "it")
    assert bundle.unpack(lambda name, most: files[name], "it", tmp_path / "elsewhere").checksum == kept.checksum
    assert all(row.equal for row in rescore(kept, tiny_data)), "its decoder is linked to Rein's queries again"


def trainer(made: Method, iterations: int, decoder_lr: float = 1e-3) -> Trainer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder = Mask2Former(DIM, CLASSES, QUERIES, encoder_layers=1, decoder_layers=2, points=256)
    backbone = tiny_backbone("dinov2", depth=4, drop_path_rate=0.3)
    spec, data = protocol(iterations, 2, decoder_lr), OneBatch()
    return Trainer(spec, 0, Segmenter(backbone, decoder), made, data, Accelerator(cpu=True))


def run(made: Trainer, **options: Any) -> list[dict[str, float]]:
    seen: list[dict[str, float]] = []
    made.run(lambda step: {}, tick=lambda step, losses: seen.append(losses), **options)
    return seen


def tensors(made: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in made.segmenter.named_parameters()}


def test_mask2former_memorises_a_batch() -> None:
    made = trainer(method("freeze"), 60)
    losses = [sum(named.values()) for named in run(made)]
    made.segmenter.eval()
    data = OneBatch()
    predicted = made.segmenter.predict(data.images).argmax(1)
    known = data.label != 255
    assert losses[-1] < losses[0] / 4
    assert (predicted == data.label)[:, known].float().mean() > 0.95


def test_rein_trains_through_its_queries() -> None:
    made = trainer(method("rein", tokens=QUERIES), 2)
    before = tensors(made)
    assert "decoder.transformer.queries_embedder.weight" not in before
    assert all(set(losses) == LOSSES for losses in run(made))
    still = {name for name, tensor in tensors(made).items() if torch.equal(tensor, before[name])}
    assert {name for name in still if not name.startswith("backbone.vit.")} == set()
    assert {name for name in before if name.startswith("backbone.vit.")} == still


def test_rein_with_other_than_the_decoders_queries_is_refused() -> None:
    with pytest.raises(UserError, match=r"\(9, 256\), decoder mask2former takes \(8, 256\); give the method 8 tokens"):
        trainer(method("rein", tokens=QUERIES + 1), 2)


def test_fishertune_estimates_and_tunes() -> None:
    made = trainer(method("fishertune"), 4)
    before = tensors(made)
    # The estimate reads 8 images, 2 at a time.
    assert [set(losses) for losses in run(made)] == 4 * [set()] + 4 * [LOSSES]
    assert made.method.report()["mean_fisher"] > 0
    moved = sum(int((tensor != before[name]).sum()) for name, tensor in tensors(made).items() if "backbone" in name)
    assert 0 < moved <= made.method.trainable()


def test_geco_moves_features_and_reads_probabilities() -> None:
    made = trainer(method("geco", warmup=0.0), 2)
    assert all(set(losses) == {*LOSSES, "geometry"} and losses["geometry"] > 0 for losses in run(made))


@pytest.mark.parametrize(
    ("name", "settings"), [("rein", {"tokens": QUERIES}), ("full", {}), ("fishertune", {}), ("childtune-d", {})]
)
def test_an_interrupted_run_ends_bit_identical(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    straight = trainer(method(name, **settings), 6)
    whole = run(straight)
    broken, first = trainer(method(name, **settings), 6), list[dict[str, float]]()

    def stop(progress: Progress, losses: dict[str, float]) -> None:
        first.append(losses)
        if progress.place == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken.run(lambda step: {}, save=tmp_path / "checkpoint", key="k", tick=stop)
    torch.manual_seed(1234)
    resumed = trainer(method(name, **settings), 6)
    assert first + run(resumed, save=tmp_path / "checkpoint", key="k") == whole
    ended = tensors(resumed)
    assert all(torch.equal(tensor, ended[key]) for key, tensor in tensors(straight).items())
