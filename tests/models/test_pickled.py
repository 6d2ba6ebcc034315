"""State dicts that torch saved: read without executing code, or rejected in one line."""

from __future__ import annotations

import argparse
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from benchmark.common.errors import UserError
from benchmark.models.backbone import build_backbone
from benchmark.models.weights import load_safetensors, read, weight_hash
from tests.cli.test_cli import call


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"echo > {self.mark}",)


@pytest.mark.parametrize("old", [False, True])
def test_weights_are_loaded_from_a_state_dict(tmp_path: Path, old: bool) -> None:
    trained = build_backbone("vit-tiny-random", seed=5)
    torch.save(trained.vit.state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=not old)
    assert weight_hash(build_backbone("vit-tiny-random", weights=tmp_path / "w.pt")) == weight_hash(trained)


@pytest.mark.parametrize("old", [False, True])
def test_a_malicious_file_ends_the_command_in_one_line_and_is_not_executed(tmp_path: Path, old: bool) -> None:
    mark, file = tmp_path / "went-off", tmp_path / "w.pth"
    torch.save({"state_dict": {"a": torch.zeros(1), "b": Command(mark)}}, file, _use_new_zipfile_serialization=not old)
    torch.load(file, weights_only=False)
    assert mark.exists()  # the file is dangerous indeed
    mark.unlink()
    words = ["run", "--quick", "--methods", "freeze", "--backbone", "dinov2-s"]
    done = call(*words, "--weights", file, "--records", tmp_path / "runs")
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2
    assert line.startswith(f"error: {file}: ")
    assert line.endswith(hashlib.sha256(file.read_bytes()).hexdigest())
    assert not mark.exists()


def test_a_file_with_settings_next_to_the_weights_is_refused_with_a_remedy(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(1)}, "args": argparse.Namespace(lr=1)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: .*objects.*state dict alone"):
        read(tmp_path / "w.pth")


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_called_one(tmp_path: Path, old: bool, kept: float) -> None:
    file = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(10_000)}, file, _use_new_zipfile_serialization=not old)
    file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    with pytest.raises(UserError, match=r"w\.pth: truncated or not a PyTorch file; SHA-256 \w{64}$"):
        read(file)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(1)], torch.zeros(1), 7, {"model": {"lr": 0.1}}])
def test_a_file_without_state_dict_is_rejected(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: has no state dict"):
        read(tmp_path / "w.pth")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make", [lambda: torch.eye(3).to_sparse(), lambda: torch.zeros(2, device="meta"),
             lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)],
)  # fmt: skip
def test_a_tensor_without_plain_values_is_named(tmp_path: Path, make: Any) -> None:
    torch.save({"a": make()}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth: "):
        read(tmp_path / "w.pth")


def test_parameters_are_read_as_tensors_without_gradient(tmp_path: Path) -> None:
    torch.save({"a": nn.Parameter(torch.arange(3.0))}, tmp_path / "w.pth")
    (tensor,) = read(tmp_path / "w.pth")[0].values()
    assert torch.equal(tensor, torch.arange(3.0))
    assert not tensor.requires_grad


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    # The first bytes of a safetensors file are a length: here one whose bytes are those of a pickle or zip file.
    save_file({"a": torch.ones(2)}, tmp_path / "w.pth", {"padding": "x" * 0x20})
    assert torch.equal(read(tmp_path / "w.pth")[0]["a"], torch.ones(2))
    for pad in range(256):
        save_file({"a": torch.ones(2)}, tmp_path / "w.pth", {"padding": "x" * pad})
        if (tmp_path / "w.pth").read_bytes()[0] == 0x80:
            break
    else:
        pytest.fail("no header of a length that ends in 0x80")
    assert torch.equal(read(tmp_path / "w.pth")[0]["a"], torch.ones(2))


def test_a_delta_is_safetensors_only(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "d.safetensors")
    with pytest.raises(UserError, match=r"not safetensors"):
        load_safetensors(tmp_path / "d.safetensors")
