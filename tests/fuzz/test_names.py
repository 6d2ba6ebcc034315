"""Names from files that become folder names: none leaves the folder of records or figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import constants
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmark import protocol, records
from benchmark.common.errors import UserError
from benchmark.models import hub
from benchmark.runs import request
from tests.conftest import TINY
from tests.fuzz.given import outcome, words
from tests.fuzz.test_settings import RUNS, inside
from tests.records.made import failed, stored

paths = (
    st.lists(st.sampled_from(["..", "a", "/", "\\", ".", " ", "x" * 120]), min_size=1, max_size=4).map("/".join) | words
)


@given(variant=paths, default=st.booleans())
@example(variant="a/../../../x", default=True)
def test_a_variants_name(tmp_path: Path, variant: str, default: bool) -> None:
    path = tmp_path / "tiny.yaml"
    content: dict[str, Any] = {**TINY, "variants": {variant: {}}} | ({"default_variant": variant} if default else {})
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    outcome(lambda: planned(protocol.load(str(path), None if default else variant)))


@given(stem=paths)
@example(stem=".")
def test_a_protocol_files_name(tmp_path: Path, stem: str) -> None:
    path = tmp_path / f"{stem.replace('/', '_')[:180]}.yaml"
    try:
        path.write_text(yaml.safe_dump(TINY), encoding="utf-8")
    except (OSError, ValueError):  # not a valid file name
        return
    outcome(lambda: planned(protocol.load(str(path))))


def planned(fixed: protocol.Protocol) -> None:
    for job in request.plan(fixed, fixed.backbone, ["full"], [0], {}, data_root=RUNS, folder=RUNS):
        inside(job.record)


@given(kind=st.sampled_from(["protocol", "backbone", "method"]), name=paths)
@example(kind="protocol", name="../../x")
def test_a_recorded_name(tmp_path: Path, kind: str, name: str) -> None:
    """Names in a record become folders of figures, for example, so they are validated when a record is created."""
    try:
        changed: dict[str, Any] = {kind: name}
        made = failed(**changed)
    except ValidationError:
        places = {"protocol": "x", "backbone": "x", "method": "x", kind: name}
        with pytest.raises(UserError, match="cannot be a folder name"):
            records.path_of(tmp_path, **places, seed=0)
        return
    inside(RUNS / f"{made.name}.json")


@given(revision=paths)
@example(revision="../../x")
@example(revision="x" * 300)
def test_a_revision_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert isinstance(outcome(lambda: hub.fetch("timm/some-vit", revision)), str)


@given(file=paths)
@example(file="../../x")
@example(file="")
def test_a_file_name_in_a_record(tmp_path: Path, file: str) -> None:
    found = stored(tmp_path)
    assert found.confusion is not None
    with pytest.raises(ValidationError):
        type(found.confusion)(file=file, sha256="0" * 64)
