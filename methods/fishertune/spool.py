"""Where estimates and scores lie: several times the model in size, and looked at one matrix at a time."""

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
    """Sums by matrix in a temporary file of the host, of which memory (a GPU's or the host's) holds one at a time.

    The file lies where the system keeps such files (``TMPDIR``) and has no name, so it goes with the process however
    that ends. Its room is taken at once; where there is none, the sums are in the host's memory.

    Args:
        weights: a matrix of zeros is kept for each, by its name: float32, or float64 where the weight is.

    Attributes:
        in_file: False where there was no room for one.
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
            self._file = tempfile.TemporaryFile(prefix="estimates-")  # noqa: SIM115  closed when nobody has it
            self._file.truncate(size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, size)
            self.in_file = True
        except OSError:
            self._file, self.in_file = None, False
            self._memory = {name: torch.zeros(shape, dtype=dtype) for name, (_, shape, dtype) in self._places.items()}

    def __getitem__(self, name: str) -> Tensor:
        """Return the matrix of that name, on the CPU, to be read and not written to."""
        if self._file is None:
            return self._memory[name]
        place, shape, dtype = self._places[name]
        return torch.from_numpy(np.memmap(self._file, str(dtype).removeprefix("torch."), "c", place, tuple(shape)))

    def add(self, name: str, values: Tensor) -> None:
        """Add to the matrix of that name; ``values`` may be used up.

        Raises:
            ValueError: they have another shape.
            UserError: the file cannot be written.
        """
        place, shape, dtype = self._places[name]
        if values.shape != shape:
            raise ValueError(f"{name} is {tuple(shape)}, not {tuple(values.shape)}")
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
                f"{tempfile.gettempdir()}: cannot keep the estimates ({error.strerror}); make room, or let TMPDIR name "
                "another folder"
            ) from None

    def tensors(self) -> dict[str, Tensor]:
        """Return all matrices, on the CPU, to be read and not written to."""
        return {name: self[name] for name in self._places}
