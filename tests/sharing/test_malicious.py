"""Shared runs that are not what they must be: one line, nothing placed, nothing executed.

Whoever forges one knows the format: hashes, sizes and seals are right unless they are what is wrong.
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

Files = dict[str, bytes]
Tensors = dict[str, torch.Tensor]


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def forged(files: Files, changes: Files, **fields: Any) -> Files:
    """Return the files with some exchanged, the record sealed and the manifest made anew."""
    record = {**json.loads(files["record.json"]), **fields}
    files = {**files, **changes}
    for field, name in FIELDS.items():
        if record[field] and name in files:
            record[field] = {**record[field], "sha256": hashlib.sha256(files[name]).hexdigest()} | fields.get(field, {})
    files["record.json"] = changes.get("record.json") or sealed(record)
    listed = {name: data for name, data in files.items() if name not in ("README.md", "manifest.json")}
    return {**files, "manifest.json": manifest.made(f"tiny/vit-tiny-random/{record['method']}/seed0", listed)}


def altered(name: str, change: Callable[[Tensors], Any], **facts: str) -> Callable[[Files], Files]:
    """Return what alters tensors (and metadata) of a file."""

    def alter(files: Files) -> Files:
        tensors = load(files[name])
        change(tensors)
        return forged(files, {name: save(tensors, {**metadata(files[name]), **facts})})

    return alter


def rewritten(change: Callable[[dict[str, Any]], Any]) -> Callable[[Files], Files]:
    """Return what changes the manifest alone."""

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
    """Return what alters the arrays of the confusions."""

    def alter(files: Files) -> Files:
        with np.load(io.BytesIO(files["confusion.npz"])) as arrays:
            found = dict(arrays)
        change(found)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **found)
        return forged(files, {"confusion.npz": buffer.getvalue()})

    return alter


def claiming(files: Files) -> Files:
    """Confusions whose header claims more memory than any machine has."""
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


def swollen(files: Files) -> Files:
    """Settings that ask for more memory than any machine has."""
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
    (rewritten(lambda m: m["files"].update({"../../evil.json": m["files"]["record.json"]})), "is no file of a run"),
    (rewritten(lambda m: m["files"].update({"/etc/evil": m["files"]["record.json"]})), "is no file of a run"),
    (rewritten(lambda m: m["files"].pop("decoder.safetensors")), "lacks decoder.safetensors"),
    (rewritten(lambda m: m["files"].pop("tuned.safetensors")), "must list one of delta.safetensors and tuned"),
    (rewritten(lambda m: m["files"].update({"delta.safetensors": m["files"]["record.json"]})), "must list one of"),
    (rewritten(lambda m: m.update(more=1)), "manifest.json: more: Extra inputs"),
    (rewritten(lambda m: m["files"]["record.json"].update(bytes=3)), "record.json: .* bytes, where the"),
    (rewritten(lambda m: m["files"]["record.json"].update(sha256="0" * 64)), "record.json: SHA-256 is"),
    (rewritten(lambda m: m.update(record="tiny/vit-tiny-random/full/seed0")), "not of the finished run"),
    (lambda files: {**files, "manifest.json": files["manifest.json"][:-30]}, "manifest.json: Invalid JSON"),
    (lambda files: {**files, "tuned.safetensors": files["tuned.safetensors"][:-1]}, "tuned.safetensors: .* bytes,"),
    (truncated("tuned.safetensors"), "tuned.safetensors: truncated or not safetensors"),
    (truncated("decoder.safetensors"), "decoder.safetensors: truncated or not safetensors"),
    (truncated("confusion.npz"), "confusion.npz: no archive of arrays"),
    (truncated("record.json"), "record.json: not JSON, truncated perhaps"),
    (altered("tuned.safetensors", lambda t: t.update(more=torch.zeros(3))), "has an unknown tensor 'more'"),
    (altered("tuned.safetensors", lambda t: t.pop(first(t))), "lacks tensor"),
    (altered("tuned.safetensors", lambda t: put(t, "lora_A", lambda x: x[:, :-1])), "tensor .* is .*, expected"),
    (altered("tuned.safetensors", lambda t: put(t, "", torch.Tensor.double)), "is torch.float64, expected torch.float"),
    (altered("tuned.safetensors", lambda t: None, settings="{}"), "settings in its metadata is not the record's"),
    (altered("tuned.safetensors", lambda t: None, method="full"), "method in its metadata is not the record's"),
    (altered("tuned.safetensors", lambda t: None, more="1"), "more in its metadata is not the record's"),
    (altered("decoder.safetensors", lambda t: t.update(more=torch.zeros(3))), "has an unknown tensor 'more'"),
    (altered("decoder.safetensors", lambda t: put(t, "bias", lambda x: x[:-1])), "tensor .* is .*, expected"),
    (archive(lambda a: a.update({"more/confusion": a["dusk/confusion"]})), "other or larger arrays"),
    (archive(lambda a: a.update({"dusk/confusion": np.zeros((2, 1000, 1000), np.int32)})), "other or larger arrays"),
    (archive(lambda a: a.update({"dusk/confusion": a["dusk/confusion"] + 1})), "targets.dusk.miou"),
    (archive(lambda a: a.update({"dusk/confusion": np.array(3)})), "confusion"),
    (claiming, "no archive of plain arrays"),
    (recorded(method="../../../evil"), "cannot name a folder of records"),
    (recorded(protocol="..", fingerprint="0"), "protocol '..' cannot name a folder of records"),
    (recorded(tuned={"file": "../../evil"}), "tuned.file: String should match pattern"),
    (recorded(tuned={"file": "seed0.tuned.safetensors", "sha256": "0" * 64}), "tuned: not the file in the manifest"),
    (recorded(fingerprint="0" * 64), "protocol_fields: not those of the fingerprint"),
    (recorded(protocol_fields={"name": "tiny"}), "protocol_fields: "),
    (swollen, "method 'lora' cannot be attached with its settings"),
    (recorded(extra=1), "extra: Extra inputs are not permitted"),
    (recorded(state="failed", error="so"), "not of the finished run"),
    (lambda files: forged(files, {"record.json": files["record.json"].replace(b'"seed": 0', b'"seed": 1')}), "edited"),
]  # fmt: skip

RANDOM: list[tuple[Callable[[Tensors], Any], str]] = [
    (lambda t: put(t, "/index", lambda x: torch.cat([x[:-1], x.new_tensor([10**9])])), "out of order or beyond its"),
    (lambda t: put(t, "/index", lambda x: torch.cat([x.new_tensor([-1]), x[1:]])), "out of order or beyond its"),
    (lambda t: put(t, "/index", lambda x: x.flip(0)), "out of order or beyond its"),
    (lambda t: put(t, "/index", torch.Tensor.float), "other shapes or types than a delta"),
    (lambda t: put(t, "/value", torch.Tensor.half), "other shapes or types than a delta"),
    (lambda t: put(t, "/value", lambda x: x[:-1]), "other shapes or types than a delta"),
    (lambda t: t.pop(first(t, "/value")), "not pairs of /index and /value alone"),
    (lambda t: t.update({"vit.pos_embed": torch.zeros(3)}), "not pairs of /index and /value alone"),
    (lambda t: t.update({"a/index": torch.zeros(1, dtype=torch.int32), "a/value": torch.zeros(1)}), "no parameter of"),
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
    """Return the line with which the files were refused, and nothing was placed."""
    with pytest.raises(UserError) as told:
        bundle.unpack(fetch(files), "it", root)
    line = str(told.value)
    assert "\n" not in line
    assert line.startswith("it: ") or "cannot name a folder" in line
    assert "/tmp" not in line
    assert not list(root.iterdir())
    return line


def test_what_is_forged_without_a_change_is_believed(lora: Files, random: Files, tmp_path: Path) -> None:
    for files in (forged(lora, {}), altered("delta.safetensors", lambda t: None)(random)):
        assert bundle.unpack(fetch(files), "it", tmp_path).state == "finished"


@pytest.mark.parametrize(("alter", "line"), LORA)
def test_a_wrong_run_is_refused(alter: Callable[[Files], Files], line: str, lora: Files, tmp_path: Path) -> None:
    assert re.search(line, refused(alter(lora), tmp_path))


@pytest.mark.parametrize(("change", "line"), RANDOM)
def test_a_wrong_delta_is_refused(change: Callable[[Tensors], Any], line: str, random: Files, tmp_path: Path) -> None:
    assert line in refused(altered("delta.safetensors", change)(random), tmp_path)


@pytest.mark.parametrize("name", ["tuned.safetensors", "decoder.safetensors", "confusion.npz", "record.json"])
def test_a_pickle_is_refused_and_not_opened(name: str, lora: Files, tmp_path: Path) -> None:
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


def test_links_and_what_is_missing_in_a_folder_are_refused(runs: Path, tmp_path: Path) -> None:
    folder, root = tmp_path / "folder", tmp_path / "root"
    export("lora", runs, folder, decoder=False)
    victim = folder / "tuned.safetensors"
    victim.rename(tmp_path / "elsewhere")
    for line in ("missing", "no plain file"):
        if line != "missing":
            victim.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(UserError, match=rf"tuned\.safetensors: {line}; refused"):
            pull(str(folder), root, None)
        assert not list(root.iterdir())
    victim.unlink()
    victim.write_bytes((tmp_path / "elsewhere").read_bytes() + b"more")
    with pytest.raises(UserError, match=r"tuned\.safetensors: larger than the \d+ bytes"):
        pull(str(folder), root, None)
