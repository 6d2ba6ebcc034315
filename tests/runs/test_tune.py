"""The learning-rate search: equal for all methods, on source images alone, and the source of the committed rates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from benchmark import protocol
from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.records import Record, read_all
from benchmark.runs import tune
from tests.cli.test_cli import ROOT, call, refused
from tests.records.made import confusion, failed, record

pytestmark = pytest.mark.slow

COMMITTED = ROOT / "results" / "streets@tune"


def tried(method: str, rate: float, accuracy: float) -> Record:
    return record(confusion(accuracy, 3), f"{method}[lr={rate}]", settings={"lr": rate}, seed=tune.SEED)


def test_the_best_rate_is_chosen_and_the_lower_one_in_a_tie() -> None:
    tries = [tried("lora", 1e-3, 0.9), tried("lora", 1e-4, 0.9), tried("lora", 3e-3, 0.6), tried("full", 3e-3, 0.7)]
    assert tune.choose(tries) == {"full": {"lr": 3e-3}, "lora": {"lr": 1e-4}}


def test_a_rate_at_which_training_diverged_is_empty_and_never_chosen() -> None:
    broken = failed("lora[lr=0.01]", settings={"lr": 1e-2}, seed=tune.SEED)
    made = tune.table([broken, tried("lora", 1e-3, 0.6)])
    assert [cell.mean is None for cell in made.rows[0].cells] == [False, True]
    assert made.rows[0].cells[0].best
    assert any("end of the range" in note for note in made.notes)


def test_every_method_gets_every_rate_and_nothing_else() -> None:
    fixed, names = protocol.load("streets", tune.VARIANT), tune.tunable()
    wanted = tune.plan(fixed, fixed.backbone, names, [1e-3, 1e-2], data_root=Path("data"), folder=Path("runs"))
    assert sorted((job.spec.method, job.spec.given["lr"]) for job in wanted) == sorted(
        (n, r) for n in names for r in (1e-3, 1e-2)
    )
    assert all(set(job.spec.given) == {"lr"} and job.spec.seed == tune.SEED for job in wanted)
    assert {"full", "lora", "fishertune"} <= set(names) < set(registry.names("method"))


@pytest.mark.parametrize("text", ["", "a", "1e-3,", "0", "2", "-1e-3"])
def test_invalid_rates_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--rates"):
        tune.parse_rates(text)


def test_search_on_the_command_line(tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]) -> None:
    held_out = {"dusk": None, "elsewhere": None, "held-out": {"dataset": "camvid", "split": "val:0016E5"}}
    path = tiny_protocol(variants={"tune": {"targets": held_out, "evaluation": {"times": 1}}})
    words: list[str | Path] = ["tune", "--protocol", path, "--data-root", tiny_data, "--records", tmp_path / "runs"]
    done = call(*words, "--methods", "lora,full", "--rates", "1e-3,1e-4")
    assert done.returncode == 0, done.stderr
    searched = yaml.safe_load(done.stdout[done.stdout.index("searched:") :])["searched"]
    records = read_all(tmp_path / "runs")
    assert len(records) == 4
    assert {name for each in records for name in each.targets} == {"held-out"}
    assert searched == tune.choose(records)
    assert "method 'freeze' has no learning rate" in refused(call(*words, "--methods", "freeze"))


@pytest.mark.skipif(not COMMITTED.is_dir(), reason="no search is committed")
def test_the_committed_rates_come_from_the_committed_search() -> None:
    assert protocol.load("streets").searched == tune.choose(read_all(COMMITTED))
