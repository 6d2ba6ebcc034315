"""How a record shows that it was edited, and where."""

from __future__ import annotations

import hashlib
import json
from typing import Any

SHORT = 12


def sealed(fields: dict[str, Any]) -> bytes:
    """Return the file's content, one field per line, closed by a digest of each and the checksum of all."""
    fields = {name: value for name, value in fields.items() if name not in ("digests", "checksum")}
    fields["digests"] = {name: _sha256(value)[:SHORT] for name, value in fields.items()}
    fields["checksum"] = _sha256(fields)
    lines = [f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in fields.items()]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def edited(fields: dict[str, Any]) -> list[str]:
    """Return the names of the fields that are not as they were sealed; empty for an untouched record.

    A number that JSON does not know (``NaN``, which Python reads all the same) was never sealed.
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
    """Return the hash of a value's canonical JSON: keys sorted, no blanks."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
