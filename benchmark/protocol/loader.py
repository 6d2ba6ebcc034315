"""Read a protocol from its YAML file.

A protocol can have *variants*, named sections with only the fields that differ (``streets@quick``). They are merged
key by key, so overriding one field keeps the others of its section. A variant removes a target by setting it to null.
A protocol with a ``default_variant`` is always used with a variant. Each variant has a shortened one, see
:func:`shortened`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark import labelsets
from benchmark.common import reading, strict_yaml
from benchmark.common.errors import UserError, nearest, spelled
from benchmark.protocol.explain import explain
from benchmark.protocol.schema import FoundationModel, Protocol

FOLDER = Path(__file__).parent
UNREADABLE = strict_yaml.UNREADABLE
SHORT = "-short"
"""Suffix of a shortened variant (``streets@tune-short``)."""
SHORTER = 3


def available() -> list[str]:
    """Return the names of the built-in protocols."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def variants(name: str) -> list[str]:
    """Return the names of a built-in protocol's variants, in the order of its file."""
    return list(_yaml(FOLDER / f"{name}.yaml").get("variants") or ())


def load(name: str, variant: str | None = None) -> Protocol:
    """Load a protocol by name (``streets``, ``streets@quick``, ``streets@tune-short``) or from a YAML file.

    The case of a name's letters does not matter.

    Raises:
        UserError: the protocol or variant is unknown, the file is not YAML, or a field is unknown, missing or invalid.
            The message names the file, the field and the nearest valid name. Or a label set's file is bad.
    """
    base, _, suffix = name.partition("@")
    variant = variant or suffix or None
    path = _path(base)
    content = _yaml(path)
    changes = content.pop("variants", None) or {}
    default = content.pop("default_variant", None)
    variant = variant or default
    known = {str(name): each for name, each in changes.items()} if isinstance(changes, dict) else {}
    variant = variant and (spelled(str(variant), [*known, *(name + SHORT for name in known)]) or variant)
    whole = str(variant).removesuffix(SHORT)
    short = str(variant) not in known and whole in known
    if variant is not None:
        variant = whole if short else variant
        if str(variant) not in known:
            raise UserError(f"{path.name}: no variant {variant!r}: {nearest(str(variant), known)}")
        stated = known[str(variant)] or {}
        if not isinstance(stated, dict):
            raise UserError(f"{path.name}: variants.{variant}: must be fields (name: value), not {stated!r:.60}")
        content = merged(content, stated)
        if isinstance(content.get("targets"), dict):
            content["targets"] = {name: split for name, split in content["targets"].items() if split is not None}
    _embed_label_sets(content, path.parent)
    _embed_frames(content, path.parent)
    _embed_searched(content)
    content["name"] = path.stem + (f"@{variant}" if variant else "")
    try:
        fixed = Protocol.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path.name}: {explain(error, Protocol)}") from None
    return shortened(fixed) if short else fixed


def _path(name: str) -> Path:
    """Return the file of the protocol with this name, or of this path.

    Raises:
        UserError: there is none; the message suggests the nearest name.
    """
    known = available()
    own = name.lower().endswith((".yaml", ".yml"))
    if not own and (found := spelled(name, known)) is not None:
        return FOLDER / f"{found}.yaml"
    if own and reading.present(Path(name)):
        return Path(name)
    if own or os.path.lexists(name) or os.path.basename(name) != name or name.lower().endswith((".json", ".toml")):
        if os.path.isdir(name):
            raise UserError(f"--protocol {name}: a folder; give a .yaml file in it, or one of: {', '.join(known)}")
        fault = "not a .yaml file" if os.path.lexists(name) else "no such file"
        raise UserError(f"{name}: {fault}; give the path of a protocol, or one of: {', '.join(known)}")
    raise UserError(f"unknown protocol {name!r}: {nearest(name, known)} (or give a .yaml file)")


def shipped(name: str) -> Protocol | None:
    """Return the built-in protocol that a record calls ``name``, changes of ``vfm`` included; None if it is another.

    Raises:
        UserError: the built-in protocol has no such variant.
    """
    plain, changes = _divided(name)
    if plain.partition("@")[0] not in available():
        return None
    fixed = load(plain)
    return with_vfm(fixed, changes) if changes else fixed


def _divided(name: str) -> tuple[str, list[str]]:
    """Return a protocol's name without changes of ``vfm``, and the changes."""
    found = re.fullmatch(r"(.*?)((?:\+\w+=[^+]*)*)", name)
    assert found is not None  # both parts may be empty
    return found[1], found[2].split("+")[1:]


