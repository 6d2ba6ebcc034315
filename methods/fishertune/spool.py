"""Temporary file for estimates and scores, which are several times the size of the model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import IO

import numpy as np
import torch
from torch import Tensor

from benchmark.method import UserError


class Spool:
    """Running sums of matrices in a temporary file; only one matrix at a time is in memory.

    The file is in the system's temporary folder (``TMPDIR``) and unlinked, so it disappears with the process. Its size
    is allocated at once; if there is not enough disk space, the sums are kept in host memory.

    Args:
        weights: one sum, initially zero, is kept per weight: float32, or float64 if the weight is.

    Attributes:
        in_file: False if the sums are in memory.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._places: dict[str, tuple[int, torch.Size, torch.dtype]] = {}
        self._memory: dict[str, Tensor] = {}
        self._file: IO[bytes] | None = None
        size = 0
        for name, weight in weights.items():
            dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
            self._places[name] = (size, weight.shape, dtype)
            size += weight.numel() * dtype.itemsize
        try:
            self._file = tempfile.TemporaryFile(prefix="estimates-")  # noqa: SIM115  closed with the last reference
            self._file.truncate(size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, size)
            self.in_file = True
        except OSError:
            self._file, self.in_file = None, False
            self._memory = {name: torch.zeros(shape, dtype=dtype) for name, (_, shape, dtype) in self._places.items()}

    def __getitem__(self, name: str) -> Tensor:
        """Return the matrix of that name on the CPU; do not modify it."""
        if self._file is None:
            return self._memory[name]
        place, shape, dtype = self._places[name]
        return torch.from_numpy(np.memmap(self._file, str(dtype).removeprefix("torch."), "c", place, tuple(shape)))

    def add(self, name: str, values: Tensor) -> None:
        """Add ``values`` to the matrix of that name; ``values`` may be overwritten.

        Raises:
            ValueError: the shapes differ.
            UserError: the file cannot be written.
        """
        place, shape, dtype = self._places[name]
        if values.shape != shape:
            raise ValueError(f"{name} has shape {tuple(shape)}, not {tuple(values.shape)}")
        values = values.detach().to("cpu", dtype)
        if self._file is None:
            self._memory[name].add_(values)
            return
        total = values.add_(self[name]).contiguous()
        try:
            self._file.seek(place)
            self._file.write(total.numpy().data.cast("B"))
            self._file.flush()
        except OSError as error:
            raise UserError(
                f"{tempfile.gettempdir()}: cannot store the estimates ({error.strerror}); free disk space, or set "
                "TMPDIR to another folder"
            ) from None

    def tensors(self) -> dict[str, Tensor]:
        """Return all matrices on the CPU; do not modify them."""
        return {name: self[name] for name in self._places}
