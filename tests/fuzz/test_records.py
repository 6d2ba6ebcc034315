"""Edited, damaged and forged records: rejected, or harmless to all code that reads records."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmark import records
from benchmark.cli import listing
from benchmark.figures import _command
from benchmark.records.seal import sealed
from benchmark.sharing import export
from benchmark.stability.record import read as read_stability
from benchmark.tables import command
from tests.fuzz.given import damaged, edited, jsons, outcome
from tests.records.made import stored

pytestmark = pytest.mark.slow

TABLE: dict[str, Any] = {"name": None, "backbone": None, "methods": (), "published": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two records; the tests forge the first."""
    root = tmp_path_factory.mktemp("runs")
    stored(root, "full", weights={"delta": b"delta", "decoder": b"decoder"})
    stored(root, "freeze")
    return root


@pytest.fixture(scope="module")
def whole(folder: Path) -> bytes:
    return place(folder).read_bytes()


@pytest.fixture(scope="module")
def fields(whole: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(whole)
    return found


def place(folder: Path) -> Path:
    return folder / "streets" / "vit-tiny-streets" / "full" / "seed0.json"


def files(folder: Path) -> set[Path]:
    return set(folder.parent.rglob("*"))


@given(data=st.data())
def test_a_damaged_file(folder: Path, whole: bytes, data: st.DataObject) -> None:
    """If any bytes change, the record is rejected or has the same content."""
    content = data.draw(damaged(whole))
    place(folder).write_bytes(content)
    found = outcome(lambda: records.read(place(folder)))
    assert isinstance(found, str) or found.model_dump() == records.Record.model_validate_json(whole).model_dump()


@given(data=st.data())
def test_an_edited_record(folder: Path, fields: dict[str, Any], data: st.DataObject) -> None:
    """An edit of any value without a new seal is detected."""
    changed = data.draw(edited(fields))
    place(folder).write_text(json.dumps(changed), encoding="utf-8")
    found = outcome(lambda: records.read(place(folder)))
    assert isinstance(found, str) or json.dumps(changed, sort_keys=True) == json.dumps(fields, sort_keys=True)
    outcome(lambda: read_stability(place(folder)))


@pytest.mark.parametrize("content", [b'{"schema_version": 1, "seed": NaN, "checksum": ""}', b"[" * 10**5])
def test_input_that_only_a_lenient_json_parser_accepts(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "seed0.json"
    path.write_bytes(content)
    for reader in (records.read, read_stability):
        assert "seed0.json: " in str(outcome(lambda: reader(path)))  # noqa: B023


@given(data=st.data())
def test_a_forged_record(folder: Path, fields: dict[str, Any], data: st.DataObject) -> None:
    """A newly sealed edit may pass as a valid record, but must not crash code that reads records."""
    place(folder).write_bytes(sealed(data.draw(edited(fields, jsons))))
    for verify in (False, True):
        outcome(lambda: records.read(place(folder), verify=verify))  # noqa: B023
    for made in ("latex", "markdown", "csv", "html"):
        outcome(lambda: printed(lambda: command.run(folder, "main", made, None, **TABLE)))  # noqa: B023
    outcome(lambda: printed(lambda: listing.show("runs", folder)))


@given(
    shape=st.lists(st.integers(0, 12), max_size=4) | st.just([12, 3, 3]),
    dtype=st.sampled_from(["i4", "u8", "i8", "f4", "?", "U3", "c8", "M8[s]"]),
    value=st.sampled_from([-1, 0, 1, 2**31, 2**62]),
    names=st.lists(st.integers(0, 12), max_size=2) | st.just([12]),
    packed=st.none() | damaged(b"PK\x03\x04" + bytes(80)),
)
@example(shape=[12, 3, 3], dtype="i4", value=0, names=[12], packed=None)
@example(shape=[12, 3, 3], dtype="u8", value=2**62, names=[12], packed=None)
@example(shape=[12, 3, 3], dtype="i4", value=1, names=[], packed=None)
def test_forged_confusions(
    folder: Path,
    fields: dict[str, Any],
    shape: list[int],
    dtype: str,
    value: int,
    names: list[int],
    packed: bytes | None,
) -> None:
    """Forged confusion matrices with a matching hash in the record."""
    buffer = io.BytesIO()
    with np.errstate(all="ignore"):
        matrices = np.full(shape, value).astype(dtype)
    arrays: dict[str, Any] = {}
    for domain in ("source", *fields["targets"]):
        arrays |= {f"{domain}/confusion": matrices, f"{domain}/ids": np.zeros(names, "i8")}
    np.savez(buffer, **arrays)
    content = buffer.getvalue() if packed is None else packed
    sidecar = place(folder).with_suffix(".npz")
    whole = sidecar.read_bytes()
    sidecar.write_bytes(content)
    changed = fields | {"confusion": fields["confusion"] | {"sha256": hashlib.sha256(content).hexdigest()}}
    place(folder).write_bytes(sealed(changed))
    try:
        assert isinstance(outcome(lambda: records.read(place(folder))), str)
    finally:
        sidecar.write_bytes(whole)


@settings(max_examples=max(settings().max_examples // 25, 1))
@given(data=st.data())
def test_figures_and_exports_of_a_forged_record(folder: Path, fields: dict[str, Any], data: st.DataObject) -> None:
    place(folder).write_bytes(sealed(data.draw(edited(fields, jsons))))
    with TemporaryDirectory(dir=folder.parent) as out:
        before = files(folder)
        request = _command.Request(None, True, folder, Path(out) / "figures", None, None, "", None)
        outcome(lambda: printed(lambda: _command.run(request)))
        outcome(lambda: export.export(str(place(folder)), folder, Path(out) / "figures" / "w.safetensors", True))
        added = files(folder) - before
        assert all(Path(out) / "figures" in (path, *path.parents) for path in added), added


def printed(call: Callable[[], None]) -> str:
    """Return what ``call`` prints; it must be encodable as UTF-8."""
    with redirect_stdout(io.StringIO()) as out:
        call()
    return out.getvalue().encode().decode()
