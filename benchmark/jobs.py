"""Which runs there are: a job names one run's conditions, and where its files lie."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import ValidationError

from benchmark import registry
from benchmark.errors import UserError, nearest
from benchmark.execution import Execution
from benchmark.protocol import UNREADABLE, Protocol, explain
from benchmark.records import path_of
from benchmark.records.naming import PERTURBATION, PERTURBED, base

if TYPE_CHECKING:
    from benchmark.method import Method, Perturbation, Settings
    from benchmark.models.backbone import Backbone

Given = Mapping[str, Mapping[str, Any]]
Own = TypeVar("Own", bound="Settings")
GROUPS = {
    "table4": ("full", "freeze", "random", "random-q", "random-k", "random-v", "fim", "delta-fim", "fishertune"),
    "table5": tuple(
        name + carried for name in ("adaptformer", "vpt", "rein", "fishertune") for carried in ("", PERTURBED)
    ),
    "figure3": ("full", "freeze", "parts"),
    "figure5": (
        "fim", "fim-variational", "delta-fim", "delta-fim-variational", "fishertune", "dr-fim-variational",
    ),
}  # fmt: skip
"""Words for several methods: FisherTune's Tables 4 and 5, and its Figures 3 and 5 (which leaves ΔF out)."""
SAFE = re.compile(r"[A-Za-z0-9._+=,\[\]-]+")


class Either(tuple[Any, ...]):
    """Several values of one setting: one run for each."""


@dataclass(frozen=True, eq=False)
class Job:
    """One run that may be due.

    Attributes:
        protocol: the fixed conditions.
        backbone: a known backbone's name.
        method: a registered method's name, with ``+perturbed`` if it carries feature perturbation.
        seed: of every random stream.
        given: settings of the method that the user gave.
        data_root: holds one folder per dataset.
        folder: holds all records.
        weights: a file to load instead of the backbone's own weights.
        revision: commit of the backbone's hub repository, instead of the catalogue's.
        threads: processor threads of the run.
        evaluator: a second one that has to confirm every mIoU, ``detectron2``; None for ours alone.
        execution: how it is carried out.
        tracker: what is told of losses and scores as they come, ``tensorboard`` or ``wandb``; None for nobody.
    """

    protocol: Protocol
    backbone: str
    method: str
    seed: int
    data_root: Path
    folder: Path
    given: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    revision: str | None = None
    threads: int = 1
    evaluator: str | None = None
    execution: Execution = field(default_factory=Execution)
    tracker: str | None = None

    @property
    def method_name(self) -> str:
        """The method with the settings that the user gave: ``lora``, ``lora[rank=4]``."""
        changes = ",".join(f"{name}={value}" for name, value in sorted(self.given.items()))
        return f"{self.method}[{changes}]" if changes else self.method

    @property
    def record(self) -> Path:
        """Where the run's record lies, or will."""
        place = self.folder / self.protocol.name / self.backbone / self.method_name
        return place / f"seed{self.seed}.json"

    @property
    def checkpoint(self) -> Path:
        """Where the run's checkpoint lies while it is unfinished."""
        return self.record.with_suffix(".checkpoint")

    def make_method(self) -> Method:
        """Make the method: its own defaults, the protocol's values over them, the user's over both.

        Raises:
            UserError: unknown method, or a setting that is unknown or impossible.
        """
        kind: type[Method] = registry.find("method", base(self.method))
        return kind(self._validated(kind.Settings, ""))

    def make_perturbation(self) -> Perturbation | None:
        """Make the feature perturbation that the method carries; None where it carries none.

        Raises:
            UserError: a setting that is unknown or impossible.
        """
        from benchmark.method import Perturbation, PerturbationSettings

        if base(self.method) == self.method:
            return None
        return Perturbation(self._validated(PerturbationSettings, PERTURBATION))

    def settings(self, method: Method) -> dict[str, Any]:
        """Return the settings of method and perturbation, JSON-ready."""
        carried = self.make_perturbation()
        return method.settings.model_dump(mode="json") | (
            {} if carried is None else _prefixed(carried.settings.model_dump(mode="json"))
        )

    def stated(self) -> dict[str, Any]:
        """Return those of the settings that protocol or user state, JSON-ready."""
        stated = self._values()
        return {name: value for name, value in self.settings(self.make_method()).items() if name in stated}

    def make_backbone(self) -> Backbone:
        """Build the backbone with its pre-trained weights, as the protocol wants it.

        Raises:
            UserError: weights that cannot be had, are damaged or belong to another architecture.
        """
        from benchmark.models.backbone import build_backbone

        vfm = self.protocol.vfm
        return build_backbone(
            self.backbone, weights=self.weights, revision=self.revision, resample=vfm.resample,
            normalisation=vfm.normalisation,
        )  # fmt: skip

    def origins(self, method: Method) -> dict[str, str]:
        """Return where each setting comes from: ``paper``, ``ours``, ``search`` or ``given``."""
        carried = self.make_perturbation()
        declared = {} if carried is None else _prefixed(carried.settings.origins())
        adapted = dict.fromkeys(self._stated(self.protocol.settings), "ours")
        searched = dict.fromkeys(self._searched(), "search")
        return method.settings.origins() | declared | adapted | searched | dict.fromkeys(self.given, "given")

    def _validated(self, kind: type[Own], prefix: str) -> Own:
        """Return settings of the method (no prefix) or the perturbation: defaults, the protocol's, the user's."""
        own = {
            name.removeprefix(prefix): value
            for name, value in self._values().items()
            if name.startswith(PERTURBATION) == bool(prefix)
        }
        try:
            return kind(**own)
        except ValidationError as error:
            whose = ", perturbation" if prefix else ""
            raise UserError(f"method {self.method!r}{whose}: {explain(error, kind)}") from None

    def _values(self) -> Mapping[str, Any]:
        return {**self._stated(self.protocol.settings), **self._searched(), **self.given}

    def _searched(self) -> Mapping[str, Any]:
        """Return what the search found for this method or what it is an arm of, if it was made with this backbone."""
        if self.backbone != self.protocol.backbone:
            return {}
        parent = registry.find("method", base(self.method)).arm_of
        return {**self.protocol.searched.get(parent, {}), **self._stated(self.protocol.searched)}

    def _stated(self, table: Given) -> Mapping[str, Any]:
        """Return a method's entries; those of the plain method hold for the perturbed one, too."""
        return {**table.get(base(self.method), {}), **table.get(self.method, {})}

    def label(self, method: Method) -> str:
        """Return the method's name in tables."""
        carried = " + feature perturbation" if base(self.method) != self.method else ""
        return method.label + carried + self.method_name.removeprefix(self.method)


