"""Protocol files with arbitrary content: either a valid protocol or a one-line error."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from benchmark import protocol
from tests.fuzz.given import damaged, edited, outcome, values, words

STREETS = yaml.safe_load((protocol.FOLDER / "streets.yaml").read_text(encoding="utf-8"))
TEXT = (protocol.FOLDER / "camvid.yaml").read_bytes()
variants = st.sampled_from([None, "quick", "tune"]) | words


def check(path: Path, content: bytes, variant: str | None) -> None:
    path.write_bytes(content)
    made = outcome(lambda: protocol.load(str(path), variant))
    if isinstance(made, str):
        return
    json.dumps(made.fields(), allow_nan=False)
    assert len(made.splits()) == len(made.sources) + 1 + len(made.targets)


@given(content=edited(STREETS), variant=variants)
@example(content={**STREETS, "variants": {"quick": True}}, variant="quick")
@example(content={**STREETS, "default_variant": ["quick"]}, variant=None)
@example(content={**STREETS, "eps": math.inf}, variant=None)
@example(content={**STREETS, "decoder": {**STREETS["decoder"], "name": ["linear"]}}, variant=None)
@example(content={**STREETS, "targets": {"source": STREETS["validation"]}}, variant=None)
@example(content={**STREETS, "targets": {"a\x1b[2J": STREETS["validation"]}}, variant=None)
def test_an_edited_protocol(tmp_path: Path, content: Any, variant: str | None) -> None:
    check(tmp_path / "mine.yaml", yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass"), variant)


@given(content=damaged(TEXT), variant=variants)
def test_a_damaged_file(tmp_path: Path, content: bytes, variant: str | None) -> None:
    check(tmp_path / "mine.yaml", content, variant)


@given(content=st.text() | values.map(yaml.safe_dump))
@example(content='"\\uD800":')
@example(content="title: 2001-99-99")
@example(content="[" * 5000)
@example(content="&a {variants: *a, default_variant: variants}")
def test_any_text(tmp_path: Path, content: str) -> None:
    check(tmp_path / "mine.yaml", content.encode("utf-8", "surrogatepass"), None)


@given(name=words, ending=st.sampled_from(["", ".yaml", ".yml", "@quick", ".yaml@quick"]))
@example(name="x" * 300, ending="")
@example(name="x" * 300, ending=".yaml")
def test_any_name(name: str, ending: str) -> None:
    outcome(lambda: protocol.load(name + ending))
