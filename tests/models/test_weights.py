"""Reading, checking and hashing weight files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from benchmark.common.errors import UserError
from benchmark.models.weights import check, load_embedded, load_safetensors, weight_hash


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.arange(1000.0)}, path)
    return path


def test_a_file_with_the_expected_hash_is_read(file: Path) -> None:
    tensors = load_safetensors(file, hashlib.sha256(file.read_bytes()).hexdigest())
    assert torch.equal(tensors["a"], torch.arange(1000.0))


def test_a_truncated_file_is_reported_with_its_hash(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=rf"weights\.safetensors: .*{sha256}"):
        load_safetensors(file)


def test_a_changed_byte_is_detected(file: Path) -> None:
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(bytes(changed))
    with pytest.raises(UserError, match=f"SHA-256 is .*, expected {sha256}"):
        load_safetensors(file, sha256)


def test_missing_and_invalid_files_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.safetensors: .*No such file"):
        load_safetensors(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(UserError, match=r"text\.safetensors: .*SHA-256"):
        load_safetensors(tmp_path / "text.safetensors")


def test_missing_embedded_weights_are_reported_with_the_command_to_train_them() -> None:
    with pytest.raises(UserError, match="python -m benchmark pretrain"):
        load_embedded("no-such-model")


def test_the_hash_depends_on_names_values_shapes_and_precision() -> None:
    layer = nn.Linear(4, 2)
    first = weight_hash(layer)
    assert weight_hash(nn.Sequential(layer)) != first
    assert weight_hash(layer.half().float()) != first
    with torch.no_grad():
        layer.weight[0, 0] += 1
    assert weight_hash(layer) != first
    assert weight_hash(nn.Conv1d(4, 1, 2)) != weight_hash(nn.Conv1d(4, 2, 1))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.float8_e4m3fn, torch.complex64])
def test_weights_that_are_not_of_floating_point_are_refused_by_name(dtype: torch.dtype) -> None:
    own = {"a.weight": torch.zeros(2)}
    with pytest.raises(UserError, match=rf"w\.bin: tensor 'a\.weight' is {str(dtype)[6:]}; .*float32"):
        check({"a.weight": torch.zeros(2).to(dtype)}, own, "w.bin")
    check({"a.weight": torch.zeros(2, dtype=torch.bfloat16)}, own, "w.bin")
