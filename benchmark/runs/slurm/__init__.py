"""Runs on a cluster: a SLURM job array with one task per run, submitted with submitit."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmark.common.errors import UserError
from benchmark.runs.slurm.resources import Resources

if TYPE_CHECKING:
    from benchmark.runs.slurm.launcher import Launcher


def make_launcher(texts: Iterable[str], force: bool, detach: bool) -> Launcher:
    """Return the launcher that submits runs and shows their progress.

    Args:
        texts: resources of each run, in the format of :meth:`Resources.parse`.
        force: also repeat finished runs.
        detach: do not wait for the runs.

    Raises:
        UserError: invalid resources; submitit or a SLURM program is missing.
    """
    resources = Resources.parse(texts)
    if importlib.util.find_spec("submitit") is None:
        raise UserError("--launcher slurm needs submitit, which is not installed: pip install -e '.[slurm]'")
    for program in ("sbatch", "srun", "squeue"):
        if shutil.which(program) is None:
            raise UserError(f"--launcher slurm: {program} not found; run this on a login node of the cluster")
    from benchmark.runs.slurm.launcher import Launcher

    return Launcher(resources, force, detach)
