"""Hyperparameters of FisherTune: values that the paper states, and our choices where it states none."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import NonNegativeInt, model_validator

from benchmark.method import GROUPS, Deviations, EstimateSettings, Group, setting
from methods.fishertune.schedule import Schedule

Criterion = Literal["drf", "delta-f", "f", "random"]
Estimate = Literal["per-sample", "per-batch", "variational"]
LITERAL = {"damping": "signed", "scale": "none", "prior": 0.0, "schedule": "literal"}


class FisherTuneSettings(EstimateSettings):
    """Every choice that the paper leaves open is a field; values from the paper have origin ``paper``."""

    reading: Literal["reasoned", "literal"] = setting(
        "reasoned", "ours", "literal: Eq. 5, 7 and 16 as printed, for all fields that are not given"
    )
    share: float = setting(
        0.05, "paper", "δ_max, fraction of the whole backbone: 15.21 M of a ViT-L's 304.20 M", gt=0, le=1
    )
    share_start: float = setting(0.01, "ours", "δ_min, fraction of the whole backbone; unpublished", ge=0, le=1)
    groups: tuple[Group, ...] = setting(GROUPS, "paper", "matrices to select from (Eq. 3)")
    schedule: Schedule = setting(
        "widening",
        "ours",
        "Eq. 16 as printed shrinks the selection (literal), but the text says that it widens; threshold-value and "
        "threshold-percentile read it as a threshold on DR-FIM, which falls; constant selects everything at once",
    )
    ranking: Literal["global", "per-tensor"] = setting(
        "global", "ours", "unpublished; 5 % of 304.20 M suggests one budget for all tensors"
    )
    criterion: Criterion = setting("drf", "paper", "Eq. 7; Table 4 has the others; random estimates nothing")
    estimator: Estimate = setting(
        "variational",
        "paper",
        "Eq. 10-14: fits the precision Λ of a posterior; per-sample averages squared gradients (Eq. 9) and bounds ΔF "
        "by the prior in closed form; per-batch squares batch gradients, as most code does",
    )
    images: int = setting(512, "ours", "T2, unpublished; as many gradient evaluations as about 250 iterations", ge=1)
    tau: float = setting(0.1, "ours", "τ of the variational prior, relative to the RMS of the weights", gt=0)
    labels: Literal["sampled", "ground-truth"] = setting(
        "sampled", "paper", "Eq. 9 samples y from the model; ground-truth gives the empirical Fisher"
    )
    shifted_labels: Literal["same", "redrawn"] = setting(
        "same", "paper", "y for x': Eq. 5 prints F(x, y) and F(x', y); redrawn samples y' from f(y|x')"
    )
    place: Literal["pixels", "embedding"] | NonNegativeInt = setting(
        "embedding", "ours", "where x' is computed, unpublished; features, before the first block"
    )
    noise: Literal["channel", "sample", "batch"] = setting(
        "channel", "ours", "one ε per sample and channel, as in DSU, per sample, or per batch; unpublished"
    )
    deviations: Deviations = setting("unbiased", "ours", "Σ of Eq. 6, unpublished; as in DSU's released code")
    damping: Literal["magnitude", "signed"] = setting(
        "magnitude", "ours", "|ε| or ε in exp(-(ε_μ + ε_σ)); signed amplifies half of all shifts"
    )
    damping_per: Literal["estimate", "batch", "sample"] = setting(
        "estimate",
        "ours",
        "what exp(-(ε_μ + ε_σ)) weights, unpublished: the whole ΔF by its mean, which is nearly a constant; or each "
        "batch or sample within ΔF by its own, so that a larger shift counts less",
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
        if not isinstance(given, dict) or given.get("reading") != "literal":
            return given
        estimator = given.get("estimator", cls.model_fields["estimator"].default)
        # The posterior cannot be fitted without its prior; Eq. 15 has one.
        bound = {"prior": 1.0} if estimator == "variational" else {}
        return {**LITERAL, **bound, **given}

    @model_validator(mode="after")
    def _consistent(self) -> FisherTuneSettings:
        if self.share_start > self.share:
            raise ValueError(f"share_start {self.share_start} exceeds share {self.share}; lower share_start")
        if self.estimator == "variational" and self.prior == 0:
            raise ValueError("estimator=variational needs prior > 0")
        if self.schedule.startswith("threshold") and self.ranking == "per-tensor":
            raise ValueError(
                f"schedule={self.schedule} compares all weights with one threshold, ranking=per-tensor gives each "
                "matrix its own; use ranking=global"
            )
        if self.damping_per == "sample" and self.noise == "batch":
            raise ValueError("damping_per=sample needs an ε per sample, noise=batch draws one; use damping_per=batch")
        if self.shifted_labels == "redrawn" and self.labels == "ground-truth":
            raise ValueError("shifted_labels=redrawn samples labels, labels=ground-truth does not; leave one out")
        return self
