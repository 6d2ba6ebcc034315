"""Malicious or damaged shared runs: rejected with a one-line message; nothing is written, nothing is executed.

The forged runs follow the format: hashes, sizes and seals are valid unless a case tests them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from benchmark.artifacts.delta import metadata
from benchmark.common.errors import UserError
from benchmark.records.seal import sealed
from benchmark.sharing import bundle, manifest
from benchmark.sharing.export import export, find
from benchmark.sharing.manifest import FIELDS
from benchmark.sharing.transfer import pull

pytestmark = pytest.mark.slow

Files = dict[str, bytes]
Tensors = dict[str, torch.Tensor]


class Payload:
    """Creates a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def forged(files: Files, changes: Files, **fields: Any) -> Files:
    """Return the files with some replaced, the record sealed again and a new manifest."""
    record = {**json.loads(files["record.json"]), **fields}
    files = {**files, **changes}
    for field, name in FIELDS.items():
        if record[field] and name in files:
            record[field] = {**record[field], "sha256": hashlib.sha256(files[name]).hexdigest()} | fields.get(field, {})
    files["record.json"] = changes.get("record.json") or sealed(record)
    listed = {name: data for name, data in files.items() if name not in ("README.md", "manifest.json")}
    return {**files, "manifest.json": manifest.build(f"tiny/vit-tiny-random/{record['method']}/seed0", listed)}


def altered(name: str, change: Callable[[Tensors], Any], **facts: str) -> Callable[[Files], Files]:
    """Return a function that changes tensors and metadata of a file."""

    def alter(files: Files) -> Files:
        tensors = load(files[name])
        change(tensors)
        return forged(files, {name: save(tensors, {**metadata(files[name]), **facts})})

    return alter


def rewritten(change: Callable[[dict[str, Any]], Any]) -> Callable[[Files], Files]:
    """Return a function that changes only the manifest."""

    def alter(files: Files) -> Files:
        listed = json.loads(files["manifest.json"])
        change(listed)
        return {**files, "manifest.json": json.dumps(listed).encode()}

    return alter


def recorded(**fields: Any) -> Callable[[Files], Files]:
    return lambda files: forged(files, {}, **fields)


def exchanged(name: str, data: bytes) -> Callable[[Files], Files]:
    return lambda files: forged(files, {name: data})


def archive(change: Callable[[dict[str, np.ndarray]], Any]) -> Callable[[Files], Files]:
    """Return a function that changes the confusion matrices."""

    def alter(files: Files) -> Files:
        with np.load(io.BytesIO(files["confusion.npz"])) as arrays:
            found = dict(arrays)
        change(found)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **found)
        return forged(files, {"confusion.npz": buffer.getvalue()})

    return alter


