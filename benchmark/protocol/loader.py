"""Read a protocol from its YAML file.

A protocol has *variants*: named sections that state only their differences from it (``streets@quick``).
They are merged key by key, so a variant can never drop a field by overriding its neighbour; only a target may be
left out, by stating null for it. A protocol that names a ``default_variant`` is never used without one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from benchmark.common.errors import UserError, nearest
from benchmark.protocol.explain import explain
from benchmark.protocol.schema import FoundationModel, Protocol

FOLDER = Path(__file__).parent
UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)
"""What reading YAML may raise: its own error, an impossible date or number (``2001-99-99``), endless nesting."""


def available() -> list[str]:
    """Return the names of the protocols that come with the benchmark."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def variants(name: str) -> list[str]:
    """Return the names of the variants of a protocol that comes with the benchmark, as its file has them."""
    return list(_yaml(FOLDER / f"{name}.yaml").get("variants") or ())


def load(name: str, variant: str | None = None) -> Protocol:
    """Read a protocol by name (``streets``, ``streets@quick``) or by the path of a YAML file.

    Raises:
        UserError: no such protocol or variant, not YAML, or a field that is unknown, missing or impossible;
            the line names the file, the field and the nearest valid name.
    """
    base, _, suffix = name.partition("@")
    variant = variant or suffix or None
    path = Path(base) if base.endswith((".yaml", ".yml")) else FOLDER / f"{base}.yaml"
    if not os.path.isfile(path):  # unlike Path.is_file, no error where a name is too long
        raise UserError(f"unknown protocol {base!r}: {nearest(base, available())} (or give a .yaml file)")
    content = _yaml(path)
    changes = content.pop("variants", None) or {}
    default = content.pop("default_variant", None)
    variant = variant or default
    if variant is not None:
        known = {str(name): each for name, each in changes.items()} if isinstance(changes, dict) else {}
        if str(variant) not in known:
            raise UserError(f"{path.name}: no variant {variant!r}: {nearest(str(variant), known)}")
        stated = known[str(variant)] or {}
        if not isinstance(stated, dict):
            raise UserError(f"{path.name}: variants.{variant}: must hold fields (name: value), not {stated!r:.60}")
        content = merged(content, stated)
        if isinstance(content.get("targets"), dict):
            content["targets"] = {name: split for name, split in content["targets"].items() if split is not None}
    content["name"] = path.stem + (f"@{variant}" if variant else "")
    try:
        return Protocol.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path.name}: {explain(error, Protocol)}") from None


def with_vfm(fixed: Protocol, texts: Iterable[str]) -> Protocol:
    """Return the protocol with fields of its section ``vfm`` changed, and a name that says so.

    Args:
        fixed: the protocol.
        texts: ``FIELD=VALUE``, such as ``resample=pi``; none leaves the protocol as it is.

    Raises:
        UserError: a text of another form, or a field or value that there is not.
    """
    changes = dict(text.partition("=")[::2] for text in texts)
    try:
        vfm = FoundationModel.model_validate(fixed.vfm.model_dump() | changes)
    except ValidationError as error:
        raise UserError(f"--vfm: {explain(error, FoundationModel)}") from None
    suffix = "".join(f"+{name}={value}" for name, value in changes.items() if getattr(fixed.vfm, name) != value)
    return fixed.model_copy(update={"vfm": vfm, "name": fixed.name + suffix})


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes`` laid over it, key by key at every depth."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except UNREADABLE as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold fields (name: value), not {type(content).__name__}")
    return content
