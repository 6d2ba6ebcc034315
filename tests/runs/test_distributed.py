"""Two ranks that divide every batch train like one process."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console
from torch import Tensor, distributed

from benchmark import protocol as protocols
from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.method import Perturbation, PerturbationSettings
from benchmark.models.decoders import LinearDecoder
from benchmark.models.mask2former import Mask2Former
from benchmark.models.segmenter import Segmenter
from benchmark.records import confusions, naming, read
from benchmark.runs import pool
from benchmark.runs.distributed import run_on_ranks
from benchmark.runs.events import Event, Listener, Step
from benchmark.runs.job import Job
from benchmark.runs.one_run import train_and_record
from benchmark.runs.sweep import report_unfinished
from benchmark.training import trainer as training
from benchmark.training.ranks import images_per_rank, make_accelerator
from benchmark.training.runtime import RuntimeOptions
from benchmark.training.trainer import Trainer
from tests.backbones import tiny_backbone
from tests.cli.test_cli import ROOT
from tests.conftest import TINY
from tests.small import CLASSES, DIM, Head, OneBatch, method, protocol
from tests.training.test_trainer import essence, job_of
from tests.warm import shared

pytestmark = [
    pytest.mark.skipif(
        not distributed.is_available() or sys.platform == "win32", reason="needs torch.distributed with gloo"
    ),
    pytest.mark.slow,
]
PROCESSES, BATCH, STEPS, QUERIES, KILLED = 2, 4, 6, 8, 8
SECONDS = 1800
"""What a busy machine may take; processes that still run then wait for each other in vain."""
ALIKE = {"adaptformer", "bitfit", "dora", "layernorm", "random", "soma", "soma-as-released", "ssf", "vpt"}
"""Methods that only add or select parameters at the start, like LoRA and GPS: no part of them sees the ranks."""
METHODS = sorted(set(registry.main_methods()) - ALIKE - {"lp-ft"})  # lp-ft is refused with a decoder warm-up
KINDS = [
    *((name, "pixels") for name in METHODS),
    ("fishertune", "pixels"),  # an estimate that draws weights
    ("lora+perturbed", "pixels"),
    ("fishertune", "linear"),
    ("fishertune", "masks"),
    ("rein", "masks"),  # its tokens are the decoder's queries
]
Run = dict[str, Any]


class Crops(OneBatch):
    """Six noisy images, one of them labelled for a third and with fewer classes; notes which were asked for."""

    def __init__(self) -> None:
        super().__init__(batch=6)
        self.asked: list[int] = []

    def __getitem__(self, position: int) -> Any:
        self.asked.append(position)
        item = super().__getitem__(position)
        label = item["label"].clone()
        if position % 6 == 0:
            label[:22] = 255
        return {**item, "image": item["image"].to(torch.get_default_dtype()), "label": label}


def built(decoder: str) -> Segmenter:
    """A segmenter with chance in its backbone (drop path), and weighted classes where the decoder has them."""
    backbone = tiny_backbone("dinov2", depth=4 if decoder == "masks" else 3, drop_path_rate=0.3)
    if decoder == "pixels":
        return Segmenter(backbone, Head(), torch.tensor([0.5, 1.0, 1.5, 2.0]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if decoder == "linear":
            return Segmenter(backbone, LinearDecoder(DIM, CLASSES))
        return Segmenter(backbone, Mask2Former(DIM, CLASSES, QUERIES, 1, 1, points=64))


def train(name: str, decoder: str, runtime: RuntimeOptions | None = None) -> Run:
    """Two iterations of the decoder alone, then four of the method, with an estimate in between if it needs one.

    With masks in float64: which points a loss is taken at hangs on the last bit, so that what float32 rounds away is
    a thousand times as much after five steps.
    """
    with wide() if decoder == "masks" else nullcontext():
        return _trained(name, decoder, runtime)


@contextmanager
def wide() -> Iterator[None]:
    """Within the context new tensors are of float64."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def close(losses: dict[str, float], decoder: str) -> Any:
    """Return what equals the losses for any number of ranks and micro-batches."""
    precision = 1e-10 if decoder == "masks" else 1e-5
    return pytest.approx(losses, abs=precision, rel=precision)


