"""Another commit in a git worktree, and a hash that identifies a version of the code."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmark.common.errors import UserError
from benchmark.common.orphans import ENDING
from benchmark.common.temporary import temporary_folder

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("benchmark", "methods", "baselines")


def key(root: Path = ROOT) -> str:
    """Return a hash of all files of the packages; equal hashes mean equal versions of the code."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


@contextmanager
def checkout(ref: str) -> Iterator[Path]:
    """Yield a temporary git worktree of ``ref``, which is removed afterwards.

    Raises:
        UserError: git is not installed, this is not a repository, or it has no such commit.
    """
    commit = _git("rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}", what=f"--against {ref}")
    with temporary_folder("dgss-against-") as folder:
        place = folder.resolve() / "tree"
        _git("worktree", "add", "--detach", str(place), commit, what=f"--against {ref}")
        try:
            yield place
        finally:
            _git("worktree", "remove", "--force", str(place), what=f"removing the worktree of {ref}")


def call(root: Path, words: Sequence[object]) -> int:
    """Run the command line of the tree at ``root`` and return its exit code; discards its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *map(str, words)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.DEVNULL,
        check=False,
        preexec_fn=ENDING,
    )
    return done.returncode


def _git(*words: str, what: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(f"{what}: git cannot be run: {error.strerror or error}") from None
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"git ended with code {done.returncode}"])[-1]
        raise UserError(f"{what}: {reason}")
    return done.stdout.strip()
