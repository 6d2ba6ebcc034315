"""Checksums that detect an edited record and name the edited fields."""

from __future__ import annotations

import hashlib
import json
from typing import Any

SHORT = 12


def sealed(fields: dict[str, Any]) -> bytes:
    """Return the content of the file: one field per line, then a digest of each field and a checksum of all."""
    fields = {name: value for name, value in fields.items() if name not in ("digests", "checksum")}
    fields["digests"] = {name: _sha256(value)[:SHORT] for name, value in fields.items()}
    fields["checksum"] = _sha256(fields)
    lines = [f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in fields.items()]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def edited(fields: dict[str, Any]) -> list[str]:
    """Return the names of the fields that were edited; empty if the record is unchanged.

    ``NaN``, which is not JSON but which Python parses, counts as an edit.
    """
    rest = {name: value for name, value in fields.items() if name != "checksum"}
    if fields.get("checksum") == _sha256(rest):
        return []
    digests = rest.pop("digests", None)
    if not isinstance(digests, dict) or not digests:
        return ["digests"]
    removed = [name for name in digests if name not in rest]
    changed = [name for name, value in rest.items() if digests.get(name) != _sha256(value)[:SHORT]]
    return changed + removed or ["checksum"]


def _sha256(value: Any) -> str:
    """Return the SHA-256 of a value as canonical JSON: sorted keys, no whitespace."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
