"""The interface that every fine-tuning method implements.

A method controls the *backbone*: which weights train, which modules are added, and the optimizer. Everything else
(data and its order, augmentation, decoder and its initial weights, iterations, batch size, schedule, decoder learning
rate, evaluation) is defined by the protocol; methods cannot change it.

The training loop calls, in this order::

    attach(backbone, rng)                       once, on the pre-trained backbone
    phases(budget)                              once: divide the protocol's iterations into phases
    queries()                                   once: object queries, for decoders that use them
    optimizer()                                 once: decoder parameters excluded
    observe_batch(batch)                        per iteration of an estimation phase: update nothing
    select()                                    after the last of them: choose what to train
    losses(decoding) -> backward -> before_step(t, T)   per iteration of any other phase
    finish(score)                               once, after the last iteration and before the final evaluation
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from benchmark.common.errors import UserError
from benchmark.common.microbatch import WHOLE, MicroBatch
from benchmark.models.backbone import Backbone

Origin = Literal["paper", "ours"]
# Former method names, which subclasses must no longer define.
RENAMED = {
    "estimate": "observe_batch",
    "estimated": "select",
    "estimates": "stored_values",
    "estimates_in_memory": "peak_values",
}


def setting(default: Any, origin: Origin, why: str, **limits: Any) -> Any:
    """Declare a hyperparameter: its default, whether the paper states it or we chose it, and the reason.

    ``limits`` are pydantic's (``gt``, ``ge``, ``lt``, ``le``); every value is validated against them.
    """
    return Field(default=default, description=why, json_schema_extra={"origin": origin}, **limits)


class Settings(BaseModel):
    """A method's hyperparameters, validated on construction: unknown names and values out of range are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def origins(self) -> dict[str, str]:
        """Return the origin of each value: ``paper``, ``ours`` or ``given`` (by the user)."""
        origins = {}
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra
            declared = extra["origin"] if isinstance(extra, dict) else "ours"
            origins[name] = str(declared) if getattr(self, name) == field.default else "given"
        return origins


@dataclass(frozen=True)
class Budget:
    """What a protocol gives every method.

    Attributes:
        iterations: training iterations left after the decoder warm-up that all methods share.
        warmed: length of that warm-up.
        batch: images per iteration.
    """

    iterations: int
    warmed: int
    batch: int


@dataclass(frozen=True)
class Phase:
    """A number of consecutive steps in which the same parameters train.

    Attributes:
        name: key of the phase's duration in the record.
        iterations: its length in batches.
        backbone: whether the method's optimizer steps.
        decoder: whether the decoder's optimizer steps.
        estimate: whether each step calls :meth:`Method.observe_batch` instead of a training step.
        extra: whether it comes on top of the protocol's iterations: it uses images of its own, does not advance the
            learning-rate schedule, and must not train the backbone. A decoder that it trains is put back afterwards,
            so that training starts from the same decoder for every method.
        passes: forward and backward passes over each batch, for the cost of the run.
    """

    name: str
    iterations: int
    backbone: bool = True
    decoder: bool = True
    estimate: bool = False
    extra: bool = False
    passes: int = 1

    @property
    def trains(self) -> tuple[str, ...]:
        """Whose optimizers step in this phase: ``decoder``, ``backbone``."""
        return ("decoder",) * self.decoder + ("backbone",) * self.backbone


