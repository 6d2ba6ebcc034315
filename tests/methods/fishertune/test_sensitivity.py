"""Sensitivity per group and block in the report, from which Figure 6 is drawn."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from methods.fishertune import FisherTune
from methods.fishertune.drfim import drf
from methods.fishertune.estimators import average
from tests.methods.fishertune.small_runs import Run

PANELS: list[dict[str, Any]] = [
    {"criterion": "f", "estimator": "per-sample"},
    {"criterion": "drf", "scale": "none", "estimator": "per-sample"},
    {"criterion": "drf", "scale": "none", "estimator": "variational"},
]


@pytest.mark.parametrize("settings", PANELS)
@pytest.mark.parametrize("family", ["plain", "eva-separate"])
def test_means_equal_a_plain_loop(settings: dict[str, Any], family: str) -> None:
    run = Run(FisherTune(FisherTune.Settings(images=32, **settings)), 12, family=family)
    method = run.method
    assert isinstance(method, FisherTune)
    run.advance(run.phases[0].iterations)
    estimates = method._estimates
    assert estimates is not None
    seen, shifted = (
        {name: average(each, name) for name in method._matrices} for each in (estimates.seen, estimates.shifted)
    )
    damping = sum(estimates.dampings) / len(estimates.dampings)
    found = json.loads(json.dumps(run.finish().method.report()))
    prior, scale = method.settings.prior, method.settings.scale
    names = {f"{c.name}[{c.group}]": c for c in method._candidates}
    shares = [{key: c.share(values[c.name]) for key, c in names.items()} for values in (seen, shifted)]
    if scale != "none":
        unit = torch.cat([share.flatten() for share in shares[0].values()]).mean()
        shares = [{key: share / unit for key, share in each.items()} for each in shares]
    both = drf(shares[0], shares[1], damping, prior=prior, scale=scale)
    chosen = run.selected()
    assert set(found["sensitivity"]) == {"fisher", "fisher_shifted", "drf"}
    for block in range(2):
        for group in ("q", "k", "v", "ffn"):
            mine = {key: c for key, c in names.items() if (c.block, c.group) == (block, group)}
            assert mine
            expected = {
                "fisher": torch.cat([c.share(seen[c.name]).flatten() for c in mine.values()]).mean(),
                "fisher_shifted": torch.cat([c.share(shifted[c.name]).flatten() for c in mine.values()]).mean(),
                "drf": torch.cat([both[key].flatten() for key in mine]).mean(),
            }
            for panel, value in expected.items():
                assert found["sensitivity"][panel][group][block] == pytest.approx(value.item(), rel=1e-4), panel
            count = sum(int(c.share(chosen[c.name]).sum()) for c in mine.values())
            assert found["chosen"][group][block] == count


def test_every_criterion_reports_the_same_map() -> None:
    """F and DRF of one run give two panels; only the selection differs."""
    runs = [
        Run(FisherTune(FisherTune.Settings(criterion=criterion, images=16)), 12).finish() for criterion in ("f", "drf")
    ]
    one, other = (run.method.report() for run in runs)
    assert one["sensitivity"] == other["sensitivity"]
    assert one["chosen"] != other["chosen"]
