"""Read the weights of a vision transformer out of an ONNX model that PyTorch exported.

Exported tensors keep the names of the PyTorch model, except those that the exporter has computed from others: weights
of linear layers are transposed, and position embeddings are split into those of the class token and those of patches.
Both have names without meaning (``onnx::MatMul_1966``), so they are found by their place in the graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.common.errors import UserError

CLASS_TOKEN, POSITIONS = "cls_token", "position_embeddings"
SHAPING = ("Cast", "Expand", "Reshape", "Resize", "Transpose")
"""Operations whose first input is the data that they pass on in another shape."""
Array = NDArray[Any]


def read_onnx(data: bytes, origin: str) -> dict[str, Tensor]:
    """Return the weights in an ONNX model under the names of the PyTorch model that was exported.

    Nothing is executed: the file is a list of tensors and operations.

    Args:
        data: content of the file.
        origin: source of the file, for messages.

    Raises:
        UserError: not an ONNX model.
    """
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load_model_from_string(data).graph
        stored: dict[str, Array] = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    except Exception as error:  # protobuf's error for damaged data has no public class
        raise UserError(f"{origin}: not an ONNX model ({type(error).__name__})") from None
    made_by = {output: node for node in graph.node for output in node.output}
    found = {name: array for name, array in stored.items() if "::" not in name}
    for node in graph.node:
        if node.op_type == "Add":
            found |= _linear(node, stored, made_by) | _positions(node, stored, made_by)
    return {name: torch.from_numpy(np.array(array, order="C")) for name, array in found.items()}


def _linear(node: Any, stored: dict[str, Array], made_by: dict[str, Any]) -> dict[str, Array]:
    """Return the weight of a linear layer, if ``node`` adds its bias: x W' + b, with W' (inputs, outputs)."""
    for bias, product in (tuple(node.input), tuple(node.input)[::-1]):
        before = made_by.get(product)
        weight = before.input[1] if before is not None and before.op_type == "MatMul" else None
        if bias in stored and bias.endswith(".bias") and weight in stored:
            return {f"{bias.removesuffix('bias')}weight": stored[weight].T}
    return {}


def _positions(node: Any, stored: dict[str, Array], made_by: dict[str, Any]) -> dict[str, Array]:
    """Return the position embeddings (1, 1 + patches, D), if ``node`` adds them to class token and patches."""
    for tokens, positions in (tuple(node.input), tuple(node.input)[::-1]):
        (first, *_), parts = (_joined(each, stored, made_by) for each in (tokens, positions))
        if first is not None and first.rpartition(".")[2] == CLASS_TOKEN and all(part is not None for part in parts):
            name = first.removesuffix(CLASS_TOKEN) + POSITIONS
            return {name: np.concatenate([stored[part] for part in parts if part is not None], axis=1)}
    return {}


def _joined(value: str, stored: dict[str, Array], made_by: dict[str, Any]) -> list[str | None]:
    """Return the stored tensor behind each part of a concatenation; None for parts that depend on the image."""
    node = made_by.get(value)
    if node is None or node.op_type != "Concat":
        return [None]
    return [_behind(part, stored, made_by) for part in node.input]


def _behind(value: str, stored: dict[str, Array], made_by: dict[str, Any]) -> str | None:
    """Return the name of the stored tensor that ``value`` is, but for its shape; None if it is not one."""
    while value not in stored:
        node = made_by.get(value)
        if node is None or node.op_type not in SHAPING:
            return None
        value = node.input[0]
    return value
