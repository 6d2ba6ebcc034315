"""Recorded numbers of trainable parameters against the methods' own counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache

from pydantic import ValidationError

from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.protocol import explain
from benchmark.records import Record
from benchmark.records.naming import PERTURBATION, base
from benchmark.verify.fault import Fault


class NotCountedError(Exception):
    """The method or the backbone is another package's, or the count depends on the values of the weights."""


def checks(records: Sequence[Record]) -> Iterator[tuple[Record, Fault | None]]:
    """Yield every finished record whose method can be counted here, with the fault if the counts differ.

    The method is built with the recorded hyperparameters on the backbone's architecture, without its weights.
    """
    for record in records:
        if record.state != "finished" or record.trainable is None:
            continue
        stated = record.trainable.backbone + record.trainable.unreached
        settings = {name: value for name, value in record.settings.items() if not name.startswith(PERTURBATION)}
        try:
            counted = _count(base(record.method), json.dumps(settings, sort_keys=True), record.backbone)
        except NotCountedError:
            continue
        except UserError as error:
            yield record, Fault.of(record, "settings", str(error))
            continue
        wrong = f"{stated}, but the method trains {counted} parameters of this backbone"
        yield record, None if counted == stated else Fault.of(record, "trainable.backbone", wrong)


@cache
def _count(method: str, settings: str, backbone: str) -> int:
    """Return a method's own count of trainable parameters.

    Raises:
        NotCountedError: see there.
        UserError: hyperparameters that the method does not have, or that are invalid.
    """
    from benchmark.parameters.counting import architecture, count  # here, since they import torch

    try:
        kind = registry.find("method", method)
        architecture(backbone)
    except UserError:
        raise NotCountedError from None
    try:
        return count(kind(kind.Settings(**json.loads(settings))), backbone)
    except ValidationError as error:
        raise UserError(f"not those of {method} in this version: {explain(error, kind.Settings)}") from None
    except RuntimeError:
        raise NotCountedError from None
