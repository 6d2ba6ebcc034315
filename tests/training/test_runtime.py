"""Runtime options change speed and memory, not results."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from benchmark import protocol as protocols
from benchmark.common.errors import UserError
from benchmark.common.microbatch import WHOLE, MicroBatch
from benchmark.models.backbone import Backbone, checkpoint_blocks
from benchmark.records import read
from benchmark.runs.one_run import train_and_record
from benchmark.training.ranks import images_per_rank
from benchmark.training.runtime import RuntimeOptions
from tests.backbones import tiny_backbone
from tests.cli.test_cli import call
from tests.runs.test_distributed import STEPS, close, train
from tests.small import OneBatch
from tests.training.test_trainer import essence, job_of

pytestmark = pytest.mark.slow

KINDS = [("full", "pixels"), ("vqt", "pixels"), ("geco", "pixels"), ("fishertune", "masks"), ("childtune-d", "pixels")]
plain_run = cache(train)


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@pytest.mark.parametrize("runtime", [RuntimeOptions(accumulate=2), RuntimeOptions(accumulate=4, checkpointing=True)])
def test_runtime_options_do_not_change_losses(kind: tuple[str, str], runtime: RuntimeOptions) -> None:
    plain, other = plain_run(*kind), train(*kind, runtime)
    assert sum(bool(losses) for losses in plain["losses"]) == STEPS  # the others estimate
    for one, two in zip(plain["losses"], other["losses"], strict=True):
        assert two == close(one, kind[1])
    assert other["report"].get("chosen") == plain["report"].get("chosen")
    assert other["asked"] == plain["asked"]


def test_micro_batches_process_fewer_images_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    forward = Backbone.forward

    def noted(self: Backbone, images: Tensor) -> list[Tensor]:
        sizes.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(Backbone, "forward", noted)
    train("lora", "pixels", RuntimeOptions(accumulate=4))
    assert sizes == [1] * 4 * STEPS


def kept(backbone: Backbone) -> int:
    """Bytes that a forward pass keeps for the backward pass, parameters apart."""
    own = {parameter.untyped_storage().data_ptr() for parameter in backbone.parameters()}
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        features = backbone(OneBatch().images)
    assert features[-1].requires_grad
    return sum(found.values())


def test_checkpointing_stores_a_fraction_of_the_features() -> None:
    plain, saving = (tiny_backbone("dinov2", depth=6).train() for _ in range(2))
    checkpoint_blocks(saving)
    assert kept(saving) < kept(plain) / 3


def test_recomputation_drops_the_same_values() -> None:
    """Also where a micro-batch takes its rows of what is drawn for the whole batch."""
    micro_batch = MicroBatch(1, 3)
    gradients = []
    for saving in (False, True):
        backbone = tiny_backbone("dinov2", drop_path_rate=0.5, proj_drop_rate=0.3).train()
        if saving:
            checkpoint_blocks(backbone)
        torch.manual_seed(5)
        with micro_batch.whole_batch_draws():
            features = backbone(OneBatch().images)
        features[-1].square().sum().backward()
        gradients.append([p.grad for p in backbone.parameters() if p.grad is not None])
    torch.testing.assert_close(*gradients)


def test_a_micro_batch_takes_its_rows_of_the_batchs_draws() -> None:
    def drawn(micro_batch: MicroBatch, rows: slice) -> Tensor:
        torch.manual_seed(3)
        with micro_batch.whole_batch_draws():
            return torch.nn.functional.dropout(torch.ones(6, 5)[rows], 0.5)

    whole = drawn(WHOLE, slice(None))
    assert 0 < (whole == 0).sum() < 30
    assert torch.equal(torch.cat([drawn(MicroBatch(i, 3), slice(2 * i, 2 * i + 2)) for i in range(3)]), whole)


def test_the_record_states_runtime_options_and_is_otherwise_equal(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    job = job_of(tiny_protocol(iterations=4), tiny_data, tmp_path / "plain", "lora")
    plain = essence(train_and_record(job))
    words: list[str | Path] = [
        "--protocol",
        tiny_protocol(iterations=4),
        "--data-root",
        tiny_data,
        "--records",
        tmp_path / "other",
    ]
    done = call("run", *words, "--methods", "lora", "--accumulate", "2", "--checkpointing")
    assert done.returncode == 0, done.stderr
    other: dict[str, Any] = essence(read(tmp_path / "other" / job.record.relative_to(job.folder)))
    assert {**plain["machine"], "accumulate": 2, "checkpointing": True} == other["machine"]
    for field in ("fingerprint", "batches_hash", "decoder_hash", "settings", "protocol_fields"):
        assert other[field] == plain[field]


def test_perturbation_refuses_micro_batches() -> None:
    with pytest.raises(UserError, match=r"perturbation .*--accumulate"):
        train("lora+perturbed", "pixels", RuntimeOptions(accumulate=2))


def test_micro_batches_that_do_not_divide_a_batch_are_refused() -> None:
    spec = protocols.load("gtav-to-cbm")
    assert images_per_rank(spec, 2, 2) == 2
    with pytest.raises(UserError, match=r"2 processes times 3 micro-batches \(--accumulate\).* 1, 2, 4"):
        images_per_rank(spec, 2, 3)
