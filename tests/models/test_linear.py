"""The linear probe: against plain loops and the closed-form gradient, and in runs of its protocol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark import protocol, tables
from benchmark.models.decoders import build_decoder
from benchmark.models.weights import weight_hash
from benchmark.records import read_all
from benchmark.runs import distributed, request

pytestmark = pytest.mark.slow

SPEC = SimpleNamespace(name="linear", channels=0)
BATCH, DIM, CLASSES, HEIGHT, WIDTH = 2, 6, 3, 2, 4


def features() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(BATCH, DIM, HEIGHT, WIDTH, generator=generator, dtype=torch.float64) for _ in range(4)]


def probe() -> Any:
    decoder: Any = build_decoder(SPEC, DIM, CLASSES, seed=0).double()
    with torch.no_grad():
        decoder.conv_seg.bias.copy_(torch.tensor([0.3, -0.2, 0.1]))
    return decoder


def test_logits_are_the_last_blocks_features_times_one_matrix() -> None:
    decoder, levels = probe(), features()
    weight, bias, last = decoder.conv_seg.weight[..., 0, 0], decoder.conv_seg.bias, levels[-1]
    logits = decoder(levels)
    for b in range(BATCH):
        for y in range(HEIGHT):
            for x in range(WIDTH):
                for c in range(CLASSES):
                    total = bias[c] + sum(weight[c, d] * last[b, d, y, x] for d in range(DIM))
                    torch.testing.assert_close(logits[b, c, y, x], total, rtol=1e-12, atol=1e-12)


def test_the_gradient_is_that_of_logistic_regression() -> None:
    decoder, levels = probe(), features()
    labels = torch.randint(CLASSES, (BATCH, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1))
    labels[0, 0, 0] = 255
    decoder.losses(levels, labels, None)["ce"].backward()
    weight, bias = decoder.conv_seg.weight[..., 0, 0].detach(), decoder.conv_seg.bias.detach()
    expected, count = torch.zeros(CLASSES, DIM, dtype=torch.float64), int((labels != 255).sum())
    for b, y, x in (labels != 255).nonzero().tolist():
        place = levels[-1][b, :, y, x]
        error = (weight @ place + bias).softmax(0)
        error[labels[b, y, x]] -= 1
        expected += torch.outer(error, place) / count
    # The loss is computed in float32 for features of any dtype.
    torch.testing.assert_close(decoder.conv_seg.weight.grad[..., 0, 0], expected, rtol=1e-5, atol=1e-7)


def test_it_learns_linearly_separable_labels() -> None:
    decoder, levels = probe(), features()
    truth = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    labels = torch.einsum("cd,bdhw->bchw", truth, levels[-1]).argmax(1)
    optimizer = torch.optim.Adam(decoder.parameters(), 0.1)
    for _ in range(200):
        optimizer.zero_grad()
        decoder.losses(levels, labels, None)["ce"].backward()
        optimizer.step()
    assert torch.equal(decoder(levels).argmax(1), labels)


def test_initial_weights_are_reproducible_and_consist_of_one_matrix_and_one_bias() -> None:
    first, second = (build_decoder(SPEC, 192, 5, seed=0) for _ in range(2))
    assert weight_hash(first) == weight_hash(second) != weight_hash(build_decoder(SPEC, 192, 5, seed=1))
    assert sum(parameter.numel() for parameter in first.parameters()) == 5 * 192 + 5


def test_methods_can_be_compared_with_it_with_and_without_perturbation(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    fixed = protocol.load(str(tiny_protocol(decoder={"name": "linear", "lr": 1e-2, "warmup": 3})))
    names = ["rein+perturbed", "freeze+perturbed", "freeze"]
    wanted = request.plan(fixed, fixed.backbone, names, [0], {}, data_root=tiny_data, folder=tmp_path)
    outcomes = distributed.run_on_ranks(wanted, lambda job, event: None)
    assert [outcome.state for outcome in outcomes] == ["finished"] * 3
    records = {record.method: record for record in read_all(tmp_path)}
    assert records["freeze"].settings == {}
    perturbation = {"place": "embedding", "probability": 0.5, "deviations": "unbiased"}
    assert records["freeze+perturbed"].settings == {f"perturbation.{key}": value for key, value in perturbation.items()}
    assert records["freeze"].losses != records["freeze+perturbed"].losses
    assert records["freeze"].decoder_hash == records["freeze+perturbed"].decoder_hash
    assert records["freeze"].batches_hash == records["freeze+perturbed"].batches_hash
    assert records["freeze"].trainable == records["freeze+perturbed"].trainable
    (table,) = tables.build(records.values(), methods=names)
    labels = ["Freeze", "Freeze + feature perturbation", "Rein + feature perturbation"]
    assert [row.label for row in table.rows] == labels
