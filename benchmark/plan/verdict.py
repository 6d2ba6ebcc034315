"""The plan's first line: do the runs fit, and how long do they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CARDS = (8, 12, 16, 24, 32, 40, 48, 80, 96, 141)
"""Memory of common GPUs, in GB."""
RESERVE, SPARE = 1.5e9, 1.1
"""Bytes that the driver and libraries take on a GPU, and the factor by which allocation exceeds what tensors hold."""


@dataclass(frozen=True)
class Device:
    """Where runs would execute: a GPU of this machine, or its memory.

    Attributes:
        name: of the GPU; empty without one.
        memory: its bytes; without a GPU those available on the machine.
    """

    name: str
    memory: float


def here() -> Device:
    """Return the device of this machine."""
    import psutil
    import torch

    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        return Device(found.name, found.total_memory)
    return Device("", psutil.virtual_memory().available)


def verdict(needed: float, method: str, hours: Mapping[str, float], pending: int, device: Device) -> str:
    """Return the line.

    Args:
        needed: estimated bytes of the largest run, or of each of its ranks.
        method: the method that needs them.
        hours: of all pending runs, by kind (``GPU``, ``CPU``).
        pending: number of pending runs.
        device: where they would execute.
    """
    if not pending:
        return "nothing to run: all runs are finished"
    runs = "the pending run takes" if pending == 1 else f"the {pending} pending runs take"
    time = f"{runs} {' and '.join(f'{_number(value)} {kind}-hours' for kind, value in hours.items())}"
    about = f"{method} needs about {needed / 1e9:.1f} GB"
    if "GPU" not in hours and not device.name:
        verb = "fits" if needed * SPARE < device.memory else "does not fit"
        return f"{verb} in this machine's memory ({device.memory / 1e9:.0f} GB free; {about}); {time}"
    whole = needed * SPARE + RESERVE
    if device.name:
        fits = whole < device.memory
        verb, less = ("fits", "") if fits else ("does not fit", "; --accumulate and --checkpointing need less")
        return f"{verb} on this GPU ({device.name}, {device.memory / 1e9:.0f} GB; {about}){less}; {time}"
    card = next((size for size in CARDS if whole < 1e9 * size), None)
    size = f"fits on a GPU of {card} GB" if card else f"does not fit on a GPU of {CARDS[-1]} GB"
    return f"{size} ({about}; this machine has no GPU); {time}"


def _number(hours: float) -> str:
    if hours < 0.01:
        return "less than 0.01"
    return f"about {hours:,.{0 if hours >= 10 else 1 if hours >= 1 else 2}f}"
