"""FisherTune's settings: what the paper states, and our reading of what it leaves open."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import NonNegativeInt, model_validator

from benchmark.method import GROUPS, Group, Settings, setting

Criterion = Literal["drf", "delta-f", "f"]
Estimate = Literal["per-sample", "per-batch", "variational"]
LITERAL = {"damping": "signed", "scale": "none", "prior": 0.0, "schedule": "literal"}


class FisherTuneSettings(Settings):
    """Everything the paper leaves open is a field; what it states is marked so."""

    reading: Literal["reasoned", "literal"] = setting(
        "reasoned", "ours", "literal: equations 5, 7 and 16 as printed, for each field not given otherwise"
    )
    share: float = setting(0.05, "paper", "δ_max, of the whole backbone: 15.21 M of 304.20 M", gt=0, le=1)
    share_start: float = setting(0.01, "ours", "δ_min, unpublished; of the whole backbone", ge=0, le=1)
    groups: tuple[Group, ...] = setting(GROUPS, "paper", "Eq. 3: where to choose")
    schedule: Literal["widening", "literal"] = setting(
        "widening", "ours", "Eq. 16 shrinks as printed, but its text says that the set widens"
    )
    ranking: Literal["global", "per-tensor"] = setting(
        "global", "ours", "unpublished; 5 % of 304.20 M is one budget for all tensors"
    )
    criterion: Criterion = setting("drf", "paper", "Eq. 7; Table 4 has the others")
    estimator: Estimate = setting(
        "per-sample",
        "ours",
        "Eq. 9, with Eq. 14's prior in closed form, is stablest per gradient evaluation; variational fits Λ "
        "(Eq. 10-13) at twice the cost and mostly noise; per-batch squares a batch's gradient, as most code does",
    )
    tau: float = setting(0.1, "ours", "τ of the variational prior, in units of the weights' RMS", gt=0)
    labels: Literal["sampled", "ground-truth"] = setting(
        "sampled", "paper", "Eq. 9 draws y from the model; the other is the empirical Fisher"
    )
    decoder_first: float = setting(
        0.1,
        "ours",
        "T1, unpublished; of the iterations, where the protocol (as Rein's) has no decoder warm-up: F of an untrained "
        "decoder would rank the backbone's weights by chance",
        ge=0,
        lt=1,
    )
    estimation: float = setting(0.1, "ours", "T2, unpublished; of the iterations", gt=0, lt=1)
    place: Literal["pixels", "embedding"] | NonNegativeInt = setting(
        "embedding", "ours", "where x' is formed, unpublished; features, and early enough for every block to see"
    )
    noise: Literal["channel", "batch"] = setting("channel", "ours", "who shares ε, unpublished; DSU's way")
    damping: Literal["magnitude", "signed"] = setting(
        "magnitude", "ours", "in exp(-(ε_μ + ε_σ)); signed would amplify half of all shifts"
    )
    scale: Literal["rank", "median", "none"] = setting(
        "rank", "ours", "how F and ΔF are made comparable before they are added; Eq. 7 adds them as they are"
    )
    prior: float = setting(1.0, "ours", "γτ⁻² in units of the mean F, unpublished; bounds ΔF where F is 0", ge=0)
    lr: float = setting(1e-4, "ours", "unpublished; that of Rein, whose training the paper follows", gt=0, le=1)
    weight_decay: float = setting(0.05, "ours", "unpublished; that of Rein; on selected weights", ge=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _literally(cls, given: Any) -> Any:
        literal = isinstance(given, dict) and given.get("reading") == "literal"
        return {**LITERAL, **given} if literal else given

    @model_validator(mode="after")
    def _consistent(self) -> FisherTuneSettings:
        if self.share_start > self.share:
            raise ValueError(f"share_start {self.share_start} exceeds share {self.share}; lower it")
        if self.estimator == "variational" and self.prior == 0:
            raise ValueError("the variational estimator needs a prior above 0")
        return self
