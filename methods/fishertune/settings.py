"""Hyperparameters of FisherTune: values that the paper states, and our choices where it states none."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import NonNegativeInt, model_validator

from benchmark.method import GROUPS, Group, Settings, setting

Criterion = Literal["drf", "delta-f", "f"]
Estimate = Literal["per-sample", "per-batch", "variational"]
LITERAL = {"damping": "signed", "scale": "none", "prior": 0.0, "schedule": "literal"}


class FisherTuneSettings(Settings):
    """Every choice that the paper leaves open is a field; values from the paper have origin ``paper``."""

    reading: Literal["reasoned", "literal"] = setting(
        "reasoned", "ours", "literal: Eq. 5, 7 and 16 as printed, for all fields that are not given"
    )
    share: float = setting(
        0.05, "paper", "δ_max, fraction of the whole backbone: 15.21 M of a ViT-L's 304.20 M", gt=0, le=1
    )
    share_start: float = setting(0.01, "ours", "δ_min, fraction of the whole backbone; unpublished", ge=0, le=1)
    groups: tuple[Group, ...] = setting(GROUPS, "paper", "matrices to select from (Eq. 3)")
    schedule: Literal["widening", "literal"] = setting(
        "widening", "ours", "Eq. 16 as printed shrinks the selection, but the text says that it widens"
    )
    ranking: Literal["global", "per-tensor"] = setting(
        "global", "ours", "unpublished; 5 % of 304.20 M suggests one budget for all tensors"
    )
    criterion: Criterion = setting("drf", "paper", "Eq. 7; Table 4 has the others")
    estimator: Estimate = setting(
        "per-sample",
        "ours",
        "Eq. 9 with the prior of Eq. 14 in closed form is the most stable per gradient evaluation; variational fits Λ "
        "(Eq. 10-13) at twice the cost and is mostly noise; per-batch squares batch gradients, as most code does",
    )
    tau: float = setting(0.1, "ours", "τ of the variational prior, relative to the RMS of the weights", gt=0)
    labels: Literal["sampled", "ground-truth"] = setting(
        "sampled", "paper", "Eq. 9 samples y from the model; ground-truth gives the empirical Fisher"
    )
    decoder_first: float = setting(
        0.1,
        "ours",
        "T1, unpublished; fraction of the iterations that train only the decoder, for protocols without decoder "
        "warm-up (Rein's): with an untrained decoder, F would rank the weights of the backbone randomly",
        ge=0,
        lt=1,
    )
    estimation: float = setting(0.1, "ours", "T2, unpublished; fraction of the iterations", gt=0, lt=1)
    place: Literal["pixels", "embedding"] | NonNegativeInt = setting(
        "embedding", "ours", "where x' is computed, unpublished; features, before the first block"
    )
    noise: Literal["channel", "batch"] = setting(
        "channel", "ours", "whether ε differs between channels and samples, unpublished; as in DSU"
    )
    damping: Literal["magnitude", "signed"] = setting(
        "magnitude", "ours", "in exp(-(ε_μ + ε_σ)); signed amplifies half of all shifts"
    )
    scale: Literal["rank", "median", "none"] = setting(
        "rank", "ours", "how F and ΔF are rescaled before they are added; Eq. 7 does not rescale"
    )
    prior: float = setting(1.0, "ours", "γτ⁻² relative to the mean of F, unpublished; bounds ΔF where F is 0", ge=0)
    lr: float = setting(1e-4, "ours", "unpublished; same as Rein, whose training the paper follows", gt=0, le=1)
    weight_decay: float = setting(0.05, "ours", "on selected weights, unpublished; same as Rein", ge=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _literally(cls, given: Any) -> Any:
        literal = isinstance(given, dict) and given.get("reading") == "literal"
        return {**LITERAL, **given} if literal else given

    @model_validator(mode="after")
    def _consistent(self) -> FisherTuneSettings:
        if self.share_start > self.share:
            raise ValueError(f"share_start {self.share_start} exceeds share {self.share}; lower share_start")
        if self.estimator == "variational" and self.prior == 0:
            raise ValueError("estimator=variational needs prior > 0")
        return self
