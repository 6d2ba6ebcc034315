"""All cases by name, and their numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from benchmark.check.micro import decoders, loop, methods, models, readers, scores, transforms
from benchmark.check.micro.digest import Numbers
from benchmark.check.micro.settled import settled

FAMILIES = (readers, transforms, scores, models, decoders, loop, methods)


def cases() -> dict[str, Callable[[], Numbers]]:
    """Return the function of every case by its name, ``FAMILY/NAME``."""
    return {name: case for family in FAMILIES for name, case in family.cases().items()}


def computed(
    chosen: Mapping[str, Callable[[], Numbers]], threads: int = 1
) -> Iterator[tuple[str, Mapping[str, float] | Exception, float]]:
    """Yield each case's name, its numbers or why it failed, and the CPU time it took in seconds."""
    for name, case in chosen.items():
        start = time.process_time()
        found: Mapping[str, float] | Exception
        try:
            with settled(threads):
                found = case()
        except Exception as error:  # a change of the code can break a case in any way; each is a finding
            found = error
        yield name, found, time.process_time() - start
