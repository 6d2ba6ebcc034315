"""The SLURM resources of one run, with the names that submitit uses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Optional

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmark.common.errors import UserError
from benchmark.protocol import explain

Word = Optional[Annotated[str, Field(min_length=1)]]
SHARED = ("timeout_min", "gpus_per_node", "cpus_per_task", "mem_gb")
"""Fields that submitit has for all clusters; the others are specific to SLURM."""


class Resources(BaseModel):
    """The fields of ``--slurm``. For a field that is not given, the cluster's default applies.

    Attributes:
        timeout_min: time limit of the job in minutes; a longer run is requeued and resumes.
        gpus_per_node: at most 1, since a run is one process.
        cpus_per_task: CPU cores; defaults to ``--threads``.
        mem_gb: memory in GB.
        array_parallelism: maximum number of runs at a time.
        signal_delay_s: seconds before the time limit at which SLURM signals the run to save a checkpoint.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_min: int = Field(default=1440, ge=1)
    gpus_per_node: Optional[int] = Field(default=None, ge=0, le=1)
    cpus_per_task: Optional[int] = Field(default=None, ge=1)
    mem_gb: Optional[float] = Field(default=None, gt=0)
    partition: Word = None
    account: Word = None
    qos: Word = None
    constraint: Word = None
    gres: Word = None
    nodelist: Word = None
    exclude: Word = None
    array_parallelism: Optional[int] = Field(default=None, ge=1)
    signal_delay_s: int = Field(default=90, ge=1)

    @model_validator(mode="after")
    def _leave_time_to_run(self) -> Resources:
        if 2 * self.signal_delay_s > 60 * self.timeout_min:
            raise ValueError(
                f"timeout_min={self.timeout_min} is too short, since the run stops signal_delay_s="
                f"{self.signal_delay_s} before it; give at least twice signal_delay_s"
            )
        return self

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Resources:
        """Parse ``KEY=VALUE`` texts; one text may hold several, separated by commas (``exclude=a,b`` is one value).

        Raises:
            UserError: a text of another form, an unknown field or an invalid value.
        """
        values: dict[str, str] = {}
        for text in texts:
            for part in re.split(r",(?=\w+=)", text):
                key, equals, value = part.partition("=")
                if not equals:
                    raise UserError(f"--slurm {part}: give KEY=VALUE, for example partition=gpu,timeout_min=600")
                values[key.strip()] = value.strip()
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError(f"--slurm: {explain(error, cls)}") from None

    def parameters(self, threads: int) -> dict[str, Any]:
        """Return the parameters of submitit's ``AutoExecutor`` for runs with ``threads`` CPU threads."""
        given = self.model_dump(exclude_none=True)
        given.setdefault("cpus_per_task", threads)
        parameters = {name if name in SHARED else f"slurm_{name}": value for name, value in given.items()}
        # Since SLURM 22.05, srun does not inherit cpus-per-task from the job.
        setup = [f"export OMP_NUM_THREADS={threads}", f"export SRUN_CPUS_PER_TASK={given['cpus_per_task']}"]
        return parameters | {
            "name": "dgss-benchmark",
            "tasks_per_node": 1,  # otherwise srun starts one task per core where the job has the node to itself
            "slurm_setup": setup,
            "slurm_additional_parameters": {"requeue": True},
        }
