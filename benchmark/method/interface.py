"""The interface that every fine-tuning method fills.

A method decides what happens to the *backbone*: which weights train, what is added, with which optimizer.
All else (data, order, augmentation, decoder and its initial weights, iterations, batch, schedule, decoder
learning rate, evaluation) belongs to the protocol, and a method has no handle on it.

The training loop calls, in this order::

    attach(backbone, rng)                       once, on pre-trained weights
    phases(iterations, warmed)                  once: the method's share of the protocol's iterations
    queries()                                   once: object queries for a decoder that takes some
    optimizer()                                 once, for the backbone's side only
    estimate(estimation)                        per iteration of an estimating phase: look, update nothing
    estimated()                                 after the last of them: choose
    losses(decoding) -> backward -> before_step(t, T)   per iteration of any other phase
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from benchmark.common.microbatch import WHOLE, MicroBatch
from benchmark.models.backbone import Backbone

Origin = Literal["paper", "ours"]


def setting(default: Any, origin: Origin, why: str, **limits: Any) -> Any:
    """Declare one setting: its default, whether a paper states it or we chose it, and why.

    ``limits`` are pydantic's (``gt``, ``ge``, ``lt``, ``le``), checked when the setting is given.
    """
    return Field(default=default, description=why, json_schema_extra={"origin": origin}, **limits)


class Settings(BaseModel):
    """A method's hyper-parameters, validated when made; a misspelt or impossible one is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def origins(self) -> dict[str, str]:
        """Return, for each setting, where its value comes from: ``paper``, ``ours`` or ``given``."""
        origins = {}
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra
            declared = extra["origin"] if isinstance(extra, dict) else "ours"
            origins[name] = str(declared) if getattr(self, name) == field.default else "given"
        return origins


@dataclass(frozen=True)
class Phase:
    """A stretch of iterations in which the same things happen.

    Attributes:
        name: as it stands in the record's times.
        iterations: its length; a method's phases sum to the iterations it was offered.
        backbone: whether the method's optimizer steps.
        decoder: whether the decoder's optimizer steps.
        estimate: whether :meth:`Method.estimate` replaces the training step altogether.
        start: the iteration at which it begins; set by the harness.
    """

    name: str
    iterations: int
    backbone: bool = True
    decoder: bool = True
    estimate: bool = False
    start: int = 0

    @property
    def trains(self) -> tuple[str, ...]:
        """Whose optimizers step in this phase: ``decoder``, ``backbone``."""
        return ("decoder",) * self.decoder + ("backbone",) * self.backbone


@dataclass(frozen=True)
class Estimation:
    """What a method may look at in one iteration of an estimating phase.

    Attributes:
        images: (B, 3, H, W) float, RGB in 0..255, the protocol's own next batch, or this process's portion of it.
        labels: (B, H, W) int64, 255 where nothing applies.
        logits: maps images to (B, C, H, W) class logits through backbone and decoder; whichever decoder it is,
            their softmax is the model's distribution of each pixel's class.
        loss: maps (images, labels) to the training loss, a scalar; its mean over processes is the whole batch's.
        rng: the method's own stream for this iteration (CPU), the same on every process.
        step: iteration within the phase, from 0.
        steps: length of the phase.
        portion: which of the batch's images these are; what is drawn for images is drawn through it.
    """

    images: Tensor
    labels: Tensor
    logits: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    rng: torch.Generator
    step: int
    steps: int
    micro_batch: MicroBatch = WHOLE


@dataclass(frozen=True)
class Decoding:
    """What a method may look at in a training step once the forward pass is made.

    It exists for regularisers that ask how predictions answer to a change of features, which cannot be told
    from the backbone's side. The decoder is there to be called; how it trains is the protocol's affair.

    Attributes:
        decode: maps block outputs, as the backbone returns them, to the decoder's class logits (B, C, h, w);
            their softmax is a distribution, as above.
        rng: the method's own stream for this iteration (CPU), the same on every process.
        step: iteration within the phase, from 0.
        steps: length of the phase.
        portion: as above, of the images of this forward pass.
    """

    decode: Callable[[list[Tensor]], Tensor]
    rng: torch.Generator
    step: int
    steps: int
    micro_batch: MicroBatch = WHOLE


