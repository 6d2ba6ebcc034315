"""Phases of methods that estimate before they tune: FisherTune, ChildTuning-D and others."""

from __future__ import annotations

import math
from typing import Literal

from benchmark.common.errors import UserError
from benchmark.method.interface import Budget, Phase, Settings, setting


class EstimateSettings(Settings):
    """When a method estimates, and from how many images."""

    budget: Literal["own", "shared"] = setting(
        "own",
        "ours",
        "own: the estimate comes on top of the training iterations that every method has, and costs what it costs; "
        "shared: it takes its iterations from them",
    )
    images: int = setting(256, "ours", "size of the estimate with budget=own, in images", ge=1)
    estimation: float = setting(
        0.1, "ours", "size of the estimate with budget=shared: fraction of the iterations", gt=0, lt=1
    )
    decoder_first: float = setting(
        0.1,
        "ours",
        "for protocols without decoder warm-up (Rein's): fraction of the iterations that first train only the decoder, "
        "since gradients through an untrained decoder say nothing about the backbone; with budget=own, also on top, "
        "and the decoder is put back afterwards",
        ge=0,
        lt=1,
    )


def phases_with_estimate(
    settings: EstimateSettings, budget: Budget, *, method: str, passes: int, at_least: int = 1
) -> tuple[Phase, ...]:
    """Return an estimation and a tuning phase, after a decoder phase where the protocol has no decoder warm-up.

    Args:
        settings: sizes of the phases.
        budget: what the protocol gives every method.
        method: its name, for error messages.
        passes: forward and backward passes over each batch of the estimate.
        at_least: smallest length of the estimate in batches.

    Raises:
        UserError: with ``budget=shared``, too few iterations for all phases.
    """
    extra = settings.budget == "own"
    share = 0.0 if budget.warmed else settings.decoder_first
    alone = max(1, round(share * budget.iterations)) if share else 0
    if extra:
        tuning = budget.iterations
        steps = max(at_least, math.ceil(settings.images / budget.batch))
    else:
        rest = budget.iterations - alone
        if rest < 2:
            before = f"decoder phase ({alone}), " if alone else ""
            raise UserError(
                f"{method}: {budget.iterations} iterations are too few for {before}estimation phase and tuning; use "
                f"at least {alone + 2}, or budget=own"
            )
        steps = min(max(at_least, round(settings.estimation * budget.iterations)), rest - 1)
        tuning = rest - steps
    phases = (
        Phase("estimate", steps, backbone=False, decoder=False, estimate=True, extra=extra, passes=passes),
        Phase("tune", tuning),
    )
    return (Phase("decoder", alone, backbone=False, extra=extra), *phases) if alone else phases
