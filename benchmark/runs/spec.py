"""What identifies a run: protocol, backbone, method with its hyperparameters, seed, weights."""

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

if TYPE_CHECKING:
    from torch import Tensor

    from benchmark.method import Method, Perturbation, Settings
    from benchmark.models.backbone import Backbone

Given = Mapping[str, Mapping[str, Any]]
Own = TypeVar("Own", bound="Settings")


@dataclass(frozen=True, eq=False)
class RunSpec:
    """What identifies a run. It decides the result, enters the record and the checkpoint's key.

    Attributes:
        protocol: the fixed conditions.
        backbone: a known backbone's name.
        method: a registered method's name, with ``+perturbed`` if it uses feature perturbation.
        seed: of every RNG stream.
        given: the method's hyperparameters that the user set.
        weights: a file to load instead of the backbone's own weights.
        revision: commit of the backbone's hub repository, instead of the catalogue's.
    """

    protocol: Protocol
    backbone: str
    method: str
    seed: int
    given: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    revision: str | None = None

    @property
    def title(self) -> str:
        """The run in one line: protocol, backbone, method, seed."""
        return f"{self.protocol.name} {self.backbone} {self.method_name} seed {self.seed}"

    @property
    def method_name(self) -> str:
        """The method with the hyperparameters that the user set: ``lora``, ``lora[rank=4]``."""
        changes = ",".join(f"{name}={value}" for name, value in sorted(self.given.items()))
        return f"{self.method}[{changes}]" if changes else self.method

    def make_method(self) -> Method:
        """Create the method. The protocol's values override its defaults, the user's override both.

        Raises:
            UserError: unknown method, or an unknown or invalid hyperparameter.
        """
        kind: type[Method] = registry.find("method", base(self.method))
        return kind(self._validated(kind.Settings, ""))

    def make_perturbation(self) -> Perturbation | None:
        """Create the feature perturbation of the protocol or of the method; None if neither has one.

        Raises:
            UserError: an unknown or invalid hyperparameter; or the protocol perturbs, and the method would, too.
        """
        from benchmark.method import Perturbation, PerturbationSettings

        if (stated := self.protocol.perturbation) is not None:
            if base(self.method) != self.method or any(name.startswith(PERTURBATION) for name in self._values()):
                raise UserError(
                    f"method {self.method_name!r}: protocol {self.protocol.name} perturbs the features of every method "
                    "alike; leave +perturbed and its settings out"
                )
            return Perturbation(PerturbationSettings(**stated.model_dump()))
        if base(self.method) == self.method:
            return None
        return Perturbation(self._validated(PerturbationSettings, PERTURBATION))

    def settings(self, method: Method) -> dict[str, Any]:
        """Return the hyperparameters of method and perturbation, JSON-ready."""
        carried = self.make_perturbation()
        return method.settings.model_dump(mode="json") | (
            {} if carried is None else _prefixed(carried.settings.model_dump(mode="json"))
        )

    def stated(self) -> dict[str, Any]:
        """Return the hyperparameters that the protocol or the user sets, JSON-ready."""
        stated = self._values()
        return {name: value for name, value in self.settings(self.make_method()).items() if name in stated}

    def make_backbone(self) -> Backbone:
        """Build the backbone with its pre-trained weights, as the protocol specifies.

        Raises:
            UserError: weights are unavailable, damaged, or of another architecture.
        """
        from benchmark.models.backbone import build_backbone

        vfm = self.protocol.vfm
        return build_backbone(
            self.backbone, weights=self.weights, revision=self.revision, resample=vfm.resample,
            normalisation=vfm.normalisation,
        )  # fmt: skip

    def read_pretrained(self) -> dict[str, Tensor]:
        """Return the backbone's pre-trained weights, under timm's names, without building it.

        Raises:
            UserError: as :meth:`make_backbone`.
        """
        from benchmark.models.backbone import read_pretrained

        return read_pretrained(
            self.backbone, weights=self.weights, revision=self.revision, resample=self.protocol.vfm.resample
        )

    def origins(self, method: Method) -> dict[str, str]:
        """Return the origin of each hyperparameter: ``paper``, ``ours``, ``search`` or ``given``."""
        carried = self.make_perturbation()
        declared = {} if carried is None else _prefixed(carried.settings.origins())
        adapted = dict.fromkeys(self._adapted(), "ours")
        searched = dict.fromkeys(self._searched(), "search")
        return method.settings.origins() | declared | adapted | searched | dict.fromkeys(self.given, "given")

    def _validated(self, kind: type[Own], prefix: str) -> Own:
        """Return validated hyperparameters of the method (no prefix) or of the perturbation."""
        own = {
            name.removeprefix(prefix): value
            for name, value in self._values().items()
            if name.startswith(PERTURBATION) == bool(prefix)
        }
        try:
            return kind(**own)
        except ValidationError as error:
            part = ", perturbation" if prefix else ""
            raise UserError(f"method {self.method!r}{part}: {explain(error, kind)}") from None

    def _values(self) -> Mapping[str, Any]:
        return {**self._adapted(), **self._searched(), **self.given}

    def _adapted(self) -> Mapping[str, Any]:
        """Return the protocol's values for this method, or for the method it is an arm of."""
        return {**self.protocol.settings.get(self._parent(), {}), **self._stated(self.protocol.settings)}

    def _searched(self) -> Mapping[str, Any]:
        """Return the searched values of this method, or of the method it is an arm of, for the backbone."""
        table = self.protocol.searched.get(self.backbone, {})
        return {**table.get(self._parent(), {}), **self._stated(table)}

    def _parent(self) -> str:
        """Return the method that this one is an arm of; empty if it is none."""
        return str(registry.find("method", base(self.method)).arm_of)

    def _stated(self, table: Given) -> Mapping[str, Any]:
        """Return a method's entries; the plain method's also apply to the perturbed one."""
        return {**table.get(base(self.method), {}), **table.get(self.method, {})}

    def label(self, method: Method) -> str:
        """Return the method's name in tables."""
        carried = " + feature perturbation" if base(self.method) != self.method else ""
        return method.label + carried + self.method_name.removeprefix(self.method)


def _prefixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {PERTURBATION + name: value for name, value in settings.items()}
