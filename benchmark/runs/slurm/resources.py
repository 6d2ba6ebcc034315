"""What one run asks SLURM for, in the words of submitit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Optional

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmark.common.errors import UserError
from benchmark.protocol import explain

Word = Optional[Annotated[str, Field(min_length=1)]]
SHARED = ("timeout_min", "gpus_per_node", "cpus_per_task", "mem_gb")
"""Fields that submitit knows for every kind of cluster; the others are SLURM's own."""


class Resources(BaseModel):
    """The fields of ``--slurm``. A field that is not given is left to the cluster.

    Attributes:
        timeout_min: minutes until SLURM ends the job; a run that needs longer is queued again and resumes.
        gpus_per_node: a run is one process, and so has a use for one at most.
        cpus_per_task: processor cores; as many as ``--threads`` if not given.
        mem_gb: main memory.
        array_parallelism: how many runs at a time.
        signal_delay_s: how many seconds before its end a run is told to write its checkpoint.
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
                f"timeout_min={self.timeout_min} ends a run before it gets on, which is told to stop "
                f"signal_delay_s={self.signal_delay_s} before; give at least twice that time"
            )
        return self

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Resources:
        """Read ``KEY=VALUE`` texts, or several in one, separated by commas (``exclude=a,b`` keeps its own).

        Raises:
            UserError: a text of another form, an unknown field, an impossible value.
        """
        values: dict[str, str] = {}
        for text in texts:
            for part in re.split(r",(?=\w+=)", text):
                key, equals, value = part.partition("=")
                if not equals:
                    raise UserError(f"--slurm {part}: must read KEY=VALUE, such as partition=gpu,timeout_min=600")
                values[key.strip()] = value.strip()
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError(f"--slurm: {explain(error, cls)}") from None

    def parameters(self, threads: int) -> dict[str, Any]:
        """Return the parameters of submitit's ``AutoExecutor`` for runs of ``threads`` processor threads."""
        given = self.model_dump(exclude_none=True)
        given.setdefault("cpus_per_task", threads)
        parameters = {name if name in SHARED else f"slurm_{name}": value for name, value in given.items()}
        # srun no longer takes a job's cores over by itself (since SLURM 22.05).
        setup = [f"export OMP_NUM_THREADS={threads}", f"export SRUN_CPUS_PER_TASK={given['cpus_per_task']}"]
        return parameters | {
            "name": "dgss-benchmark",
            "tasks_per_node": 1,  # without a number, srun fills a node that SLURM gives as a whole
            "slurm_setup": setup,
            "slurm_additional_parameters": {"requeue": True},
        }
