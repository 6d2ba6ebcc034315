"""A job: one run's conditions, and where its files are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from benchmark.common import registry
from benchmark.common.errors import UserError
from benchmark.protocol import Protocol, explain
from benchmark.records.naming import PERTURBATION, base
from benchmark.training.runtime import RuntimeOptions

if TYPE_CHECKING:
    from benchmark.method import Method, Perturbation, Settings
    from benchmark.models.backbone import Backbone

Given = Mapping[str, Mapping[str, Any]]
Own = TypeVar("Own", bound="Settings")


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
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
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


def _prefixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {PERTURBATION + name: value for name, value in settings.items()}