def _trained(name: str, decoder: str, runtime: RuntimeOptions | None) -> Run:
    data, segmenter, base = Crops(), built(decoder).to(torch.get_default_dtype()), naming.base(name)
    made = method(base, **({"tokens": QUERIES} if (base, decoder) == ("rein", "masks") else {}))
    perturbation = None if base == name else Perturbation(PerturbationSettings(probability=1.0))
    spec = protocol(STEPS, BATCH, decoder_lr=1e-3)
    spec = spec.model_copy(update={"decoder": spec.decoder.model_copy(update={"warmup": 2})})
    before = {name: parameter.detach().clone() for name, parameter in segmenter.backbone.named_parameters()}
    trainer = Trainer(spec, 0, segmenter, made, data, make_accelerator("float32"), perturbation, runtime)
    losses: list[dict[str, float]] = []
    trainer.run(lambda step: {}, tick=lambda step, named: losses.append(named))
    bits = b"".join(parameter.detach().numpy().tobytes() for parameter in segmenter.parameters())
    weights = hashlib.sha256(bits).hexdigest()
    written = {name: positions for name, (positions, _) in (made.delta() or {}).items()}
    return {
        "asked": data.asked, "losses": losses, "weights": weights, "report": made.report(), "written": written,
        "unreached": trainer.progress.unreached,
        "strays": strays(before, segmenter, written) if made.delta() is not None else 0,
    }  # fmt: skip


def strays(before: dict[str, Tensor], segmenter: Segmenter, written: dict[str, Tensor]) -> int:
    """Return how many weights of the backbone have moved although a sparse method says that it left them alone."""
    moved = 0
    for name, parameter in segmenter.backbone.named_parameters():
        differs = (parameter.detach() != before[name]).flatten()
        differs[written.get(name, torch.empty(0)).long()] = False
        moved += int(differs.sum())
    return moved


def record(folder: Path, data: Path, rank: int) -> None:
    """Begin a run; a signal to the second process stops both, both go on, and the second is killed."""
    job = job_of(folder / "tiny.yaml", data, folder / "together", "fishertune")
    training.CHECKPOINT_SECONDS = 0.0  # a checkpoint after every iteration

    def hit(step: int, number: int) -> Listener:
        def listener(job: Job, event: Event) -> None:
            if isinstance(event, Step):
                steps.append(event.step)
                if (rank, event.step) == (1, step):
                    os.kill(os.getpid(), number)

        return listener

    steps: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        run_on_ranks([job], hit(5, signal.SIGTERM))
    assert job.checkpoint.exists()
    assert not job.record.exists()
    distributed.barrier()
    last = steps.pop()
    steps.clear()
    (outcome,) = run_on_ranks([job, job], hit(KILLED, signal.SIGKILL))
    assert steps[0] in (last + 1, last + 2), "both ranks stop at the same step, at most one later"
    assert (rank, outcome.state, steps[-1]) == (0, "crashed", KILLED)
    (folder / "left.txt").write_text(outcome.text, encoding="utf-8")


def work(rank: int, port: int, folder: Path, data: Path) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(PROCESSES))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.save([train(*kind) for kind in KINDS], folder / f"{rank}.pt")
    record(folder, data, rank)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """The folder in which two processes have left what they did, all of it in one start; the second was killed."""
    place = tmp_path_factory.mktemp("together")
    (place / "tiny.yaml").write_text(yaml.safe_dump(TINY), encoding="utf-8")
    port, started = free_port(), []
    for rank in range(PROCESSES):
        code = (
            f"import signal; from pathlib import Path; signal.alarm({SECONDS})\n"
            "from tests.runs.test_distributed import work\n"
            f"work({rank}, {port}, Path({str(place)!r}), Path({str(tiny_data)!r})); raise SystemExit(0)"
        )
        started.append(shared().start([], place / f"{rank}.log", code))
    ended = [shared().wait(process) for process in started]
    logs = "\n".join((place / f"{rank}.log").read_text() for rank in range(PROCESSES))
    assert ended == [0, -signal.SIGKILL], f"SIGALRM: they wait for each other\n{logs}"
    return place