def oversized_header(files: Files) -> Files:
    """Confusion matrices whose header declares more memory than any machine has."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(files["confusion.npz"])) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "dusk/confusion.npy":
                header = io.BytesIO()
                np.lib.format.write_array_header_1_0(
                    header, {"descr": "<i4", "fortran_order": False, "shape": (10**13, 11, 11)}
                )
                data = header.getvalue()
            new.writestr(name, data)
    return forged(files, {"confusion.npz": buffer.getvalue()})


def oversized_settings(files: Files) -> Files:
    """Hyperparameters that need more memory than any machine has."""
    settings = {**json.loads(files["record.json"])["settings"], "rank": 10**12}
    tensors, facts = load(files["tuned.safetensors"]), metadata(files["tuned.safetensors"])
    facts["settings"] = json.dumps(settings, sort_keys=True)
    return forged(files, {"tuned.safetensors": save(tensors, facts)}, settings=settings)


def first(tensors: Tensors, part: str = "") -> str:
    return next(name for name in tensors if part in name)


def put(tensors: Tensors, part: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    name = first(tensors, part)
    tensors[name] = change(tensors[name]).contiguous()


def truncated(name: str) -> Callable[[Files], Files]:
    return lambda files: forged(files, {name: files[name][:-9]})


LORA: list[tuple[Callable[[Files], Files], str]] = [
    (rewritten(lambda m: m["files"].update({"../../evil.json": m["files"]["record.json"]})), "manifest.json: .*evil"),
    (rewritten(lambda m: m["files"].update({"/etc/evil": m["files"]["record.json"]})), "manifest.json: .*/etc/evil"),
    (rewritten(lambda m: m["files"].pop("decoder.safetensors")), "lacks decoder.safetensors"),
    (rewritten(lambda m: m["files"].pop("tuned.safetensors")), "manifest.json: .*delta.safetensors.*tuned"),
    (rewritten(lambda m: m["files"].update({"delta.safetensors": m["files"]["record.json"]})), "one of delta.*tuned"),
    (rewritten(lambda m: m.update(more=1)), "manifest.json: more: Extra inputs"),
    (rewritten(lambda m: m["files"]["record.json"].update(bytes=3)), r"record.json: \d+ bytes, .*\b3\b"),
    (rewritten(lambda m: m["files"]["record.json"].update(bytes=1 << 40)), r"record.json: \d{13} bytes, at"),
    (rewritten(lambda m: m["files"]["decoder.safetensors"].update(bytes=1 << 60)), r"safetensors: \d{19} bytes"),
    (rewritten(lambda m: m["files"]["record.json"].update(sha256="0" * 64)), "record.json: SHA-256 .*000000"),
    (rewritten(lambda m: m.update(record="tiny/vit-tiny-random/full/seed0")), "record.json: .*full/seed0"),
    (lambda files: {**files, "manifest.json": files["manifest.json"][:-30]}, "manifest.json: Invalid JSON"),
    (lambda files: {**files, "tuned.safetensors": files["tuned.safetensors"][:-1]}, r"tuned.safetensors: \d+ bytes"),
    (truncated("tuned.safetensors"), "tuned.safetensors: truncated or not safetensors"),
    (truncated("decoder.safetensors"), "decoder.safetensors: truncated or not safetensors"),
    (truncated("confusion.npz"), "confusion.npz: not an archive"),
    (truncated("record.json"), "record.json: not JSON"),
    (altered("tuned.safetensors", lambda t: t.update(more=torch.zeros(3))), "has an unknown tensor 'more'"),
    (altered("tuned.safetensors", lambda t: t.pop(first(t))), "lacks tensor"),
    (altered("tuned.safetensors", lambda t: put(t, "lora_A", lambda x: x[:, :-1])), "tensor .* is .*, expected"),
    (altered("tuned.safetensors", lambda t: put(t, "", torch.Tensor.double)), "is torch.float64, expected torch.float"),
    (altered("tuned.safetensors", lambda t: None, settings="{}"), "tuned.safetensors: settings in its metadata"),
    (altered("tuned.safetensors", lambda t: None, method="full"), "tuned.safetensors: method in its metadata"),
    (altered("tuned.safetensors", lambda t: None, more="1"), "tuned.safetensors: more in its metadata"),
    (altered("decoder.safetensors", lambda t: t.update(more=torch.zeros(3))), "has an unknown tensor 'more'"),
    (altered("decoder.safetensors", lambda t: put(t, "bias", lambda x: x[:-1])), "tensor .* is .*, expected"),
    (archive(lambda a: a.update({"more/confusion": a["dusk/confusion"]})), "confusion.npz: arrays"),
    (archive(lambda a: a.update({"dusk/confusion": np.zeros((2, 1000, 1000), np.int32)})), "confusion.npz: arrays"),
    (archive(lambda a: a.update({"dusk/confusion": a["dusk/confusion"] + 1})), "targets.dusk.miou"),
    (archive(lambda a: a.update({"dusk/confusion": np.array(3)})), "confusion"),
    (oversized_header, "confusion: not an archive"),
    (recorded(method="../../../evil"), "method .*evil.* cannot be a folder name"),
    (recorded(protocol="..", fingerprint="0"), "protocol '..' cannot be a folder name"),
    (recorded(tuned={"file": "../../evil"}), "tuned.file: String should match pattern"),
    (recorded(tuned={"file": "seed0.tuned.safetensors", "sha256": "0" * 64}), "record.json: tuned: .*manifest"),
    (recorded(fingerprint="0" * 64), "protocol_fields: .*fingerprint"),
    (recorded(protocol_fields={"name": "tiny"}), "protocol_fields: "),
    (oversized_settings, "method 'lora' .*attached"),
    (recorded(extra=1), "extra: Extra inputs are not permitted"),
    (recorded(state="failed", error="so"), "record.json: .*finished run .*lora/seed0"),
    (lambda files: forged(files, {"record.json": files["record.json"].replace(b'"seed": 0', b'"seed": 1')}), "edited"),
]  # fmt: skip

RANDOM: list[tuple[Callable[[Tensors], Any], str]] = [
    (lambda t: put(t, "/index", lambda x: torch.cat([x[:-1], x.new_tensor([10**9])])), "positions"),
    (lambda t: put(t, "/index", lambda x: torch.cat([x.new_tensor([-1]), x[1:]])), "positions"),
    (lambda t: put(t, "/index", lambda x: x.flip(0)), "positions"),
    (lambda t: put(t, "/index", torch.Tensor.float), "shapes or types"),
    (lambda t: put(t, "/value", torch.Tensor.half), "shapes or types"),
    (lambda t: put(t, "/value", lambda x: x[:-1]), "shapes or types"),
    (lambda t: t.pop(first(t, "/value")), "pairs of /index and /value"),
    (lambda t: t.update({"vit.pos_embed": torch.zeros(3)}), "pairs of /index and /value"),
    (lambda t: t.update({"a/index": torch.zeros(1, dtype=torch.int32), "a/value": torch.zeros(1)}), "'a' is not"),
]  # fmt: skip


@pytest.fixture(scope="module")
def lora(runs: Path) -> Files:
    return bundle.contents(find("lora", runs), "it")


@pytest.fixture(scope="module")
def random(runs: Path) -> Files:
    return bundle.contents(find("random", runs), "it")


def fetch(files: Files) -> bundle.Fetch:
    return lambda name, most: files[name]


def refused(files: Files, root: Path) -> str:
    """Assert that the files are rejected and nothing is written; return the message."""
    with pytest.raises(UserError) as caught:
        bundle.unpack(fetch(files), "it", root)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("it: ") or "cannot be a folder name" in line
    assert "/tmp" not in line
    assert not list(root.iterdir())
    return line


def test_the_helpers_alone_make_no_run_invalid(lora: Files, random: Files, tmp_path: Path) -> None:
    for files in (forged(lora, {}), altered("delta.safetensors", lambda t: None)(random)):
        assert bundle.unpack(fetch(files), "it", tmp_path).state == "finished"


@pytest.mark.parametrize(("alter", "line"), LORA)
def test_a_forged_run_is_rejected(alter: Callable[[Files], Files], line: str, lora: Files, tmp_path: Path) -> None:
    assert re.search(line, refused(alter(lora), tmp_path))


@pytest.mark.parametrize(("change", "line"), RANDOM)
def test_a_forged_delta_is_rejected(change: Callable[[Tensors], Any], line: str, random: Files, tmp_path: Path) -> None:
    assert line in refused(altered("delta.safetensors", change)(random), tmp_path)


@pytest.mark.parametrize("name", ["tuned.safetensors", "decoder.safetensors", "confusion.npz", "record.json"])
def test_a_pickle_is_rejected_and_not_loaded(name: str, lora: Files, tmp_path: Path) -> None:
    root, mark = tmp_path / "root", tmp_path / "mark"
    root.mkdir()
    buffer = io.BytesIO()
    torch.save(Payload(mark), buffer)
    for data in (pickle.dumps(Payload(mark)), buffer.getvalue()):
        refused(forged(lora, {name: data}), root)
    if name == "confusion.npz":
        evil = np.array([Payload(mark)], dtype=object)
        line = refused(archive(lambda arrays: arrays.update({"dusk/ids": evil}))(lora), root)
        assert "Object arrays cannot be loaded" in line
    assert not mark.exists()


def test_links_and_missing_files_in_a_folder_are_rejected(runs: Path, tmp_path: Path) -> None:
    folder, root = tmp_path / "folder", tmp_path / "root"
    export("lora", runs, folder, decoder=False)
    victim = folder / "tuned.safetensors"
    victim.rename(tmp_path / "elsewhere")
    for line in ("missing", "must not be a link"):
        if line != "missing":
            victim.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(UserError, match=rf"tuned\.safetensors: {line}"):
            pull(str(folder), root, None)
        assert not list(root.iterdir())
    victim.unlink()
    victim.write_bytes((tmp_path / "elsewhere").read_bytes() + b"more")
    with pytest.raises(UserError, match=r"tuned\.safetensors: cannot be read: larger than \d+ bytes"):
        pull(str(folder), root, None)
