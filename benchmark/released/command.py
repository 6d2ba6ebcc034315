"""``python -m benchmark evaluate --checkpoint FILE --as METHOD``: score a checkpoint as released, without training."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from tabulate import tabulate

from benchmark.common.errors import UserError
from benchmark.data.domains import Domain
from benchmark.data.location import data_root_for, require
from benchmark.models.catalogue import find_backbone
from benchmark.protocol import Protocol
from benchmark.protocol import load as load_protocol
from benchmark.records import Checkpoint, Record
from benchmark.released.layouts import LAYOUTS, find
from benchmark.released.reading import Loaded, load
from benchmark.released.scoring import score


def run(
    file: Path, taken_as: str | None, protocol: str | None, backbone: str | None, *, data_root: Path | None,
    records: Path, weights: Path | None, revision: str | None,
) -> None:  # fmt: skip
    """Evaluate a checkpoint, record it, and print its scores and what became of its tensors.

    Args:
        file, weights, revision: as in :func:`benchmark.released.reading.load`.
        taken_as: its method, a key of :data:`benchmark.released.layouts.LAYOUTS`.
        protocol: name of a protocol, or a YAML file.
        backbone: instead of the protocol's own.
        data_root: contains one folder per data set of the targets; rendered ones need none.
        records: folder of records.

    Raises:
        UserError: method or protocol are not given; images are missing; see also
            :func:`benchmark.released.reading.load`.
    """
    if taken_as is None or protocol is None:
        raise UserError(
            f"--checkpoint {file}: give its method with --as ({', '.join(LAYOUTS)}), and --protocol, such as "
            "gtav-to-cbm@rein-test"
        )
    find(taken_as)
    console, fixed = Console(stderr=True), load_protocol(protocol)
    name, alone = find_backbone(backbone or fixed.backbone).name, targets_only(fixed)
    place = data_root_for(alone, data_root, console)
    require(alone, place)
    loaded = load(file, taken_as, name, fixed, weights, revision)
    source = Checkpoint(
        file=file.name, sha256=loaded.sha256, method=taken_as, whole=loaded.whole, used=len(loaded.used),
        ignored=dict(loaded.ignored),
    )  # fmt: skip
    domains = {target: Domain.find(split, place, fixed) for target, split in fixed.targets.items()}
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bars:
        task = bars.add_task(file.name, total=sum(len(domain.samples) for domain in domains.values()))
        record = score(loaded, source, fixed, domains, records, lambda: bars.advance(task))
    _show(record, loaded, console)


def targets_only(protocol: Protocol) -> Protocol:
    """Return the protocol with its first target in place of the source, whose images are not needed here."""
    first = next(iter(protocol.targets.values()))
    return protocol.model_copy(update={"source": first, "validation": first})


def _show(record: Record, loaded: Loaded, console: Console) -> None:
    rows = [(target, 100 * each.miou, each.images) for target, each in record.targets.items()]
    rows.append(("average", 100 * (record.average or 0), sum(each.images for each in record.targets.values())))
    print(tabulate(rows, ("domain", "mIoU", "images"), "github", floatfmt=".4f"))
    ignored = [f"ignored {name}: {why}" for name, why in loaded.ignored.items()]
    for line in (f"{len(loaded.used)} tensors of the checkpoint used", *ignored, str(record.path)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
