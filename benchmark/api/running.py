"""Runs from Python: what ``python -m benchmark run`` does, with records instead of a printed table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from benchmark.api.reading import Place
from benchmark.common.errors import UserError
from benchmark.records import Record, read
from benchmark.runs import sweep
from benchmark.runs.request import Selection
from benchmark.training.runtime import RuntimeOptions

Words = str | Iterable[str]
Given = Mapping[str, Mapping[str, Any]]


class UnfinishedRunsError(UserError):
    """Some runs did not finish; the message says which and why.

    Attributes:
        records: those of the other runs, and of runs that failed (``state`` is ``failed``).
    """

    def __init__(self, line: str, records: Sequence[Record]) -> None:
        super().__init__(line)
        self.records = list(records)


def run(
    protocol: Place = "streets",
    methods: Words = (),
    seeds: int | str | Iterable[int] = 0,
    *,
    quick: bool = False,
    settings: Given | None = None,
    backbone: str | None = None,
    weights: Place | None = None,
    revision: str | None = None,
    vfm: Sequence[str] = (),
    data_root: Place | None = None,
    records: Place = "runs",
    workers: int | None = None,
    force: bool = False,
    threads: int = 1,
    accumulate: int = 1,
    checkpointing: bool = False,
    compile: bool = False,
    data_workers: int | None = None,
    evaluator: Literal["detectron2"] | None = None,
    track: Literal["tensorboard", "wandb"] | None = None,
    progress: bool = True,
) -> list[Record]:
    """Train, evaluate and record every pending run; return the records of all runs, new and old.

    Runs execute in processes of their own, which do not import the calling script again. Call it again to resume after
    an interruption.

    Args:
        protocol: a protocol's name or YAML file.
        methods: names or groups (``table4``), as a list or separated by commas; ``"all"`` for the main comparison.
        seeds: one seed, several, or text such as ``"0-4"``.
        quick: use the protocol's tiny variant.
        settings: hyperparameters by method: ``{"lora": {"rank": 4}}``.
        backbone: instead of the protocol's own.
        weights: file with the backbone's pre-trained weights, instead of a download.
        revision: commit of the backbone's hub repository, instead of the pinned one.
        vfm: ``resample=bicubic|pi`` or ``normalisation=imagenet|own``.
        data_root: folder with one folder per data set; not needed for rendered ones.
        records: folder of the records.
        workers: runs at a time; by default one per core, or one if there is a GPU.
        force: repeat finished runs.
        threads: CPU threads of each run.
        accumulate: micro-batches per batch: less memory, the same batch size.
        checkpointing: recompute blocks in the backward pass: less memory, more time.
        compile: compile the backbone.
        data_workers: data-loader workers of each run; by default 0, on a GPU up to 4.
        evaluator: recompute every mIoU with a second evaluator.
        track: log losses and scores to a tracker.
        progress: show progress on standard error.

    Raises:
        UserError: anything that can be known before training starts.
        UnfinishedRunsError: a run failed or was refused; the others have finished.
    """
    every = methods == "all"
    selection = Selection(
        str(protocol), quick, tuple(vfm), every, "" if every else _joined(methods), _seeds(seeds),
        _given(settings or {}), backbone, None if weights is None else Path(weights), revision,
    )  # fmt: skip
    runtime = RuntimeOptions(
        threads=threads, accumulate=accumulate, checkpointing=checkpointing, compile=compile,
        data_workers=data_workers, evaluator=evaluator, tracker=track,
    )  # fmt: skip
    root = None if data_root is None else Path(data_root)
    jobs = sweep.prepare(selection, runtime, root, Path(records))
    console = Console(stderr=True, quiet=not progress)
    outcomes = sweep.run_pending(jobs, workers, console, force=force, skip_unserved=every)
    found = [read(job.record) for job in jobs if job.record.exists()]
    unfinished = [outcome for outcome in outcomes if outcome.state != "finished"]
    if unfinished:
        lines = "; ".join(f"{each.state}: {each.job.spec.title}: {each.text}" for each in unfinished)
        raise UnfinishedRunsError(f"{len(unfinished)} of {len(jobs)} runs did not finish: {lines}", found)
    return found


def _joined(names: Words) -> str:
    return names if isinstance(names, str) else ",".join(names)


def _seeds(seeds: int | str | Iterable[int]) -> str:
    if isinstance(seeds, (int, str)):
        return str(seeds)
    return ",".join(map(str, seeds))


def _given(settings: Given) -> tuple[str, ...]:
    """Return hyperparameters as words of the command line; JSON is YAML, which it reads."""
    return tuple(
        f"{method}.{name}={value if isinstance(value, str) else json.dumps(value)}"
        for method, values in settings.items()
        for name, value in values.items()
    )