@dataclass(frozen=True)
class EstimationBatch:
    """The input of one step of an estimation phase.

    Attributes:
        images: (B, 3, H, W) float, RGB in 0..255: the phase's next batch, or this rank's micro-batch of it.
        labels: (B, H, W) int64, 255 for unlabelled pixels.
        logits: maps images to (B, C, H, W) class logits through backbone and decoder; for every decoder, their
            softmax is the predicted class distribution of each pixel.
        loss: maps (images, labels) to the scalar training loss; its mean over ranks is the loss of the whole batch.
        rng: the method's generator for this step (CPU), the same on every rank.
        step: number of the step within the phase, from 0.
        steps: length of the phase.
        micro_batch: which images of the batch these are; use it to draw random numbers per image.
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
    """Access to the decoder in a training step, after the forward pass.

    For regularisers that need predictions for modified features. How the decoder trains is defined by the protocol.

    Attributes:
        decode: maps block outputs, as the backbone returns them, to the decoder's class logits (B, C, H, W) at the
            size of the training images; their softmax is the predicted class distribution of each pixel.
        rng: the method's generator for this iteration (CPU), the same on every rank.
        step: iteration within the phase, from 0.
        steps: length of the phase.
        micro_batch: which images of the batch are in this forward pass.
    """

    decode: Callable[[list[Tensor]], Tensor]
    rng: torch.Generator
    step: int
    steps: int
    micro_batch: MicroBatch = WHOLE


class Method(ABC):
    """A fine-tuning method.

    Its registered name is that of its module (``childtune_d.py``: ``childtune-d``) or its key in the module's
    ``METHODS``.
    """

    label: ClassVar[str]
    """Name in tables and figures."""
    source: ClassVar[str]
    """The paper: author, title, venue."""
    Settings: ClassVar[type[Settings]]
    arm_of: ClassVar[str] = ""
    """For an ablation: the method whose tuned hyperparameters it uses, so that it differs only in its own defaults."""
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {}
    """For an ablation with several rows: hyperparameters and their values; each combination is one run."""
    unmergeable: ClassVar[str] = ""
    """For a method that adds modules: why weights of the plain backbone cannot express them, as part of a sentence."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse methods written for an older interface.

        Raises:
            TypeError: the class defines a method under its former name, or ``phases`` with its former arguments.
        """
        super().__init_subclass__(**kwargs)
        for old, new in RENAMED.items():
            if old in vars(cls):
                raise TypeError(f"{cls.__module__}.{cls.__qualname__}: {old}() is now called {new}(); rename it")
        if "phases" in vars(cls) and "warmed" in signature(vars(cls)["phases"]).parameters:
            raise TypeError(
                f"{cls.__module__}.{cls.__qualname__}: phases() now takes one Budget; use budget.iterations and "
                "budget.warmed"
            )

    def __init__(self, settings: Any = None) -> None:
        self.settings: Any = settings if settings is not None else self.Settings()
        self.backbone: Backbone
        self._added: dict[str, nn.Module] = {}
        self._hooks: list[Any] = []

    # -- required ----------------------------------------------------------------------------------------

    @abstractmethod
    def attach(self, backbone: Backbone, rng: torch.Generator) -> None:
        """Prepare the pre-trained ``backbone`` in place: freeze parameters, add modules, register hooks.

        Implementations call :meth:`begin` first and draw new weights only from ``rng``.
        """

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups (``params``, ``lr``, ``weight_decay``), decoder excluded; may be empty."""

    # -- optional ----------------------------------------------------------------------------------------

    def phases(self, budget: Budget) -> tuple[Phase, ...]:
        """Divide the protocol's iterations into phases; those that are not ``extra`` must add up to them."""
        return (Phase("tune", budget.iterations),)

    def optimizer(self, betas: tuple[float, float], eps: float) -> torch.optim.Optimizer | None:
        """Return the optimizer of the trainable parameters, decoder excluded; None if there are none."""
        groups = self.parameter_groups()
        return torch.optim.AdamW(groups, betas=betas, eps=eps, fused=True) if groups else None

    def observe_batch(self, batch: EstimationBatch) -> None:
        """Accumulate statistics of one batch, such as its gradients; called in estimation phases."""
        raise NotImplementedError(f"{type(self).__name__} has an estimation phase but no observe_batch()")

    def losses(self, decoding: Decoding) -> dict[str, Tensor]:
        """Return additional named losses of the last forward pass; they are added to the decoder's losses.

        Each is a mean over the images of that pass. Micro-batches have equal size, so the mean over them is that of the
        batch.
        """
        return {}

    def queries(self) -> Callable[[], Tensor] | None:
        """Return a function that computes object queries (m, d) for the decoder; None keeps the decoder's own.

        A decoder with object queries calls it in each forward pass, so the queries get gradients; m and d must match
        the decoder's. Called once, after :meth:`attach`. A decoder without object queries ignores it.
        """
        return None

    def select(self) -> None:
        """Choose what to train; called after the last batch of the estimation phase, before any other backward pass."""

    def before_step(self, step: int, steps: int) -> None:
        """Run between backward and optimizer step; ``step`` counts from 0 to ``steps`` - 1 within the phase."""

    def finish(self, score: Callable[[], float]) -> None:
        """Complete the backbone after the last iteration, before the final evaluation.

        A run that resumes during that evaluation calls it again: then it must change nothing.

        Args:
            score: evaluates the model as it is now; returns its mIoU (0..1) on the protocol's held-out source images.
        """

    def trainable(self) -> int:
        """Return the number of trainable parameters, decoder excluded."""
        return sum(p.numel() for group in self.parameter_groups() for p in group["params"])

    def stored_values(self) -> int:
        """Return how many values an estimation phase has stored at its end; checkpoints include them."""
        return 0

    def peak_values(self) -> int:
        """Return how many values an estimation phase has in memory at once, without gradients; others are in a file."""
        return self.stored_values()

    def report(self) -> dict[str, Any]:
        """Return JSON-serialisable facts about the finished run, to be stored in its record."""
        return {}

    def delta(self) -> dict[str, tuple[Tensor, Tensor]] | None:
        """Return the individual pre-trained weights that the run has changed; None if the method is not sparse.

        All other weights of the backbone are bit-identical to the pre-trained ones, and no module is added.

        Returns:
            parameter name within the backbone to flat positions (ascending, int32 or int64) and values.
        """
        return None

    def trained(self) -> dict[str, Tensor]:
        """Return the tensors that the finished model needs besides the pre-trained weights.

        These are, by name within the backbone, all trainable parameters and the full state of added modules. Loading
        them after attaching the method again, with the same hyperparameters and the same pre-trained weights, restores
        the model.
        """
        tunes = {id(parameter) for group in self.parameter_groups() for parameter in group["params"]}
        names = {name for name, parameter in self.backbone.named_parameters() if id(parameter) in tunes}
        added = tuple(f"{name}." for name in self._added)
        state = self.backbone.state_dict()
        return {name: tensor for name, tensor in state.items() if name in names or name.startswith(added)}

    def merged(self) -> dict[str, Tensor]:
        """Return weights with which the plain backbone computes what the tuned one does, up to rounding.

        As it is, this serves methods that change only the backbone's own weights. A method whose modules are equivalent
        to other weights overrides it: it changes :meth:`plain_state`, computing in float64. Any other method says in
        :attr:`unmergeable` why that is impossible.

        Returns:
            all tensors of the backbone under timm's names, in the precision of the backbone.

        Raises:
            UserError: the change cannot be merged into weights of this backbone.
        """
        if self._added or self._hooks:
            why = self.unmergeable or f"{type(self).__name__} adds modules and does not define merged()"
            raise UserError(f"{self.label} cannot be merged into the backbone's weights: {why}")
        return self.plain_state()

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume, besides weights and optimizer: tensors, numbers, nested dicts."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""

    # -- provided ----------------------------------------------------------------------------------------

    def begin(self, backbone: Backbone, *, train_pretrained: bool = False) -> None:
        """Store the backbone and freeze all its pre-trained parameters, or make all trainable."""
        self.backbone = backbone
        self._train_pretrained = train_pretrained
        backbone.requires_grad_(train_pretrained)

    def add(self, name: str, module: nn.Module) -> None:
        """Register a new trainable module on the backbone, so that checkpoints and DDP include it."""
        if hasattr(self.backbone, name):
            raise ValueError(f"the backbone already has an attribute {name!r}")
        parameter = next(self.backbone.parameters())
        self.backbone.add_module(name, module.to(parameter.device).train(self.backbone.training))
        self._added[name] = module

    def hook(self, handle: Any) -> None:
        """Store the handle of a hook, which :meth:`detach` removes."""
        self._hooks.append(handle)

    def plain_state(self) -> dict[str, Tensor]:
        """Return copies of the backbone's own tensors under timm's names, without those of added modules."""
        state: dict[str, Tensor] = self.backbone.vit.state_dict()
        return {name: tensor.detach().clone() for name, tensor in state.items()}

    def detach(self) -> None:
        """Undo :meth:`attach`: remove hooks and added modules, and make all parameters trainable."""
        while self._hooks:
            self._hooks.pop().remove()
        while self._added:
            delattr(self.backbone, self._added.popitem()[0])
        self.backbone.requires_grad_(True)

    def train_mode(self) -> None:
        """Set train mode for a training step; frozen parts stay in eval mode (no drop path)."""
        self.backbone.train(self._train_pretrained)
        for module in self._added.values():
            module.train()
