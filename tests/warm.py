"""A server process that forks once per command, so that a hundred commands do not each import PyTorch.

A command and its runs, which are forks of it in turn, are one process group, which tests can signal as a whole.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FORKED = "import multiprocessing\npatch('benchmark.runs.pool.context', lambda: multiprocessing.get_context('fork'))\n"
EVERY_STEP = "patch('benchmark.training.trainer.CHECKPOINT_SECONDS', 0.0)\n"
"""Code that saves a checkpoint after every iteration."""
SLOW = """
import time
from benchmark.training.trainer import Trainer
step = Trainer.step
patch("benchmark.training.trainer.Trainer.step", lambda *args: (time.sleep(0.1), step(*args))[1])
"""
"""Code that makes a step take a tenth of a second longer."""
PER_COMMAND = {"DGSS_BENCHMARK_CACHE", "LOCAL_RANK", "PATH", "PYTEST_CURRENT_TEST"}
"""Environment variables that commands read when they run; others may be read when libraries are imported."""
READ_AGAIN = {"HF_HOME", "HF_HUB_OFFLINE", "PYTHONPATH"}
"""Variables that Python or huggingface_hub read when they start; see :func:`_read_again`."""
IMPORTED = (
    "ACCELERATE_", "KMP_", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "QT_", "TOKENIZERS_", "TORCHINDUCTOR_", "TRITON_",
    "_TORCHINDUCTOR_",
)  # fmt: skip
"""Starts of variables that libraries and runs set in the process of the tests, some of them late; tests set none."""
SECONDS = 300


class Warm:
    """Context manager that starts commands."""

    def __enter__(self) -> Warm:
        self.environment = dict(os.environ)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        )  # fmt: skip
        self._ask({})
        return self

    def __exit__(self, *exception: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)

    def start(self, args: Sequence[str | Path], output: Path, code: str = "", forks: bool = True) -> int:
        """Start ``python -m benchmark`` with these arguments; return its process ID, also its process group ID.

        Args:
            args: the command-line arguments.
            output: the file for standard output and standard error.
            code: Python code that the process executes first; it may call :func:`patch`.
            forks: whether its runs are forks of it, too; else they are started as always, which takes seconds.
        """
        code = FORKED + code if forks else code
        return self._ask({"args": [str(arg) for arg in args], "output": str(output), "code": code})

    def serves(self, environment: Mapping[str, str]) -> bool:
        """Return whether a forked command behaves as a new process with this environment would."""
        names = environment.keys() | self.environment.keys()
        differing = {name for name in names if environment.get(name) != self.environment.get(name)}
        return {name for name in differing if not name.startswith(IMPORTED)} <= PER_COMMAND | READ_AGAIN

    def run(
        self, args: Sequence[str | Path], environment: Mapping[str, str], seconds: int = SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, at most for some seconds; return its exit code, output and error output."""
        with tempfile.TemporaryDirectory() as folder:
            output, error = Path(folder, "output"), Path(folder, "error")
            pid = self._ask(
                {
                    "args": [str(arg) for arg in args], "output": str(output), "error": str(error), "code": FORKED,
                    "environment": dict(environment), "seconds": seconds,
                }
            )  # fmt: skip
            code = self.wait(pid)
            return subprocess.CompletedProcess(args, code, output.read_text(), error.read_text())

    def wait(self, pid: int) -> int:
        """Wait until a command ends; return its exit code, or minus the number of the signal that killed it."""
        return self._ask({"wait": pid})

    def _ask(self, request: dict[str, Any]) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@cache
def shared() -> Warm:
    """Return the server of this test process; it ends with it."""
    started = Warm().__enter__()
    atexit.register(started.__exit__)
    return started


def until(output: Path, text: str) -> None:
    """Wait until the output of a command contains the text."""
    deadline = time.monotonic() + 120
    while not (output.exists() and text in output.read_text()):
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.01)


def patch(name: str, value: Any) -> None:
    """Replace an existing attribute, given by its full name such as ``benchmark.runs.pool.POLL_SECONDS``.

    Raises:
        AttributeError: there is no such attribute.
    """
    place, _, attribute = name.rpartition(".")
    target = pkgutil.resolve_name(place)
    getattr(target, attribute)
    setattr(target, attribute, value)


def _command(request: dict[str, Any]) -> None:
    # Python ignores SIGINT if the tests were started in the background; a terminal would not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "environment" in request:
        started = {name: os.environ.get(name) for name in READ_AGAIN}
        os.environ.clear()
        os.environ.update(request["environment"])
        _read_again({name for name in READ_AGAIN if os.environ.get(name) != started[name]})
    signal.alarm(request.get("seconds", 0))  # 0: no limit
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    output = os.open(request["output"], flags)
    error = os.open(request["error"], flags) if "error" in request else output
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(error, 2)
    exec(request["code"], {"patch": patch})
    sys.argv = ["benchmark", *request["args"]]
    from benchmark.cli import main

    main()


def _read_again(changed: set[str]) -> None:
    """Let these variables have the effect that they have on a new process."""
    if "PYTHONPATH" in changed:
        folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[1:1] = [folder for folder in folders if folder and folder not in sys.path]
        importlib.invalidate_caches()
    if changed - {"PYTHONPATH"}:
        from huggingface_hub import constants

        importlib.reload(constants)  # the library reads them as attributes of this module


def _serve() -> None:
    import typer.main

    import benchmark.cli
    import benchmark.common.registry
    import benchmark.models.mmseg_parts
    import benchmark.protocol
    import benchmark.runs.one_run
    import benchmark.runs.sweep

    for name in benchmark.common.registry.names("method"):
        benchmark.common.registry.find("method", name)
    for name in benchmark.common.registry.names("dataset"):
        benchmark.common.registry.find("dataset", name)
    for module in pkgutil.walk_packages(benchmark.__path__, "benchmark."):
        if module.name.rpartition(".")[2] in ("command", "_command", "listing"):
            importlib.import_module(module.name)
    for name in ("timm", "scipy.stats", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf"):
        importlib.import_module(name)
    for name in benchmark.protocol.available():
        benchmark.protocol.load(name)  # their parsed files are kept
    patch("typer.main.get_command", cache(typer.main.get_command))
    typer.main.get_command(benchmark.cli.app)  # half of what a mistake in the options takes
    gc.collect()
    gc.freeze()  # else a collection in a forked process would copy the memory of all these objects
    for line in sys.stdin:
        request = json.loads(line)
        answer = 0
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        elif request:
            answer = os.fork()
            os.setpgid(answer, 0)  # by parent and child, since either may run first
            if not answer:
                code: Any = 1
                try:
                    _command(request)
                except SystemExit as ended:
                    code = ended.code
                except Exception:
                    traceback.print_exc()
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code if isinstance(code, int) else 1)
        print(answer, flush=True)


if __name__ == "__main__":
    _serve()