def argument(protocol: Protocol) -> str:
    """Return what ``--protocol`` takes for it in a suggested command: its name, or a placeholder for a user's file."""
    base, at, variant = _divided(protocol.name)[0].partition("@")  # changes of ``vfm`` have another option
    return (base if base in available() else "FILE.yaml") + at + variant


def _embed_label_sets(content: dict[str, Any], folder: Path) -> None:
    """Add the label sets of files and of other packages to ``label_sets``, and refer to them by name.

    Raises:
        UserError: a file is not a label set; the message names it.
    """
    given = content.get("label_sets") or []
    if not isinstance(given, list):
        return  # a validation error
    inline = {each.get("name") for each in given if isinstance(each, dict)}
    found: dict[str, labelsets.LabelSet] = {}

    def embedded(value: Any) -> Any:
        if not isinstance(value, str) or value in inline or value in labelsets.shipped():
            return value
        if value.endswith((".yaml", ".yml")):
            labels = labelsets.read(folder / value)
        elif value in labelsets.known():
            labels = labelsets.find(value)
        else:
            return value  # a validation error
        if found.setdefault(labels.name, labels) != labels:
            raise UserError(f"{folder / value}: another label set is called {labels.name!r}, too; rename one")
        for other in labels.merges:
            if other != value:
                embedded(other)
        return labels.name

    if "classes" in content:
        content["classes"] = embedded(content["classes"])
    targets = content.get("targets")
    if isinstance(targets, dict):
        content["targets"] = {
            name: split | {"scored_in": embedded(split["scored_in"])}
            if isinstance(split, dict) and "scored_in" in split
            else split
            for name, split in targets.items()
        }
    if found:
        content["label_sets"] = [*given, *found.values()]


def _embed_frames(content: dict[str, Any], folder: Path) -> None:
    """Replace each split's path of a list of frames by the list.

    Raises:
        UserError: the file cannot be read.
    """
    targets = content.get("targets")
    sections = [content, *([targets] if isinstance(targets, dict) else [])]
    for section in sections:
        for name, split in section.items():
            if isinstance(split, dict) and isinstance(split.get("frames"), str):
                path = folder / split["frames"]
                try:
                    ids = reading.read_text(path).split()
                except (OSError, UnicodeDecodeError) as error:
                    raise UserError(f"{path}: {name}.frames: cannot be read: {error}") from None
                section[name] = {**split, "frames": ids}


def _embed_searched(content: dict[str, Any]) -> None:
    """Replace the name of a protocol in ``searched`` by what it states for the same backbone.

    Raises:
        UserError: there is no such protocol.
    """
    stated = content.get("searched")
    if isinstance(stated, dict):
        content["searched"] = {
            backbone: load(methods).searched.get(backbone, {}) if isinstance(methods, str) else methods
            for backbone, methods in stated.items()
        }


def shortened(fixed: Protocol) -> Protocol:
    """Return the protocol at a third of its length, with :data:`SHORT` added to its name.

    Iterations, decoder warm-up and learning-rate warm-up are divided by three, so the schedule keeps its shape.
    """
    iterations = -(-fixed.iterations // SHORTER)  # rounded up, so that it stays above the warm-up
    changes = {
        "name": fixed.name + SHORT,
        "title": f"{fixed.title}, a third of the iterations",
        "iterations": iterations,
        "lr_warmup": fixed.lr_warmup // SHORTER,
        "decoder": fixed.decoder.model_copy(update={"warmup": fixed.decoder.warmup // SHORTER}),
        "evaluation": fixed.evaluation.model_copy(update={"times": min(fixed.evaluation.times, iterations)}),
    }
    return fixed.model_copy(update=changes)


def with_vfm(fixed: Protocol, texts: Iterable[str]) -> Protocol:
    """Return the protocol with fields of its ``vfm`` section changed, and the changes added to its name.

    Args:
        fixed: the protocol.
        texts: changes as ``FIELD=VALUE``, such as ``resample=pi``.

    Raises:
        UserError: a field or value is invalid.
    """
    changes = dict(text.partition("=")[::2] for text in texts)
    try:
        vfm = FoundationModel.model_validate(fixed.vfm.model_dump() | changes)
    except ValidationError as error:
        raise UserError(f"--vfm: {explain(error, FoundationModel)}") from None
    suffix = "".join(f"+{name}={value}" for name, value in changes.items() if getattr(fixed.vfm, name) != value)
    return fixed.model_copy(update={"vfm": vfm, "name": fixed.name + suffix})


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` updated with ``changes``, key by key at every depth."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = strict_yaml.load(reading.read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except UNREADABLE as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be fields (name: value), not {type(content).__name__}")
    return content
