"""The records of a search: choice, flat curves, and the table, also for the committed search."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark import protocol, records
from benchmark.records import Record, read_all
from benchmark.records.naming import without
from benchmark.runs import trials, tune
from tests.cli.test_cli import ROOT
from tests.records.made import confusion, failed, names, record


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DGSS_BENCHMARK_CACHE", str(tmp_path / "cache"))


def named(method: str, rate: float) -> str:
    """Return the name of a run's method: the learning rate among its hyperparameters, in alphabetical order."""
    plain, _, given = method.partition("[")
    return f"{plain}[{','.join(sorted(filter(None, [*given.rstrip(']').split(','), f'lr={rate}'])))}]"


def tried(method: str, rate: float, accuracy: float) -> Record:
    return record(confusion(accuracy, 3), named(method, rate), settings={"lr": rate}, seed=tune.SEED)


def stored(root: Path, method: str, scores: dict[float, float], draw: int = 3, images: int = 12) -> list[Record]:
    """Write a run for each rate with this accuracy; runs of one ``draw`` err on the same images."""
    found = []
    for rate, accuracy in scores.items():
        matrices = confusion(accuracy, draw, images)
        made = record(matrices, named(method, rate), settings={"lr": rate}, seed=tune.SEED)
        found.append(records.read(records.write(made, matrices, names(matrices), root)))
    return found


def test_names_lose_one_hyperparameter() -> None:
    found = [without(name, "lr") for name in ("lora", "lora[lr=1e-05]", "lora[alpha=2,lr=0.1,xlr=3]")]
    assert found == ["lora", "lora", "lora[alpha=2,xlr=3]"]
    assert without("lora+perturbed[lr=0.1,perturbation.place=2]", "lr") == "lora+perturbed[perturbation.place=2]"


def test_each_combination_of_hyperparameters_has_its_own_choice_and_row() -> None:
    found = [
        tried("lora", 1e-3, 0.9), tried("lora", 1e-4, 0.6), tried("lora[rank=4]", 1e-3, 0.7),
        tried("lora[rank=4]", 1e-4, 0.8), tried("full", 3e-3, 0.7),
    ]  # fmt: skip
    assert trials.choose(found) == {"full": {"lr": 3e-3}, "lora": {"lr": 1e-3}, "lora[rank=4]": {"lr": 1e-4}}
    made = trials.table(found)
    assert [row.method for row in made.rows] == ["full", "lora", "lora[rank=4]"]
    assert [row.label for row in made.rows] == ["Full", "Lora", "Lora[rank=4]"]
    assert [column.head for column in made.columns] == ["0.0001", "0.001", "0.003"]
    assert [[cell.best for cell in row.cells] for row in made.rows] == [
        [False, False, True],
        [False, True, False],
        [True, False, False],
    ]
    assert [cell.mean is None for cell in made.rows[2].cells] == [False, False, True]


def test_a_rate_at_which_training_diverged_is_empty_and_never_chosen() -> None:
    broken = [failed(f"{name}[lr=0.01]", settings={"lr": 1e-2}, seed=tune.SEED) for name in ("lora", "full")]
    made = trials.table([*broken, tried("lora", 1e-3, 0.6)])
    assert trials.choose(broken) == {}
    assert [[cell.mean is None for cell in row.cells] for row in made.rows] == [[True, True], [False, True]]
    assert made.rows[1].cells[0].best
    assert [note for note in made.notes if "every rate" in note] == ["Diverged at every rate: Full."]


def test_a_choice_at_an_end_of_its_own_rates_is_noted() -> None:
    inside = [tried("lora", rate, accuracy) for rate, accuracy in ((1e-4, 0.6), (1e-3, 0.8), (1e-2, 0.7))]
    end = [tried("full", rate, accuracy) for rate, accuracy in ((1e-5, 0.6), (1e-4, 0.7), (1e-3, 0.8))]
    assert any("at an end" in note and note.endswith(": Full.") for note in trials.table([*inside, *end]).notes)
    assert not any("at an end" in note for note in trials.table(inside).notes)


def test_a_curve_is_flat_if_the_best_rate_is_not_significantly_better_than_the_worst(tmp_path: Path) -> None:
    steep = stored(tmp_path, "full", {1e-4: 0.8, 1e-3: 0.9, 1e-2: 0.7})
    flat = [
        run
        for draw, rate in enumerate((1e-4, 1e-3, 1e-2))
        for run in stored(tmp_path, "lora", {rate: 0.8}, draw)
    ]  # fmt: skip
    assert len({run.average for run in flat}) == 3
    assert trials.flat_curves([*steep, *flat]) == ["lora"]
    noted = trials.table([*steep, *flat], ["lora"]).notes
    assert [note for note in noted if note.startswith("Flat")] == [f"{trials.FLAT}: Lora."]


def test_equal_runs_are_flat_but_a_diverged_or_single_one_is_not(tmp_path: Path) -> None:
    equal = stored(tmp_path, "vpt", {1e-4: 0.8, 1e-3: 0.8})
    broken = [*stored(tmp_path, "lora", {1e-4: 0.8, 1e-3: 0.8}), failed("lora[lr=0.01]", settings={"lr": 1e-2})]
    assert trials.flat_curves([*equal, *broken, *stored(tmp_path, "full", {1e-3: 0.8})]) == ["vpt"]


def test_on_a_single_image_every_curve_is_flat(tmp_path: Path) -> None:
    found = stored(tmp_path, "full", {1e-4: 0.5, 1e-3: 0.95}, images=1)
    assert trials.flat_curves(found) == ["full"]


@pytest.mark.parametrize("place", sorted((ROOT / "results").glob("*@tune/*")), ids=lambda place: place.parent.name)
def test_the_committed_rates_come_from_the_committed_search(place: Path) -> None:
    chosen = trials.choose(read_all(place))
    searched = protocol.load(place.parent.name.partition("@")[0]).searched[place.name]
    if place.parent.name == "streets@tune":  # its other rates were searched on version 1
        searched = {name: searched[name] for name in chosen}
    assert chosen == searched
    short = place.parent.with_name(f"{place.parent.name}-short") / place.name
    assert {record.method.partition("[")[0] for record in read_all(short)} == set(chosen)