def plan(
    protocol: Protocol,
    backbone: str,
    methods: Iterable[str],
    seeds: Iterable[int],
    given: Given,
    **common: Any,
) -> list[Job]:
    """Return the jobs, seed by seed so that a first full row of methods is there soonest.

    Raises:
        UserError: an unknown method; settings for a method that is not run; a name no folder should have.
    """
    methods = list(dict.fromkeys(methods))
    for name in methods:
        registry.require("method", base(name))
    for name in given:
        if name not in methods:
            raise UserError(f"--set {name}.…: {name!r} is not among the methods to run: {nearest(name, methods)}")
        for each in given[name]:
            if each.startswith(PERTURBATION) and base(name) == name:
                raise UserError(f"--set {name}.{each}: only {name}{PERTURBED} has it; run and set that one")
    variants = {method: _variants(method, given.get(method, {})) for method in methods}
    jobs = [
        Job(protocol, backbone, method, seed, given=settings, **common)
        for seed in dict.fromkeys(seeds)
        for method in methods
        for settings in variants[method]
    ]
    for job in jobs:
        if not SAFE.fullmatch(job.method_name):
            raise UserError(f"--set: {job.method_name!r} cannot name a folder; use letters, digits and . _ + - =")
        path_of(job.folder, job.protocol.name, job.backbone, job.method_name, job.seed)
    return jobs


def _variants(method: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every combination of the values given, and of those of the method's grid where none is."""
    grid = {name: Either(values) for name, values in registry.find("method", base(method)).grid.items()}
    wanted = {**grid, **given}
    lists = [value if isinstance(value, Either) else (value,) for value in wanted.values()]
    return [dict(zip(wanted, values, strict=True)) for values in itertools.product(*lists)]


def parse_methods(text: str) -> list[str]:
    """Read method names and words for several of them (:data:`GROUPS`), separated by commas.

    Raises:
        UserError: no such method or word; none at all.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UserError("nothing to run: give --all, or --methods with names from: python -m benchmark list methods")
    single = [name + carried for name in registry.names("method") for carried in ("", PERTURBED)]
    known = {**{name: (name,) for name in single}, **GROUPS}
    for word in words:
        if word not in known:
            if word == "linear":
                raise UserError(
                    "linear is a decoder, which a protocol chooses, and no method: a linear probe is "
                    "--protocol streets@linear --methods freeze (or camvid@linear, gtav-to-cbm@linear)"
                )
            # What merely could carry a perturbation is no help to whoever misspelt a plain name.
            plain = {name for name in known if PERTURBED not in name or "+" in word}
            raise UserError(f"unknown method {word!r}: {nearest(word, plain)}")
    return [name for word in words for name in known[word]]


def parse_given(texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read ``METHOD.SETTING=VALUE`` texts; a value is read as YAML (``1e-3`` as a number too).

    A setting that occurs several times has an :class:`Either` of its values.

    Raises:
        UserError: a text of another form.
    """
    values: dict[tuple[str, str], Either] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        method, dot, setting = name.partition(".")
        if not (equals and dot and method and setting and value):
            raise UserError(f"--set {text}: must read METHOD.SETTING=VALUE, such as lora.rank=4")
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
            raise UserError(f"--seeds {text}: must be numbers such as 0, 0,1,2 or 0-4")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first > 999:
            raise UserError(f"--seeds {part}: a range runs upwards, over at most 1000 seeds")
        seeds += range(first, last + 1)
    return seeds


def _prefixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {PERTURBATION + name: value for name, value in settings.items()}


def _value(text: str) -> Any:
    try:
        return float(text) if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", text) else yaml.safe_load(text)
    except UNREADABLE:
        return text
