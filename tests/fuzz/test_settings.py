"""Fuzzing of hyperparameters and lists on the command line: valid plans inside the records folder, or an error."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from benchmark import protocol
from benchmark.common import registry
from benchmark.method import PerturbationSettings
from benchmark.records import naming
from benchmark.runs import rates, request
from benchmark.stability import command
from tests.fuzz.given import numbers, outcome, values, words

RUNS = Path("runs")
NAMES = sorted(registry.names("method"))
FIXED = protocol.load("streets")


@cache
def settings_of(method: str) -> list[str]:
    kind = registry.find("method", naming.base(method))
    return [*kind.Settings.model_fields, *(f"perturbation.{name}" for name in PerturbationSettings.model_fields)]


@st.composite
def assignments(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Draw a method name, mostly a registered one, and texts for ``--set``."""
    method = draw(st.sampled_from(NAMES) | st.sampled_from([f"{name}{naming.PERTURBED}" for name in NAMES]))
    texts = []
    for _ in range(draw(st.integers(1, 3))):
        name = method if draw(st.integers(0, 9)) else draw(words)
        setting = draw(st.sampled_from(settings_of(method)) if draw(st.integers(0, 3)) else words)
        value = draw(numbers.map(short) | words | values.map(short))
        texts.append(f"{name}.{setting}={value}")
    return method, texts


def short(value: Any) -> str:
    return str(value)[:400]


def planned(method: str, texts: list[str], fixed: protocol.Protocol = FIXED) -> None:
    wanted = request.plan(
        fixed,
        fixed.backbone,
        request.parse_methods(method),
        [0],
        request.parse_given(texts),
        data_root=RUNS,
        folder=RUNS,
    )
    for job in wanted:
        inside(job.record)
        made = job.spec.make_method()
        assert set(job.spec.settings(made)) == set(job.spec.origins(made))
        json.dumps(job.spec.settings(made), allow_nan=False)


def inside(path: Path) -> None:
    """Assert that the path of a record is PROTOCOL/BACKBONE/METHOD/FILE within the records folder."""
    parts = path.relative_to(RUNS).parts
    assert len(parts) == 4, path
    assert all(part not in (".", "..") and len(part.encode()) < 256 for part in parts), path


@given(case=assignments())
@example(case=("lora", ["lora.rank=2001-99-99"]))
def test_settings_on_the_command_line(case: tuple[str, list[str]]) -> None:
    outcome(lambda: planned(*case))


@given(
    method=st.sampled_from(NAMES),
    stated=st.dictionaries(st.sampled_from(["lr", "rank", "x"]) | words, values, max_size=3),
)
def test_settings_in_a_protocol(method: str, stated: dict[str, Any]) -> None:
    fixed = FIXED.model_copy(update={"settings": {method: stated}, "searched": {}})
    outcome(lambda: planned(method, [], fixed))


@given(
    text=st.lists(words | st.sampled_from([*NAMES, *request.GROUPS, "linear", "lora+perturbed"]), max_size=3).map(
        ",".join
    )
)
def test_methods(text: str) -> None:
    outcome(lambda: request.parse_methods(text))


@given(text=st.text("0123456789-, .e+x٣", max_size=12) | words)
def test_seeds_rates_and_numbers_of_images(text: str) -> None:
    for parse in (request.parse_seeds, rates.parse, lambda text: command.parse_images(text, 8)):
        outcome(lambda: parse(text))  # noqa: B023
