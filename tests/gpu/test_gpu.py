"""The measurements of ``tox -e gpu`` at tiny size on a CPU: what they contain, time limit, failures, page."""

from __future__ import annotations

import json
import time
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.common.registry import main_methods
from benchmark.common.rng import derive_seed
from benchmark.protocol import DecoderSpec
from tests.gpu import __main__ as command
from tests.gpu import limits, same, sizes
from tests.gpu.measure import accelerated
from tests.gpu.page import section
from tests.gpu.sizes import Models, Size, made_up

pytestmark = pytest.mark.slow

METHODS = ("full", "fishertune", "lp-ft")


def small(**decoder: Any) -> Size:
    """Return the tiny size in float32: most CPUs multiply bfloat16 slowly."""
    tiny = sizes.tiny()
    spec = tiny.protocol.decoder.model_copy(update=decoder)
    return replace(tiny, protocol=tiny.protocol.model_copy(update={"precision": "float32", "decoder": spec}), steps=1)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Measure three methods; LP-FT refuses a protocol with a decoder warm-up. Return what the file contains."""
    out = tmp_path_factory.mktemp("gpu") / "gpu.json"
    command.run(small(warmup=1), command.in_order(sorted(METHODS)), out, 600.0)
    content: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return content


def test_every_method_has_a_row_with_its_measurements(found: dict[str, Any]) -> None:
    full, fishertune, _ = found["rows"]
    assert [row["method"] for row in found["rows"]] == list(METHODS)
    for row in (full, fishertune):
        assert row["step_seconds"] > 0
        assert row["evaluation"]["images_per_second"] > 0
        assert row["steps_timed"] == row["evaluation"]["frames_timed"] == 1
        assert row["to_full"]["step"] == row["step_seconds"] / full["step_seconds"]
        if not torch.cuda.is_available():
            assert row["peak_bytes"] is row["evaluation"]["peak_bytes"] is None
    assert "estimate" not in full
    assert found["settings"]["precision"] == "float32"
    assert found["machine"]["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["not_reached"] == []
    assert found["errors"] == {}


def test_fishertunes_estimate_and_choice_are_compared_with_full(found: dict[str, Any]) -> None:
    full, row, _ = found["rows"]
    estimate, step = row["estimate"], full["step_seconds"]
    assert estimate["steps_of_run"] == 512 / 2
    assert estimate["seconds_per_image"] == estimate["step_seconds"] / 2
    assert row["to_full"]["estimate_step"] == estimate["step_seconds"] / step
    assert row["to_full"]["select"] == row["select_seconds"] / step > 0
    whole = 256 * estimate["step_seconds"] + row["select_seconds"]
    assert row["to_full"]["estimate_of_run"] == pytest.approx(whole / (40_000 * step))


def test_a_failing_method_is_recorded_with_its_error(found: dict[str, Any]) -> None:
    row = found["rows"][-1]
    assert row["error"].startswith("UserError: lp-ft: ")
    assert "\n" not in row["error"]
    assert "step_seconds" not in row


def test_a_failing_method_is_an_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = small(warmup=1)
    monkeypatch.setattr(sizes, "tiny", lambda: size)
    assert command.main(["--tiny", "--methods", "lp-ft", "--out", str(tmp_path / "gpu.json")]) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is measured")
def test_without_a_gpu_the_file_says_what_is_not_measured(found: dict[str, Any]) -> None:
    assert set(found["float32"]) == set(found["fits"]) == {"skipped"}
    assert found["machine"]["accelerator"] is found["machine"]["driver"] is None


def test_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No time is left, so nothing is measured, and all methods are listed as not reached."""
    monkeypatch.setattr(command, "SECONDS", 0.0)
    assert command.main(["--tiny", "--out", str(tmp_path / "all.json")]) == 0
    assert command.main(["--tiny", "--methods", "lora, full", "--out", str(tmp_path / "two.json")]) == 0
    every, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("all", "two"))
    assert sorted(every["not_reached"]) == sorted(main_methods())
    assert every["not_reached"][:2] == ["full", "fishertune"]
    assert two["not_reached"] == ["full", "lora"]
    assert every["settings"]["backbone"] == "vit-tiny-random"
    assert every["rows"] == two["rows"] == []
    assert every["errors"] == {"float32": command.STOPPED}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        pytest.param([], "no CUDA device", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")),
        (["--tiny"], "--out"),
        (["--tiny", "--methods", "lorra", "--out", "never.json"], "lora"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(words) == 2
    told = capsys.readouterr()
    assert named in told.err
    assert told.err.count("\n") == 1
    assert not told.out


def test_work_is_stopped_at_the_time_limit() -> None:
    began = time.monotonic()
    assert command.attempt(partial(time.sleep, 30), began + 0.05) == command.STOPPED
    assert time.monotonic() - began < 10
    assert command.attempt(partial(time.sleep, 0), began + 60) is None


def test_full_size_is_what_the_page_claims() -> None:
    full = sizes.full()
    assert (full.backbone, full.protocol.decoder.name, full.crop, full.protocol.batch) == (
        "dinov2-l", "mask2former", 512, 4,
    )  # fmt: skip
    assert (full.frame, full.protocol.evaluation.mode) == ((1024, 2048), "slide")
    with accelerated(full.protocol.precision) as accelerator:
        assert accelerator.mixed_precision == "bf16"


# -- float32 -----------------------------------------------------------------------------------------------


def test_a_step_is_compared_by_its_losses_and_gradients() -> None:
    size = small()
    one = same.one_step(size, cpu=True)
    segmenter = Models(size).segmenter().train()
    images, labels = made_up(size.protocol.batch, size.crop, size.crop)
    torch.manual_seed(derive_seed(0, "model", 0, 0))
    losses = segmenter.losses(images, labels)
    torch.stack(list(losses.values())).sum().backward()
    torch.testing.assert_close(one["losses"], torch.stack(list(losses.values())).detach())
    assert one.keys() == {"losses", "decoder", "backbone"}
    for side in ("decoder", "backbone"):
        gradients = [p.grad for p in getattr(segmenter, side).parameters() if p.grad is not None]
        expected = torch.linalg.vector_norm(torch.cat([gradient.flatten() for gradient in gradients]))
        torch.testing.assert_close(torch.linalg.vector_norm(one[side]), expected, rtol=1e-4, atol=0)


def test_the_difference_is_relative() -> None:
    one, other = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])
    assert same.differences({"a": other, "b": one}, {"a": one, "b": one}) == {"a": 0.1, "b": 0.0}


