"""``python -m benchmark report``."""

from __future__ import annotations

from pathlib import Path

from benchmark.common import atomic
from benchmark.common.atomic import writing
from benchmark.common.errors import UserError, nearest, spelled
from benchmark.data.location import require_folder
from benchmark.records import read_all
from benchmark.report.page import html


def run(records: Path, output: Path, protocol: str | None, backbone: str | None, data_root: Path | None) -> None:
    """Write the page and print its path.

    Args:
        records: the records folder.
        output: file to write.
        protocol: show only this protocol.
        backbone: show only this backbone.
        data_root: the user's datasets, for the images next to predictions.

    Raises:
        UserError: no such record or folder, records that are not comparable, or a file that cannot be written.
    """
    if data_root is not None:
        require_folder(data_root)
    found = read_all(records)
    for field, wanted in (("protocol", protocol), ("backbone", backbone)):
        known = {str(getattr(record, field)) for record in found}
        name = None if wanted is None else spelled(wanted, known)
        if wanted is not None and name is None:
            raise UserError(f"{records}: no record of {field} {wanted!r}: {nearest(wanted, known)}")
        found = [record for record in found if name in (None, getattr(record, field))]
    page = html(found, output.parent, records, data_root)
    with writing(output, "give another --output"):
        atomic.write_file(output, page.encode())
    print(f"{output}: {len(found)} runs, {len(page) / 1e6:.1f} MB")
