"""The command line: output and exit codes."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.records import read
from tests.plugin import install
from tests.warm import SECONDS, SLOW, shared, until

ROOT = Path(__file__).resolve().parents[2]


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "benchmark", *map(str, words)]


def call(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a forked process where that makes no difference: importing torch takes seconds."""
    env = os.environ | environment
    if shared().serves(env):
        return shared().run(words, env)
    return subprocess.run(
        command(*words), cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS, env=env
    )


def require_valid(line: str) -> None:
    """Check that a command of a page exists, with all its options: unknown ones before --help are errors."""
    done = call(*shlex.split(line), "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line with which a mistake ended."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["run"],
        ["plan"],
        ["tune"],
        ["check"],
        ["table"],
        ["records"],
        ["records", "verify"],
        ["list"],
        ["data"],
        ["data", "show"],
        ["pretrain"],
        ["params"],
        ["export"],
        ["push"],
        ["pull"],
        ["evaluate"],
        ["predict"],
        ["figure"],
        ["report"],
        ["leaderboard"],
        ["stability"],
    ],
)
def test_every_command_has_help(words: list[str]) -> None:
    done = call(*words, "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout


def test_commands_are_forked_also_after_imports_that_set_variables() -> None:
    import onnx  # noqa: F401
    import transformers  # noqa: F401
    from torch._inductor.codecache import cache_dir

    shared()
    cache_dir()
    assert shared().serves(os.environ)
    assert not shared().serves(os.environ | {"HF_ENDPOINT": "http://localhost"})


@pytest.mark.parametrize("word", ["run", "figure", "report", "leaderboard", "predict"])
def test_help_imports_nothing_heavy(word: str) -> None:
    code = (
        f"import sys; sys.argv = ['benchmark', '{word}', '--help']\n"
        "from benchmark.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'rich', 'yaml', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True).returncode == 0


def test_version() -> None:
    assert call("--version").stdout.startswith("dgss-benchmark ")


def test_list_names_every_kind() -> None:
    done = call("list")
    assert done.returncode == 0
    for word in ("streets", "camvid", "fishertune", "vit-tiny-streets", "mapillary"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["run"], "nothing to run: give --all, or --methods"),
        (["run", "--methods", "lorra"], "unknown method 'lorra': did you mean 'lora'?"),
        (["run", "--all", "--protocol", "camvit"], "unknown protocol 'camvit': did you mean 'camvid'?"),
        (["run", "--all", "--backbone", "dinov2-xl"], "unknown backbone 'dinov2-xl': did you mean 'dinov2-"),
        (["run", "--all", "--protocol", "camvid"], "protocol camvid needs --data-root"),
        (["run", "--all", "--protocol", "camvid", "--data-root", "nowhere"], "--data-root nowhere: no such folder"),
        (["run", "--all", "--seeds", "x"], "--seeds x: must be a number"),
        (["run", "--methods", "lora", "--set", "lora.rnak=3"], "unknown field rnak: did you mean 'rank'?"),
        (["run", "--methods", "lora", "--set", "lora.rank=-3"], "method 'lora': rank: must be at least 1 (got -3)"),
        (
            ["run", "--methods", "lora", "--set", "lora.lr=5"],
            "method 'lora': lr: must be above 0 and at most 1 (got 5)",
        ),
        (["run", "--methods", "lora", "--vfm", "resample=area"], "--vfm: resample: must be 'bicubic' or 'pi'"),
        (["run", "--workers", "0"], "Invalid value for '--workers'"),
        (["runn"], "No such command 'runn'"),
        (["table", "--records", "nowhere"], "nowhere: no records"),
        (["table", "--format", "word"], "Invalid value for '--format': 'word' is not one of"),
        (["table", "--table", "6"], "'6' is not one of"),
        (["table", "--records", "results", "--table", "1"], "no record for a row of Table 1, which shows gtav"),
        (["table", "--records", "results", "--table", "1", "-m", "lora"], "--methods: table 1 has fixed rows"),
        (["export", "lora", "--records", "nowhere"], "no record 'lora' in nowhere: none is known"),
    ],
)
def test_a_mistake_ends_in_one_line_and_code_2(words: list[str], line: str, tmp_path: Path) -> None:
    assert line in refused(call(*words, DGSS_BENCHMARK_CACHE=str(tmp_path)))