# -- 24 GB, the plan, the page -----------------------------------------------------------------------------


def rows(*peaks: float) -> list[dict[str, Any]]:
    return [{"method": str(place), "peak_bytes": peak} for place, peak in enumerate(peaks)]


def test_the_smallest_too_large_thing_is_the_first() -> None:
    """24 GB hold a peak of (24 - 1.5) / 1.1 = 20.45 GB."""
    several = rows(30e9, 20.4e9, 20.5e9)
    several[1] |= {"estimate": {"peak_bytes": 25e9}, "evaluation": {"peak_bytes": 3e9}}
    found = limits.first_too_large(several, {4: 12e9, 8: 20e9})  # type: ignore[dict-item]
    assert found["first"] == "2, training"
    assert list(found["too_large"]) == ["2, training", "1, estimate", "0, training"]


def test_if_all_fit_it_is_a_batch_of_full() -> None:
    """At 2 GB per image and 4 GB besides, 8 images need 20 GB and 9 need 22 GB."""
    assert limits.first_too_large(rows(12e9), {4: 12_000_000_000, 8: 20_000_000_000})["first"] == "full, batch 9"
    assert limits.first_too_large(rows(12e9), {4: 12_000_000_000})["first"] is None
    assert set(limits.first_too_large([{"method": "full", "error": "out of memory"}], {})) == {"skipped"}


def test_the_plan_is_added() -> None:
    size = small()
    light = DecoderSpec(lr=1e-4, channels=8)
    size = replace(size, protocol=size.protocol.model_copy(update={"decoder": light}))
    planned: list[dict[str, Any]] = [{"method": "freeze"}, {"method": "full"}]
    limits.add_plans(size, planned)
    weights = sum(p.numel() for p in Models(small()).segmenter().backbone.parameters())
    # Full keeps a gradient and two moments for each weight of the backbone, and more activations.
    assert planned[1]["planned_bytes"] - planned[0]["planned_bytes"] > 12 * weights


def test_the_page_names_the_command_or_shows_the_measurements(found: dict[str, Any]) -> None:
    assert "`tox -e gpu`" in section(None)
    assert section(None).count("\n") == 4
    other = deepcopy(found)
    other["rows"][1] |= {"step_seconds": 0.5, "peak_bytes": 14_000_000_000}
    other["rows"][1]["to_full"] |= {"step": 0.8, "peak": 0.7}
    other |= {"not_reached": ["soma"], "float32": {"skipped": "no device"}, "errors": {"plan": "too late"}}
    other["fits"] = limits.first_too_large(rows(23e9), {})
    text = section(other)
    (row,) = (line for line in text.splitlines() if line.startswith("| FisherTune"))
    assert [cell.strip() for cell in row.split("|")[2:6]] == ["500 ms", "0.80", "14.0 GB", "0.70"]
    for part in ("- lp-ft: UserError", "- plan: too late", "soma", "no device", "0, training (23.0 GB)"):
        assert part in text