class Method(ABC):
    """One fine-tuning method; its module's name is its name everywhere (``childtune_d.py``: ``childtune-d``)."""

    label: ClassVar[str]
    """As printed in tables."""
    source: ClassVar[str]
    """The paper, as author, title, venue."""
    Settings: ClassVar[type[Settings]]
    arm_of: ClassVar[str] = ""
    """For an ablation: the method whose searched settings it takes, so that only what it states differs."""
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {}
    """For an ablation that is many rows: settings and their values, each combination a run unless one is given."""

    def __init__(self, settings: Any = None) -> None:
        self.settings: Any = settings if settings is not None else self.Settings()
        self.backbone: Backbone
        self._added: dict[str, nn.Module] = {}
        self._hooks: list[Any] = []

    # -- what a method must say ------------------------------------------------------------------------

    @abstractmethod
    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Prepare the pre-trained ``backbone`` in place: freeze, hook, add modules.

        An implementation first calls :meth:`begin`. New weights are drawn from ``rng`` alone.
        """

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the backbone side's optimizer groups (``params``, ``lr``, ``weight_decay``); may be empty."""

    # -- what a method may say -------------------------------------------------------------------------

    def phases(self, iterations: int, warmed: int) -> tuple[Phase, ...]:
        """Divide the iterations that the protocol leaves after the common decoder warm-up, which took ``warmed``."""
        return (Phase("tune", iterations),)

    def optimizer(self, betas: tuple[float, float], eps: float) -> torch.optim.Optimizer | None:
        """Return the optimizer of the backbone's side; None where nothing trains."""
        groups = self.parameter_groups()
        return torch.optim.AdamW(groups, betas=betas, eps=eps, fused=True) if groups else None

    def estimate(self, estimation: Estimation) -> None:
        """Look at one batch's gradients; called in phases that estimate."""
        raise NotImplementedError(f"{type(self).__name__} has an estimating phase but does not estimate")

    def losses(self, decoding: Decoding) -> dict[str, Tensor]:
        """Return extra named losses of the forward pass just made; they are added to the decoder's.

        Each is a mean over the images of the pass: portions of a batch are equal, and the mean of theirs is its own.
        """
        return {}

    def queries(self) -> Callable[[], Tensor] | None:
        """Return what computes object queries (m, d) for a decoder that takes some; None offers none.

        Such a decoder reads them in each forward pass in place of its own, so they get gradients; m and d must be
        its own. Asked once, after :meth:`attach`. A decoder without queries lets the offer pass.
        """
        return None

    def estimated(self) -> None:
        """End the estimate, after the last iteration of its phase and before any other gradient is made."""

    def before_step(self, step: int, steps: int) -> None:
        """Act between backward and step; ``step`` counts from 0 to ``steps`` - 1 within the phase."""

    def trainable(self) -> int:
        """Return how many backbone-side values the method trains (the decoder is never counted)."""
        return sum(p.numel() for group in self.parameter_groups() for p in group["params"])

    def estimates(self) -> int:
        """Return how many values the estimates of an estimating phase hold at its end; a checkpoint has them, too."""
        return 0

    def estimates_in_memory(self) -> int:
        """Return how many such values are in memory at most, beside a gradient; the others lie in a file."""
        return self.estimates()

    def report(self) -> dict[str, Any]:
        """Return JSON-ready facts about the finished run that belong into its record."""
        return {}

    def delta(self) -> dict[str, tuple[Tensor, Tensor]] | None:
        """Return which single pre-trained weights the finished run has written; None if it is not so sparse.

        Every other weight of the backbone is then the pre-trained one, bit for bit, and no module is added.

        Returns:
            the parameter's name within the backbone to flat positions (ascending, int32 or int64) and the
            values there.
        """
        return None

    def trained(self) -> dict[str, Tensor]:
        """Return what the finished run needs beyond pre-trained weights, by name within the backbone.

        That is whatever trains, and added modules whole. Attached anew to the same pre-trained weights, with the
        same settings, the method computes the same once these are loaded.
        """
        tunes = {id(parameter) for group in self.parameter_groups() for parameter in group["params"]}
        names = {name for name, parameter in self.backbone.named_parameters() if id(parameter) in tunes}
        added = tuple(f"{name}." for name in self._added)
        state = self.backbone.state_dict()
        return {name: tensor for name, tensor in state.items() if name in names or name.startswith(added)}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs beyond weights and optimizer: tensors, numbers, nested dicts."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""

    # -- what every method can rely on -----------------------------------------------------------------

    def begin(self, backbone: Backbone, *, train_pretrained: bool = False) -> None:
        """Take hold of the backbone, with all of its pre-trained parameters frozen or all trainable."""
        self.backbone = backbone
        self._train_pretrained = train_pretrained
        backbone.requires_grad_(train_pretrained)

    def add(self, name: str, module: nn.Module) -> None:
        """Register a new trainable module on the backbone, in its mode, so that checkpoints and DDP see it."""
        if hasattr(self.backbone, name):
            raise ValueError(f"the backbone has a {name!r} already")
        parameter = next(self.backbone.parameters())
        self.backbone.add_module(name, module.to(parameter.device).train(self.backbone.training))
        self._added[name] = module

    def hook(self, handle: Any) -> None:
        """Remember a hook's handle, to be removed by :meth:`detach`."""
        self._hooks.append(handle)

    def detach(self) -> None:
        """Undo :meth:`attach`: the backbone computes what its own weights say, all of them trainable."""
        while self._hooks:
            self._hooks.pop().remove()
        while self._added:
            delattr(self.backbone, self._added.popitem()[0])
        self.backbone.requires_grad_(True)

    def train_mode(self) -> None:
        """Set the backbone's side for a training step: what is frozen stays in eval mode (no drop path)."""
        self.backbone.train(self._train_pretrained)
        for module in self._added.values():
            module.train()
