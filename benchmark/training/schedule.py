"""What happens at which iteration of a run: phases, learning rates, evaluations."""

from __future__ import annotations

from dataclasses import replace

from benchmark.common.errors import UserError
from benchmark.method import Method, Phase
from benchmark.protocol import Protocol


def schedule(protocol: Protocol, step: int) -> float:
    """Return the learning-rate factor of iteration ``step``: linear warm-up times (1 - t/T)^power."""
    factor = (1 - step / protocol.iterations) ** protocol.power
    if step < protocol.lr_warmup:
        factor *= (step + 1) / protocol.lr_warmup
    return factor


def evaluation_steps(protocol: Protocol) -> set[int]:
    """Return the iterations after which the model is evaluated; the last iteration always is one."""
    times = protocol.evaluation.times
    return {protocol.iterations * i // times for i in range(1, times + 1)}


def missing(protocol: Protocol, step: int, done: int) -> int:
    """Return how many of the evaluations scheduled up to iteration ``step`` are missing if ``done`` are complete."""
    return sum(time <= step for time in evaluation_steps(protocol)) - done


def timeline(method: Method, protocol: Protocol) -> list[Phase]:
    """Return the phase of each iteration, with its ``start``.

    Raises:
        UserError: the method's phases do not sum to the iterations that the protocol leaves it.
    """
    warmup = protocol.decoder.warmup
    phases = (Phase("warm-up", warmup, backbone=False), *method.phases(protocol.iterations - warmup, warmup))
    line: list[Phase] = []
    for phase in phases:
        line += [replace(phase, start=len(line))] * phase.iterations
    if len(line) != protocol.iterations:
        raise UserError(
            f"{method.label}: its phases take {len(line) - warmup} iterations of the "
            f"{protocol.iterations - warmup} that protocol {protocol.name} leaves them; shorten its estimation"
        )
    return line
