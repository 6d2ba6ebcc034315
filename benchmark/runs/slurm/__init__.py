"""Many runs on a cluster: one SLURM job array of which every task is one run, through submitit."""

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
    """Return what submits runs and looks on.

    Args:
        texts: what every run asks for, as :meth:`Resources.parse` reads it.
        force: repeat finished runs, too.
        detach: do not look on.

    Raises:
        UserError: resources that cannot be meant, or nothing here to submit with.
    """
    resources = Resources.parse(texts)
    if importlib.util.find_spec("submitit") is None:
        raise UserError("--launcher slurm needs submitit, which is not installed: pip install -e '.[slurm]'")
    for program in ("sbatch", "srun", "squeue"):
        if shutil.which(program) is None:
            raise UserError(f"--launcher slurm: no {program} on this machine; start from a node that submits jobs")
    from benchmark.runs.slurm.launcher import Launcher

    return Launcher(resources, force, detach)
