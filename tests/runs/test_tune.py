"""The learning-rate search: one rule for all methods, on source images alone, and resumable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark import protocol, records
from benchmark.common import registry
from benchmark.records import Record, read_all
from benchmark.runs import trials, tune
from tests.cli.test_cli import call, refused
from tests.records.made import confusion, failed, names, record
from tests.runs.test_trials import named

pytestmark = pytest.mark.slow

FULL, SHORT = (protocol.load("streets", variant) for variant in ("tune", "tune-short"))
COMMON: dict[str, Any] = {"data_root": Path("data"), "folder": Path("runs")}


def keep(root: Path, fixed: protocol.Protocol, method: str, curve: Mapping[float, float | None]) -> None:
    """Write a run for each rate with this accuracy, or a diverged one for None."""
    for rate, accuracy in curve.items():
        facts: dict[str, Any] = {
            "protocol": fixed.name, "protocol_fields": fixed.fields(), "fingerprint": fixed.fingerprint(),
            "method": named(method, rate), "label": named(method.capitalize(), rate), "seed": tune.SEED,
            "settings": {"lr": rate},
        }  # fmt: skip
        matrices = {} if accuracy is None else confusion(accuracy, 3, targets=tuple(fixed.targets))
        made = failed(**facts) if accuracy is None else record(matrices, **facts)
        records.write(made, matrices, names(matrices), root)


def search(root: Path, *methods: str, rates: str = "1e-3,1e-2", given: tuple[str, ...] = ()) -> None:
    """Search on protocol streets, with runs that are all recorded; one that is not would find no data."""
    places: dict[str, Any] = {"backbone": None, "weights": None, "data_root": root, "records": root}
    tune.run("streets", ",".join(methods), rates, given, **places, workers=1)


def printed(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text[text.index("searched:") :])
    ((_, found["searched"]),) = found["searched"].items()  # of one backbone
    return found


def test_every_method_gets_every_rate_and_nothing_else() -> None:
    searched = tune.tunable()
    wanted = tune.plan(FULL, FULL.backbone, searched, [1e-3, 1e-2], {}, **COMMON)
    assert [job.spec.method for job in wanted] == searched
    assert all(each == [1e-3, 1e-2] for each in wanted.values())
    for job in wanted:
        run = tune.at(job, SHORT, 1e-2)
        assert (run.spec.given, run.spec.seed) == ({"lr": 1e-2}, tune.SEED)
        assert run.record == Path(f"runs/streets@tune-short/{FULL.backbone}/{job.spec.method}[lr=0.01]/seed1000.json")
    assert {"full", "lora", "fishertune"} <= set(searched) < set(registry.names("method"))


def test_the_best_rate_is_bracketed_at_reduced_length_and_chosen_at_full_length(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(tmp_path, SHORT, "lora", {1e-3: 0.6, 1e-2: 0.7, 1e-1: 0.9, 1.0: 0.5})
    keep(tmp_path, FULL, "lora", {3e-2: 0.8, 1e-1: 0.7, 3e-1: None})
    keep(tmp_path, SHORT, "full", {1e-3: 0.6, 1e-2: None, 1e-4: 0.7, 1e-5: 0.5})
    keep(tmp_path, FULL, "full", {3e-5: 0.7, 1e-4: 0.9, 3e-4: 0.7})
    keep(tmp_path, FULL, "full", {1e-2: 0.95})  # of an earlier search: not among the tries
    keep(tmp_path, SHORT, "vpt", {1e-3: None, 1e-2: None})
    search(tmp_path, "lora", "full", "vpt")
    out = capsys.readouterr().out
    assert printed(out) == {"searched": {"full": {"lr": 1e-4}, "lora": {"lr": 3e-2}}, "flat": []}
    assert "Diverged at every rate: Vpt." in out
    assert "Best at an end of its rates: Lora." in out
    assert f"after {FULL.iterations // 3} iterations" in out
    assert f"after {FULL.iterations} iterations" in out
    search(tmp_path, "lora", "full", "vpt")
    assert capsys.readouterr().out == out


def test_hyperparameters_are_searched_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fast, slow = {1e-3: 0.6, 1e-2: 0.9, 1e-1: 0.7}, {1e-3: 0.8, 1e-2: 0.7, 1e-1: 0.6, 1e-4: 0.6}
    for method, curve, full in (
        ("lora[rank=2]", fast, {3e-3: 0.7, 1e-2: 0.9, 3e-2: 0.7}),
        ("lora[rank=4]", slow, {3e-4: 0.8, 1e-3: 0.8, 3e-3: 0.8}),
    ):
        keep(tmp_path, SHORT, method, curve)
        keep(tmp_path, FULL, method, full)
    keep(tmp_path, FULL, "lora", {1e-3: 0.99})
    search(tmp_path, "lora", rates="1e-3,1e-2,1e-1", given=("lora.rank=2", "lora.rank=4"))
    found = printed(capsys.readouterr().out)
    assert found["searched"] == {"lora[rank=2]": {"lr": 1e-2}, "lora[rank=4]": {"lr": 1e-3}}
    assert found["flat"] == ["lora[rank=4]"]


def test_search_on_the_command_line(tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]) -> None:
    held_out = {"dusk": None, "elsewhere": None, "held-out": {"dataset": "camvid", "split": "val:0016E5"}}
    path = tiny_protocol(variants={"tune": {"targets": held_out, "evaluation": {"times": 1}}})
    words: list[str | Path] = ["tune", "--protocol", path, "--data-root", tiny_data, "--records", tmp_path / "runs"]
    words += ["--methods", "lora", "--set", "lora.rank=2", "--rates", "1e-4,1e-2,1"]
    done = call(*words)
    assert done.returncode == 0, done.stderr
    found = read_all(tmp_path / "runs")
    assert {name for each in found for name in each.targets} == {"held-out"}
    short, full = (lengths(found, name) for name in ("tiny@tune-short", "tiny@tune"))
    assert {each.protocol_fields["iterations"] for each in short} == {4}
    assert len(full) == 3
    assert {rate for each in trials.by_method(short).values() for rate in each} >= {1e-4, 1e-2, 1.0}
    assert printed(done.stdout)["searched"] == trials.choose(full)
    assert list(trials.choose(full)) == ["lora[rank=2]"]
    for each in (short[0], full[-1]):  # as after an interruption
        assert each.path is not None
        each.path.unlink()
    again = call(*words)
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    assert "held-out" in call("table", "--records", tmp_path / "runs", "--format", "csv").stdout.lower()


def lengths(found: list[Record], name: str) -> list[Record]:
    return [each for each in found if each.protocol == name]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--methods", "freeze"], "method 'freeze' has no learning rate"),
        (["--methods", "lorra"], "unknown method 'lorra': did you mean 'lora'"),
        (["--methods", "lora", "--rates", "2"], "--rates 2: each must be above 0 and at most 1"),
        (["--methods", "lora", "--set", "lora.lr=0.1"], "--set lora.lr: tune searches the learning rate"),
        (["--methods", "lora", "--set", "full.rank=4"], "'full' is not among the methods to run"),
        (["--methods", "lora", "--set", "lora.rnak=4"], "unknown field rnak: did you mean 'rank'"),
        (["--methods", "lora", "--set", "lora.rank=0"], "rank: must be at least 1"),
        (["--set", "lora.rank"], "must read METHOD.SETTING=VALUE"),
        (["--protocol", "streets@quick"], "tune uses variant tune; give streets"),
        (["--protocol", "camvid"], "camvid.yaml: no variant 'tune'"),
    ],
)
def test_mistakes_end_with_one_line(words: list[str], line: str, tmp_path: Path) -> None:
    assert line in refused(call("tune", "--records", tmp_path / "runs", "--workers", "1", *words))
    assert not (tmp_path / "runs").exists()
