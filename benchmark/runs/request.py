"""From the words of a command line to jobs: protocol, methods, seeds, hyperparameters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmark import protocol as protocols
from benchmark.common import registry
from benchmark.common.errors import UserError, nearest, spelled
from benchmark.models.catalogue import find_backbone
from benchmark.protocol import UNREADABLE, Protocol
from benchmark.records import path_of
from benchmark.records.naming import PERTURBATION, PERTURBED, base
from benchmark.runs.job import Job
from benchmark.runs.spec import Given, RunSpec
from benchmark.training.runtime import RuntimeOptions

GROUPS = {
    "table4": (
        "full", "freeze", "random-all", "random-q", "random-k", "random-v", "fim-variational", "delta-fim-variational",
        "fishertune",
    ),
    "table5": tuple(
        name + carried for name in ("adaptformer", "vpt", "rein", "fishertune") for carried in ("", PERTURBED)
    ),
    "figure3": ("full", "freeze", "parts"),
    "figure5": (
        "fim", "fim-variational", "delta-fim", "delta-fim-variational", "fishertune-per-sample", "fishertune",
    ),
}  # fmt: skip
"""Names for groups of methods: FisherTune's Tables 4 and 5, and its Figures 3 and 5 (which omits ΔF)."""
SAFE = re.compile(r"[A-Za-z0-9._+=,\[\]-]+")


class Either(tuple[Any, ...]):
    """Several values of one hyperparameter: one run for each."""


@dataclass(frozen=True)
class Selection:
    """The runs that a command line selects, in the user's words.

    Attributes:
        protocol: a protocol's name or YAML file.
        quick: use its variant ``quick``.
        vfm: changes of its section ``vfm``, as :func:`benchmark.protocol.with_vfm` reads them.
        every: all methods of the main comparison.
        methods: as :func:`parse_methods` reads them.
        seeds: as :func:`parse_seeds` reads them.
        given: as :func:`parse_given` reads them.
        backbone: instead of the protocol's own.
        weights, revision: as in :class:`RunSpec`.
    """

    protocol: str
    quick: bool = False
    vfm: tuple[str, ...] = ()
    every: bool = False
    methods: str = ""
    seeds: str = "0"
    given: tuple[str, ...] = ()
    backbone: str | None = None
    weights: Path | None = None
    revision: str | None = None

    def load(self) -> Protocol:
        """Return the selected protocol.

        Raises:
            UserError: no such protocol or variant, or an invalid field.
        """
        return protocols.with_vfm(protocols.load(self.protocol, "quick" if self.quick else None), self.vfm)

    def names(self) -> list[str]:
        """Return the selected methods.

        Raises:
            UserError: none, or both ``--all`` and ``--methods``.
        """
        if self.every and self.methods:
            raise UserError("--all and --methods: give one of them")
        return registry.main_methods() if self.every else parse_methods(self.methods)

    def jobs(self, fixed: Protocol, data_root: Path | None, folder: Path, runtime: RuntimeOptions) -> list[Job]:
        """Return the selected runs of the protocol, finished or not.

        Raises:
            UserError: an unknown method, backbone or hyperparameter.
        """
        names, backbone = self.names(), find_backbone(self.backbone or fixed.backbone).name
        return plan(
            fixed, backbone, names, parse_seeds(self.seeds), parse_given(self.given), data_root=data_root,
            folder=folder, runtime=runtime, weights=self.weights, revision=self.revision,
        )  # fmt: skip


def plan(
    protocol: Protocol,
    backbone: str,
    methods: Iterable[str],
    seeds: Iterable[int],
    given: Given,
    *,
    data_root: Path | None,
    folder: Path,
    runtime: RuntimeOptions | None = None,
    weights: Path | None = None,
    revision: str | None = None,
) -> list[Job]:
    """Return the jobs, seed by seed, so that every method has one run as early as possible.

    Raises:
        UserError: an unknown method; hyperparameters of a method that is not run; a name unfit for a folder.
    """
    methods = list(dict.fromkeys(methods))
    _check_given(methods, given)
    variants = {method: _variants(method, given.get(method, {})) for method in methods}
    jobs = [
        Job(RunSpec(protocol, backbone, method, seed, values, weights, revision), data_root, folder,
            runtime or RuntimeOptions())
        for seed in dict.fromkeys(seeds)
        for method in methods
        for values in variants[method]
    ]  # fmt: skip
    for spec in (job.spec for job in jobs):
        if not SAFE.fullmatch(spec.method_name):
            raise UserError(f"--set: {spec.method_name!r} cannot name a folder; use letters, digits and . _ + - =")
        path_of(folder, protocol.name, backbone, spec.method_name, spec.seed)
    return jobs


