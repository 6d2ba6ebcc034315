"""What happens at which step of a run: phases, learning rates, evaluations."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.common.errors import UserError
from benchmark.method import Budget, Method, Phase
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


@dataclass(frozen=True)
class Slot:
    """One step of a run.

    Attributes:
        phase: the phase that it belongs to.
        index: number of the step within the phase, from 0.
        iteration: training iterations before it, which decide the learning rate.
        batch: position of its batch in the training data. Steps on top of the iterations use the batches that follow
            the last iteration's, so that every method trains on the same batches in the same order.
    """

    phase: Phase
    index: int
    iteration: int
    batch: int


def phases(method: Method, protocol: Protocol) -> tuple[Phase, ...]:
    """Return the phases of a run: the decoder warm-up that all methods share, then the method's own.

    Raises:
        UserError: the method's phases do not add up to the iterations that the protocol leaves it, or a phase on top
            of them trains the backbone.
    """
    warmup = protocol.decoder.warmup
    left = protocol.iterations - warmup
    own = method.phases(Budget(left, warmup, protocol.batch))
    taken = sum(phase.iterations for phase in own if not phase.extra)
    if taken != left:
        raise UserError(
            f"{method.label}: its phases take {taken} iterations of the {left} that protocol {protocol.name} leaves "
            "them; correct its phases()"
        )
    for phase in own:
        if phase.extra and phase.backbone:
            raise UserError(
                f"{method.label}: phase {phase.name!r} comes on top of the iterations, so it must not train the "
                "backbone; set backbone=False"
            )
    return (Phase("warm-up", warmup, backbone=False), *own)


def timeline(method: Method, protocol: Protocol) -> list[Slot]:
    """Return every step of a run in order.

    Raises:
        UserError: as :func:`phases`.
    """
    line: list[Slot] = []
    iteration, batch = 0, protocol.iterations
    for phase in phases(method, protocol):
        for index in range(phase.iterations):
            line.append(Slot(phase, index, iteration, batch if phase.extra else iteration))
            batch += phase.extra
            iteration += not phase.extra
    return line


def gradient_evaluations(method: Method, protocol: Protocol) -> dict[str, int]:
    """Return, by phase, how many forward and backward passes over one image it takes."""
    return {phase.name: phase.iterations * protocol.batch * phase.passes for phase in phases(method, protocol)}
