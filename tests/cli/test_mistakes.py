"""What a user mistypes: each case ends with code 2 and one line that says what is wrong and what to do."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from benchmark.cli import main

MISTAKES: dict[str, tuple[str, ...]] = {
    # names: the nearest is suggested, whatever the case
    "run --methods LoRRA": ("unknown method 'LoRRA'", "did you mean 'lora'?"),
    "run --methods FisherTune+Perturbd": ("did you mean 'fishertune+perturbed'?",),
    "run --methods all": ("--all",),
    "run --methods Linear": ("decoder", "streets@linear"),
    "run --methods lora;freeze": ("commas", "lora,freeze"),
    "run --methods 'lora freeze'": ("commas", "lora,freeze"),
    "run --methods lora --backbone DINOv2L": ("unknown backbone", "did you mean 'dinov2-l'?"),
    "run --methods LoRA --backbone NOPE": ("unknown backbone 'NOPE'", "dinov2-l"),
    "run --methods lora --protocol CamVit": ("unknown protocol", "did you mean 'camvid'?"),
    "run --methods lora --protocol Streets@Quik": ("no variant 'Quik'", "did you mean 'quick'?"),
    "figure Costt": ("unknown figure", "did you mean 'cost'?"),
    "list protocolls": ("did you mean 'protocols'?", "label", "runs"),
    "tabel": ("No such command 'tabel'", "did you mean 'table'?"),
    "RUN": ("No such command 'RUN'", "did you mean 'run'?"),
    "data chek": ("No such command 'chek'", "did you mean 'check'?"),
    "table --records results --protocol Streetz": ("no record of protocol", "did you mean 'streets'?"),
    "table --records results --methods LoRRA": ("unknown method", "did you mean 'lora'?"),
    "evaluate LoRRA --records results": ("no record 'LoRRA'", "did you mean 'lora'?", "list runs --records results"),
    "evaluate CamVid/vit-tiny-STREETS/LoRA --records results": ("3 records", "camvid/vit-tiny-streets/lora/seed0"),
    # options and their values
    "run --method lora": ("unknown option --method", "did you mean '--methods'?"),
    "run -z": ("unknown option -z", "--help"),
    "run --methods --quick": ("--methods", "a value is missing", "--quick"),
    "run --protocol -m lora": ("--protocol", "a value is missing"),
    "run --set": ("--set", "a value is missing"),
    "run --methods lora --set --quick": ("--set", "a value is missing"),
    "run --all --protocol streets -p camvid": ("--protocol", "more than once"),
    "run --methods lora --seeds 0 --seeds=1": ("--seeds", "more than once"),
    "run lora": ("unexpected 'lora'", "--methods lora,freeze"),
    "run --methods lora freeze": ("unexpected 'freeze'", "commas"),
    "list methods runs": ("unexpected 'runs'",),
    "run --all --seeds 0..4": ("--seeds 0..4", "(0)", "(0,1,2)", "(0-4)"),
    "stability --seeds two": ("--seeds two", "(0)", "(0,1,2)", "(0-4)"),
    "run --all --seeds 4-0": ("--seeds 4-0", "upwards"),
    "run --all --workers two": ("'--workers'", "a whole number"),
    "run --all --workers 0": ("'--workers'", "at least 1"),
    "table --format word": ("'--format'", "'markdown'"),
    "run --methods lora --set lora.rank=four": ("method 'lora'", "rank", "a whole number", "four"),
    "run --methods lora --set LoRA.rank=4.5": ("rank", "a whole number", "4.5"),
    "run --methods lora --set lora.lr=fast": ("lr", "a number", "fast"),
    "run --methods lora --set lora.rnk=4": ("unknown field rnk", "did you mean 'rank'?"),
    "run --methods lora --set rein.rank=4": ("'rein' is not among the methods",),
    "run --methods lora --set rank=4": ("METHOD.SETTING=VALUE", "lora.rank=4"),
    "run --methods lora --vfm resample=area": ("resample", "'bicubic' or 'pi'", "area"),
    "tune --methods lora --rates fast": ("--rates fast", "1e-4,1e-3"),
    # files and folders
    "run --all --protocol {tmp}/mine.yaml": ("mine.yaml", "no such file"),
    "run --all --protocol {tmp}/mine": ("mine", "no such file"),
    "run --all --protocol mine.json": ("mine.json", "no such file"),
    "run --all --protocol README.md": ("README.md", "not a .yaml file"),
    "run --all --protocol {tmp}": ("a folder", ".yaml"),
    "table --records README.md": ("--records README.md", "a file, not a folder"),
    "run --methods lora --protocol camvid": ("needs --data-root", "camvid/", "data check"),
    "run --methods lora --protocol camvid --data-root nowhere": ("--data-root nowhere", "no such folder"),
    "run --methods lora --protocol camvid --data-root README.md": ("a file, not a folder",),
    "data get --data-root README.md": ("a file, not a folder",),
    "run --methods lora --protocol camvid --data-root {tmp}/empty": ("no folder camvid/", "data check"),
    "run --methods lora --protocol camvid --data-root {tmp}/root/camvid": ("camvid itself", "--data-root {tmp}/root"),
    "run --methods lora --protocol camvid --data-root {tmp}/root/camvid/val": ("below", "--data-root {tmp}/root"),
    "run --methods lora --protocol camvid --data-root {tmp}/upper": ("CamVid/", "rename"),
    "run --methods lora --protocol camvid --data-root {tmp}/packed": ("camvid is a file", "unpack"),
    "plan --methods lora --protocol camvid --data-root {tmp}/high": ("above", "--data-root {tmp}/high/data"),
    "data check --protocol camvid --data-root {tmp}/root/camvid": ("camvid itself", "--data-root {tmp}/root"),
    "data check --data-root {tmp}/high": ("above", "--data-root {tmp}/high/data"),
}  # fmt: skip
"""A command line, and words of the line that it ends with; ``{tmp}`` is a folder."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data roots that are a level too high or too deep, or hold a data set under another name."""
    tmp = tmp_path_factory.mktemp("roots")
    for name in ("root/camvid/val", "upper/CamVid/val", "high/data/camvid/val", "packed", "empty"):
        (tmp / name).mkdir(parents=True)
    (tmp / "packed" / "camvid").write_bytes(b"an archive")
    return tmp


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_ends_in_one_line_that_says_what_to_do(
    line: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DGSS_BENCHMARK_CACHE", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["benchmark", *shlex.split(line.replace("{tmp}", str(folder)))])
    with pytest.raises(SystemExit) as ended:
        main()
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert len(lines) == 1, lines
    for word in MISTAKES[line]:
        assert word.replace("{tmp}", str(folder)) in lines[0]
    assert not list(tmp_path.iterdir()), "nothing was rendered"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("list protocol", ["Protocols", "camvid"]),
        ("list Label-Sets", ["Label sets", "idd-lite"]),
        (
            "table --records results --protocol CamVid --backbone ViT-tiny-STREETS --methods LoRA --format CSV",
            ["camvid/vit-tiny-streets,,lora,LoRA,Source"],
        ),
    ],
)
def test_names_match_whatever_their_case(
    line: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *shlex.split(line)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(word in text for word in words)


def test_a_selection_has_the_registered_names_whatever_the_case() -> None:
    from benchmark.runs.job import Job
    from benchmark.runs.request import Selection
    from benchmark.training.runtime import RuntimeOptions

    wanted = Selection(
        "Streets@Quick", methods="FisherTune,LORA+Perturbed,Figure3", given=("LoRA+perturbed.rank=4",),
        backbone="DINOv2-L",
    )  # fmt: skip
    jobs: list[Job] = wanted.jobs(wanted.load(), None, Path("runs"), RuntimeOptions())
    assert {job.spec.protocol.name for job in jobs} == {"streets@quick"}
    assert {job.spec.backbone for job in jobs} == {"dinov2-l"}
    assert [job.spec.method for job in jobs][:4] == ["fishertune", "lora+perturbed", "full", "freeze"]
    assert jobs[1].spec.method_name == "lora+perturbed[rank=4]"