def _check_given(methods: list[str], given: Given) -> None:
    for name in methods:
        registry.require("method", base(name))
    for name in given:
        if name not in methods:
            raise UserError(f"--set {name}.…: {name!r} is not among the methods to run: {nearest(name, methods)}")
        for each in given[name]:
            if each.startswith(PERTURBATION) and base(name) == name:
                raise UserError(f"--set {name}.{each}: only {name}{PERTURBED} has it; run and set that one")


def _variants(method: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every combination of the given values, and of the method's grid for hyperparameters without one."""
    grid = {name: Either(values) for name, values in registry.find("method", base(method)).grid.items()}
    wanted = {**grid, **given}
    lists = [value if isinstance(value, Either) else (value,) for value in wanted.values()]
    return [dict(zip(wanted, values, strict=True)) for values in itertools.product(*lists)]


def parse_methods(text: str) -> list[str]:
    """Read method names and groups of methods (:data:`GROUPS`), separated by commas, whatever the case of the letters.

    Raises:
        UserError: an unknown name, or no name at all.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UserError("nothing to run: give --all, or --methods with names from: python -m benchmark list methods")
    known = {**{name: (name,) for name in _method_names()}, **GROUPS}
    found: list[str] = []
    for word in words:
        name = spelled(word, known)
        if name is None:
            if word.lower() == "linear":
                raise UserError(
                    "linear is a decoder, which the protocol chooses, not a method; for a linear probe use "
                    "--protocol streets@linear --methods freeze (or camvid@linear, gtav-to-cbm@linear)"
                )
            if word.lower() == "all":
                raise UserError("unknown method 'all': for all methods, give --all instead of --methods")
            if len(parts := re.findall(r"[^\s;:/]+", word)) > 1:
                raise UserError(f"--methods {text}: separate the names by commas: {','.join(parts)}")
            # Suggest perturbed names only for a word with a suffix.
            plain = {name for name in known if PERTURBED not in name or "+" in word}
            raise UserError(f"unknown method {word!r}: {nearest(word, plain)}")
        found += known[name]
    return found


def _method_names() -> list[str]:
    """Return the registered names, and those with feature perturbation."""
    return [name + carried for name in registry.names("method") for carried in ("", PERTURBED)]


def parse_given(texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read ``METHOD.SETTING=VALUE`` texts; a value is read as YAML (``1e-3`` as a number too).

    A hyperparameter that occurs several times has an :class:`Either` of its values.

    Raises:
        UserError: a text of another form.
    """
    values: dict[tuple[str, str], Either] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        method, dot, setting = name.partition(".")
        if not (equals and dot and method and setting and value):
            raise UserError(f"--set {text}: must read METHOD.SETTING=VALUE, such as lora.rank=4")
        method = spelled(method, _method_names()) or method
        values[method, setting] = Either((*values.get((method, setting), ()), _value(value)))
    given: dict[str, dict[str, Any]] = {}
    for (method, setting), each in values.items():
        given.setdefault(method, {})[setting] = each if len(each) > 1 else each[0]
    return given


def parse_seeds(text: str) -> list[int]:
    """Read ``0``, ``0,1,2`` or ``0-4``.

    Raises:
        UserError: anything else.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip())
        if match is None:
            raise UserError(f"--seeds {text}: must be a number (0), numbers (0,1,2) or a range (0-4)")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first > 999:
            raise UserError(f"--seeds {part}: a range runs upwards, over at most 1000 seeds")
        seeds += range(first, last + 1)
    return seeds


def _value(text: str) -> Any:
    try:
        return float(text) if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", text) else yaml.safe_load(text)
    except UNREADABLE:
        return text