def test_an_unsupported_backbone_is_refused_before_any_download(tmp_path: Path) -> None:
    places = {"DGSS_BENCHMARK_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hub")}
    plugin = install(tmp_path / "plugin")
    words = ["--methods", "freeze,picky", "--backbone", "sam-h"]
    done = call("run", *words, "--records", tmp_path / "runs", **places, PYTHONPATH=f"{ROOT}{os.pathsep}{plugin}")
    assert "picky cannot serve backbone 'sam-h': its blocks are windowed" in refused(done)
    assert list(tmp_path.iterdir()) == [plugin], "neither rendered nor downloaded nor recorded"


def tiny_run(protocol: Path, data: Path, records: Path, *more: str) -> list[str | Path]:
    return ["run", "--protocol", protocol, "--data-root", data, "--records", records, *more]


def test_run_then_table_then_again(tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]) -> None:
    words = tiny_run(tiny_protocol(), tiny_data, tmp_path / "runs", "--methods", "freeze,lora", "--seeds", "0,1")
    words += ["--workers", "1"]  # so that LoRA finds the warm-ups of Freeze
    done = call(*words)
    assert done.returncode == 0, done.stderr
    assert "| Freeze" in done.stdout
    assert "| LoRA" in done.stdout
    assert "4 of 4 records in" in done.stderr
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.json")}
    assert len(stamps) == 4
    continued = {f"{record.method} {record.seed}": record.warm_up for record in map(read, stamps)}
    before = {f"freeze {seed}": None for seed in (0, 1)}
    assert continued == before | {f"lora {seed}": f"tiny vit-tiny-random freeze seed {seed}" for seed in (0, 1)}
    again = call(*words)
    assert "4 of 4 runs are finished already" in again.stderr
    assert again.stdout == done.stdout
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    latex = call("table", "--records", tmp_path / "runs")
    assert r"\toprule" in latex.stdout
    listed = call("list", "runs", "--records", tmp_path / "runs")
    assert listed.stdout.count("finished") == 4


def test_a_bad_image_is_named_and_the_other_runs_stay(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    import shutil

    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    victim = sorted((data / "camvid" / "train").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:200])
    done = call(*tiny_run(tiny_protocol(), data, tmp_path / "runs", "--methods", "freeze"))
    assert done.returncode == 2
    assert victim.name in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "runs").rglob("*.json"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_folder_without_permission_is_named(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    (tmp_path / "runs").mkdir(mode=0o500)
    line = refused(call(*tiny_run(tiny_protocol(), tiny_data, tmp_path / "runs", "--methods", "freeze")))
    assert "permission" in line


def test_a_file_in_the_place_of_the_records_folder_is_named(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    (tmp_path / "runs").write_text("in the way")
    line = refused(call(*tiny_run(tiny_protocol(), tiny_data, tmp_path / "runs", "--methods", "freeze")))
    assert "runs" in line


def test_a_record_edited_by_hand_is_refused(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    words = tiny_run(tiny_protocol(), tiny_data, tmp_path / "runs", "--methods", "freeze")
    assert call(*words).returncode == 0
    (path,) = (tmp_path / "runs").rglob("*.json")
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    assert "seed: edited after the run" in refused(call("table", "--records", tmp_path / "runs"))


@pytest.mark.slow
def test_ctrl_c_keeps_a_checkpoint_and_a_kill_loses_nothing(
    tmp_path: Path, tiny_data: Path, tiny_protocol: Callable[..., Path]
) -> None:
    """Interrupt, terminate, kill for real, then finish: the same scores as an uninterrupted run.

    SIGTERM is sent to a background job of a script, for which shells ignore Ctrl-C.
    """
    protocol = tiny_protocol(iterations=30, evaluation={"times": 1})
    words = tiny_run(protocol, tiny_data, tmp_path / "broken", "--methods", "full", "--workers", "1")
    place = tmp_path / "broken" / "tiny" / "vit-tiny-random" / "full"
    ignore = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)):
        output = tmp_path / number.name
        pid = shared().start(words, output, SLOW + (ignore if number == signal.SIGTERM else ""))
        until(output, "/30")
        (os.killpg if number == signal.SIGKILL else os.kill)(pid, number)
        assert shared().wait(pid) == code
        if code == 130:
            assert (place / "seed0.checkpoint").exists()
        assert not (place / "seed0.json").exists()
    assert call(*words).returncode == 0
    straight = tiny_run(protocol, tiny_data, tmp_path / "straight", "--methods", "full", "--workers", "1")
    assert call(*straight).returncode == 0
    one, other = (
        read(tmp_path / name / "tiny" / "vit-tiny-random" / "full" / "seed0.json") for name in ("broken", "straight")
    )
    assert one.losses == other.losses
    assert one.scores() == other.scores()
