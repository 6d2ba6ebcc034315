"""Any words on the command line: they do what they say, or end in one line and code 2; nothing is written elsewhere.

No word leads to data, so nothing is trained or rendered: the cache, and every other place, is below a plain file.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import typer
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st

from benchmark import cli
from benchmark.common import registry
from tests.fuzz.given import words
from tests.records.made import stored

WRITES = ("--output", "--out", "--records", "--install-completion")
"""Options that say where to write, which the test gives itself, or that write to the user's home."""
PLACES = (
    "in-the-way", "in-the-way/x", "empty", "nowhere", "runs", "w.safetensors",
    "runs/streets/vit-tiny-streets/full/seed0.json",
)  # fmt: skip
NAMES = (
    "streets", "camvid", "streets-adverse", "streets@quick", "streets@", "@", *registry.names("method"), "table4",
    "lora+perturbed", "vit-tiny-streets", "vit-tiny-random", "dinov2-s", *registry.names("figure"), "latex", "csv", "1",
    "html", "0-2", "1e-3", "8", "lora.rank=4", "lora.rank=-1", "full.lr=.nan", "resample=pi", "runs", "backbones",
    "detectron2", "full", "seed0",
)  # fmt: skip


def options(command: Any, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], list[Any]]:
    """Return a command and those below it, as words, each with its options."""
    found = {words: [each for each in command.params if each.opts[0].startswith("-") and each.opts[0] not in WRITES]}
    for name, inner in getattr(command, "commands", {}).items():
        found |= options(inner, (*words, name))
    return found


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """Draw a command with options of its own and others, of which most have a value if they take one."""
    known = options(typer.main.get_command(cli.app))
    command = draw(st.sampled_from(sorted(known)))
    line = list(command)
    values = st.sampled_from(NAMES) | st.sampled_from(PLACES) | words
    for _ in range(draw(st.integers(0, 5))):
        if not known[command] or draw(st.integers(0, 15)) == 0:
            line.append(draw(st.sampled_from(["--x", "--", "-", "--help", "--version"]) | words))
            continue
        option = draw(st.sampled_from(known[command]))
        line.append(draw(st.sampled_from(option.opts)))
        if bool(getattr(option, "is_flag", False)) == (draw(st.integers(0, 15)) == 0):
            line.append(draw(values))
    if draw(st.integers(0, 2)) == 0:
        line.append(draw(values))
    return [word.replace("\0", "") for word in line]  # an operating system hands over none


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder, with a record to read and a plain file in the way of all that would be written."""
    root = tmp_path_factory.mktemp("home")
    stored(root / "runs", "full")
    (root / "in-the-way").write_text("a plain file")
    (root / "w.safetensors").write_bytes(b"no weights")
    (root / "empty").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("DGSS_BENCHMARK_CACHE", str(root / "in-the-way" / "cache"))
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        patch.setattr(constants, "HF_HUB_CACHE", str(root / "hub"))
        yield root


# Records go where the user says; here that is never outside the test's own folder.
folders = st.sampled_from(PLACES[:5]) | words.map(
    lambda word: word.replace("\0", "").replace("..", "").lstrip("/") or "x"
)


@given(line=lines(), records=folders)
def test_any_words(home: Path, line: list[str], records: str) -> None:
    word = " ".join(line[:2])
    if line and line[0] in ("run", "tune", "stability", "table", "figure", "export", "list"):
        line = [*line[:1], "--records", records, *line[1:]]
    if (line and line[0] in ("pretrain", "figure")) or word.startswith("data ren"):
        line += ["--out" if line[0] == "figure" else "--output", "in-the-way/x"]
    if line and line[0] == "check":  # the committed references would start minutes of micro-cases
        line = [*line[:1], "--reference", "in-the-way/x", *line[1:]]
    if line and line[0] == "params":
        line = [*(word for word in line if word != "dinov2-s"), "--backbone", "vit-tiny-random"]
    before = files(home)
    code, _, err = called(line)
    assert code in ((0, 1, 2) if word == "records verify" else (0, 2)), (code, err)
    assert "Traceback" not in err
    if code == 2 and not err.startswith("Usage: "):
        assert err.strip().splitlines()[-1].startswith("error: "), err
        assert err.strip().splitlines()[-1].isprintable(), err
    assert {path for path in files(home) - before if home / records not in path.parents} == set()


def called(words: list[str]) -> tuple[int, str, str]:
    """Call the command as ``python -m benchmark`` does; return its exit code and what it printed to either stream."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors=errors) for errors in ("strict", "backslashreplace"))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["python -m benchmark", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    texts = []
    for stream in (out, err):
        stream.flush()
        stream.seek(0)
        texts.append(stream.read())
    assert isinstance(ended.value.code, int)
    return ended.value.code, texts[0], texts[1]


def files(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if path.is_file()}
