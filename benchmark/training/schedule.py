"""What happens at which iteration of a run: phases, learning rates, scorings."""

from __future__ import annotations

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
    """Return after how many iterations the model is scored; the last is always among them."""
    times = protocol.evaluation.times
    return {protocol.iterations * i // times for i in range(1, times + 1)}


def missing(protocol: Protocol, step: int, made: int) -> int:
    """Return how many of the scorings that are due after ``step`` iterations are not among the ``made`` ones."""
    return sum(time <= step for time in evaluation_steps(protocol)) - made


def timeline(method: Method, protocol: Protocol) -> list[tuple[Phase, int]]:
    """Return, for each iteration, its phase and the iteration at which that phase began.

    Raises:
        UserError: the method's phases do not sum to the iterations it was offered.
    """
    warmup = protocol.decoder.warmup
    phases = (Phase("warm-up", warmup, backbone=False), *method.phases(protocol.iterations - warmup, warmup))
    line: list[tuple[Phase, int]] = []
    for phase in phases:
        line += [(phase, len(line))] * phase.iterations
    if len(line) != protocol.iterations:
        raise UserError(
            f"{method.label}: its phases take {len(line) - warmup} iterations of the "
            f"{protocol.iterations - warmup} that protocol {protocol.name} offers; shorten its estimation"
        )
    return line
