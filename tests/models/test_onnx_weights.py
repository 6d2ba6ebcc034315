"""Weights out of an ONNX model's graph, on small graphs written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from benchmark.common.errors import UserError
from benchmark.models.onnx_weights import read_onnx

FLOAT = onnx.TensorProto.FLOAT


def model(nodes: list[Any], stored: dict[str, Any], result: str, shape: list[int | str]) -> bytes:
    """Return a model from ``x`` (1, 4, 3) to ``result``."""
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("x", FLOAT, [1, 4, 3])], [helper.make_tensor_value_info(result, FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
    onnx.checker.check_model(made)
    return made.SerializeToString()


@pytest.mark.parametrize("bias_first", [False, True])
def test_a_linear_layers_weight_is_found_from_its_bias_and_transposed(bias_first: bool) -> None:
    torch.manual_seed(0)
    layer, other = nn.Linear(3, 5), nn.Linear(5, 5)  # square weights must be transposed, too
    stored = {
        "net.a.bias": layer.bias.detach(), "onnx::MatMul_7": layer.weight.detach().T,
        "net.b.bias": other.bias.detach(), "onnx::MatMul_3": other.weight.detach().T, "net.scale": torch.ones(5),
    }  # fmt: skip
    add = (lambda bias, value: [bias, value]) if bias_first else (lambda bias, value: [value, bias])
    nodes = [
        helper.make_node("MatMul", ["x", "onnx::MatMul_7"], ["m"]),
        helper.make_node("Add", add("net.a.bias", "m"), ["a"]),
        helper.make_node("Mul", ["a", "net.scale"], ["s"]),
        helper.make_node("MatMul", ["s", "onnx::MatMul_3"], ["n"]),
        helper.make_node("Add", add("net.b.bias", "n"), ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    found = read_onnx(model(nodes, {k: np.asarray(v) for k, v in stored.items()}, "y", [1, 4, 5]), "here")
    assert found.keys() == {"net.a.weight", "net.a.bias", "net.b.weight", "net.b.bias", "net.scale"}
    assert torch.equal(found["net.a.weight"], layer.weight)
    assert torch.equal(found["net.b.weight"], other.weight)
    assert all(value.is_contiguous() for value in found.values())


@pytest.mark.parametrize("swapped", [False, True])
def test_position_embeddings_are_joined_from_class_token_and_patches(swapped: bool) -> None:
    rng = np.random.default_rng(0)
    first, table, token = (rng.normal(size=size).astype("f") for size in ((1, 1, 3), (1, 4, 3), (1, 1, 3)))
    stored = {
        "vit.embeddings.cls_token": token, "onnx::Concat_1": first, "onnx::Reshape_2": table,
        "whole": np.array([1, 1, 3]), "grid": np.array([1, 2, 2, 3]), "line": np.array([1, 4, 3]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Expand", ["vit.embeddings.cls_token", "whole"], ["token"]),
        helper.make_node("Concat", ["token", "x"], ["tokens"], axis=1),
        helper.make_node("Reshape", ["onnx::Reshape_2", "grid"], ["g"]),
        helper.make_node("Transpose", ["g"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Transpose", ["t"], ["u"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["u", "line"], ["p"]),
        helper.make_node("Concat", ["onnx::Concat_1", "p"], ["positions"], axis=1),
        helper.make_node("Add", ["positions", "tokens"] if swapped else ["tokens", "positions"], ["y"]),
    ]
    found = read_onnx(model(nodes, stored, "y", [1, 5, 3]), "here")
    expected = torch.from_numpy(np.concatenate([first, table], 1))
    assert torch.equal(found["vit.embeddings.position_embeddings"], expected)
    assert torch.equal(found["vit.embeddings.cls_token"], torch.from_numpy(token))


@pytest.mark.parametrize("content", [b"no model", b"\xff" * 40])
def test_other_files_are_rejected(content: bytes) -> None:
    with pytest.raises(UserError, match=r"a\.whl: m\.onnx: not an ONNX model"):
        read_onnx(content, "a.whl: m.onnx")
