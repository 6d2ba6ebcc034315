"""The command line from a process that has imported all it needs: a hundred starts cost what a few would.

The process forks for each command; the command's own runs are forks of it in turn, and all of them are one process
group, which can be killed as a whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FORKED = (
    "import multiprocessing\nfrom benchmark import runs\nruns.context = lambda: multiprocessing.get_context('fork')\n"
)
EVERY_STEP = "from benchmark import training\ntraining.CHECKPOINT_SECONDS = 0.0\n"
"""Code for ``first``: a checkpoint after every iteration."""


class Warm:
    """Starts commands; a context manager."""

    def __enter__(self) -> Warm:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.warm"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        )  # fmt: skip
        self._ask({})
        return self

    def __exit__(self, *exception: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)

    def start(self, words: Sequence[str | Path], said: Path, first: str = "") -> int:
        """Start ``python -m benchmark`` with these words; return its number, which is its process group's, too.

        Args:
            words: of the command line.
            said: gets what it prints.
            first: Python code that it executes before.
        """
        return self._ask({"words": [str(word) for word in words], "said": str(said), "first": FORKED + first})

    def wait(self, number: int) -> int:
        """Wait for a command's end; return its code, negative for a signal."""
        return self._ask({"wait": number})

    def _ask(self, request: dict[str, Any]) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def _command(request: dict[str, Any]) -> None:
    # As in a terminal: whoever runs the tests in the background may have had it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(request["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    exec(request["first"], {})
    sys.argv = ["benchmark", *request["words"]]
    from benchmark.cli import main

    main()


def _serve() -> None:
    import timm  # noqa: F401

    import benchmark.common.registry
    import benchmark.models.mmseg_parts
    import benchmark.runs.experiment
    import benchmark.runs.sweep

    for name in benchmark.common.registry.names("method"):
        benchmark.common.registry.find("method", name)
    for line in sys.stdin:
        request = json.loads(line)
        answer = 0
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        elif request:
            answer = os.fork()
            os.setpgid(answer, 0)  # by both, as each may be first
            if not answer:
                code: Any = 1
                with contextlib.suppress(Exception):
                    try:
                        _command(request)
                    except SystemExit as ended:
                        code = ended.code
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code if isinstance(code, int) else 1)
        print(answer, flush=True)


if __name__ == "__main__":
    _serve()
