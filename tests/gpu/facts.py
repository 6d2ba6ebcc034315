"""Facts about the machine and the settings, without data that identify anybody."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

import torch

from benchmark.common import machine
from tests.gpu.sizes import Size


def of_machine() -> dict[str, Any]:
    """Return CPU, GPU, and versions of packages, CUDA and driver; None for what there is not."""
    gpu = torch.cuda.is_available()
    return {
        **machine.describe(torch.get_num_threads()),
        "accelerator_bytes": torch.cuda.get_device_properties(0).total_memory if gpu else None,
        "bfloat16": torch.cuda.is_bf16_supported() if gpu else None,
        "cuda": torch.version.cuda if gpu else None,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
        "driver": _driver() if gpu else None,
        "versions": machine.versions(),
    }


def _driver() -> str | None:
    """Return the version of NVIDIA's driver, if its tool is installed."""
    if (tool := shutil.which("nvidia-smi")) is None:
        return None
    words = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else None


def of_settings(size: Size, methods: Sequence[str], seconds: float) -> dict[str, Any]:
    """Return what is measured, JSON-ready."""
    fixed = size.protocol
    return {
        "protocol": fixed.name,
        "backbone": size.backbone,
        "decoder": fixed.decoder.name,
        "smaller_decoder": size.decoder or None,
        "precision": {"auto": "bfloat16"}.get(fixed.precision, fixed.precision),
        "crop": size.crop,
        "batch": fixed.batch,
        "iterations": fixed.iterations,
        "frame": list(size.frame),
        "evaluation": fixed.evaluation.model_dump(mode="json"),
        "evaluation_precision": "float32",
        "methods": list(methods),
        "limit_seconds": seconds,
    }