@pytest.fixture(scope="module")
def together(folder: Path) -> dict[tuple[str, str], list[Run]]:
    """By method and decoder, what each process saw and where it ended."""
    each = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]
    return {kind: [found[index] for found in each] for index, kind in enumerate(KINDS)}


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_two_ranks_train_like_one_process(kind: tuple[str, str], together: dict[tuple[str, str], list[Run]]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone, (first, second) = train(*kind), together[kind]
    torch.set_num_threads(threads)
    steps = len(alone["losses"])  # those on top of the iterations included
    assert [place for place in alone["asked"] if place < STEPS * BATCH] == list(range(STEPS * BATCH))
    assert sorted(alone["asked"]) == list(range(steps * BATCH))
    half = BATCH // PROCESSES
    for step in range(steps):
        shares = [run["asked"][step * half : (step + 1) * half] for run in (first, second)]
        assert [*shares[0], *shares[1]] == alone["asked"][step * BATCH : (step + 1) * BATCH]
    assert first["losses"] == second["losses"]
    for one, two in zip(alone["losses"], first["losses"], strict=True):
        assert two == close(one, kind[1])
    assert first["weights"] == second["weights"]
    assert first["report"] == second["report"]
    assert alone["unreached"] == first["unreached"] == second["unreached"]
    assert first["report"].get("chosen") == alone["report"].get("chosen")
    assert [run["strays"] for run in (alone, first, second)] == [0, 0, 0]
    assert alone["written"].keys() == first["written"].keys() == second["written"].keys()
    for name, positions in alone["written"].items():
        assert torch.equal(first["written"][name], positions)
        assert torch.equal(second["written"][name], positions)
    assert first["report"].get("gradient_evaluations") == alone["report"].get("gradient_evaluations")


def test_the_rank_that_remains_reports_the_lost_one_and_ends(folder: Path) -> None:
    text = (folder / "left.txt").read_text(encoding="utf-8")
    assert "another rank" in text
    shown = io.StringIO()
    job = job_of(folder / "tiny.yaml", folder, folder, "freeze")
    with pytest.raises(SystemExit) as ended:
        report_unfinished(
            [pool.Outcome(job, "crashed", text)], Console(file=shown, quiet=True)
        )  # as where the first was killed
    assert ended.value.code == 1
    assert shown.getvalue().count(text) == 1


def test_torchrun_resumes_and_writes_the_record_of_one_process(folder: Path, tiny_data: Path) -> None:
    """Stopped, killed and resumed on two ranks, it equals that of an uninterrupted process, up to rounding."""
    job = job_of(folder / "tiny.yaml", tiny_data, folder / "alone", "fishertune")
    train_and_record(job)
    words = ["--protocol", folder / "tiny.yaml", "--data-root", tiny_data, "--records", folder / "together"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", free_port()]
    done = subprocess.run(
        [*map(str, launch), "-m", "benchmark", "run", "--methods", "fishertune", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f" seed 0: {KILLED + 1}/16 " in done.stderr, "it resumed from the checkpoint of the killed run"
    assert done.stdout.count("| FisherTune") == 1
    assert done.stderr.count("1 of 1 records in") == 1
    alone, two = (read(folder / where / job.record.relative_to(job.folder)) for where in ("alone", "together"))
    assert (alone.machine["processes"], two.machine["processes"]) == (1, PROCESSES)
    differing = {"losses", "source", "targets", "average", "oracle", "evaluations", "machine", "report"}
    one, other = essence(alone), essence(two)
    assert {key for key in one if one[key] != other[key]} <= differing
    for (step, losses), (same, found) in zip(alone.losses, two.losses, strict=True):
        assert step == same
        assert found == pytest.approx(losses, abs=1e-5)
    (matrices, ids), (others, names) = confusions(alone), confusions(two)
    assert ids == names
    for domain, matrix in matrices.items():
        assert np.array_equal(matrix.sum(2), others[domain].sum(2)), "every image's pixels, counted once, in order"
        assert two.scores()[domain].miou == pytest.approx(alone.scores()[domain].miou, abs=1e-3)


def test_a_batch_that_ranks_cannot_divide_equally_is_refused() -> None:
    spec = protocols.load("gtav-to-cbm")
    assert [images_per_rank(spec, processes) for processes in (1, 2, 4)] == [4, 2, 1]
    with pytest.raises(UserError, match=r"gtav-to-cbm.* 4 images .* 3 .*1, 2, 4"):
        images_per_rank(spec, 3)
