"""Captions and notes: conditions, failures, missing seeds, sources."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from benchmark.common.errors import printable
from benchmark.records import Record, ScoredIn
from benchmark.tables.beside import Figure
from benchmark.tables.runs import Runs

SPELLING = {
    "gta5": "GTA5", "bdd100k": "BDD100K", "acdc": "ACDC", "camvid": "CamVid", "synthia": "SYNTHIA",
    "urbansyn": "UrbanSyn", "idd-lite": "IDD-lite", "labelmefacade": "LabelMeFacade",
    "foggy-zurich": "Foggy Zurich", "foggy-driving": "Foggy Driving",
    "dark-zurich": "Dark Zurich", "nighttime-driving": "Nighttime Driving",
}  # fmt: skip
RENDERED = {"streets": "rendered streets", "streets-large": "rendered streets of 512x256"}
REASON_LENGTH = 90
ORACLE = "Oracle gap: best minus final evaluation on the unseen domains (only the final one counts)."


def caption(runs: Runs) -> str:
    """Return a caption that states the conditions of one protocol's runs."""
    first = runs.all[0]
    fields = first.protocol_fields
    if first.checkpoint is not None:
        return (
            f"Protocol {first.protocol}, backbone {first.backbone}: mIoU in % of released checkpoints, not trained "
            f"here.{unseen(fields)} Fingerprint {first.fingerprint[:12]}."
        )
    sources = _named(_sources(fields))
    trained = f" on {sources}" if sources else ""
    length = f" after {fields['iterations']} iterations" if "iterations" in fields else ""
    seeds = runs.seeds()
    over = f"mean ± standard deviation over n seeds ({_list(seeds)})" if len(seeds) > 1 else f"seed {_list(seeds)}"
    return (
        f"Protocol {first.protocol}, backbone {first.backbone}: mIoU in %{length}{trained}, "
        f"{over if seeds else 'no finished run'}.{unseen(fields)} Fingerprint {first.fingerprint[:12]}."
    )


def unseen(fields: Mapping[str, Any]) -> str:
    """Return a sentence on the unseen domains if they are rendered: their names may not show it."""
    stated = fields.get("targets")
    parts = [part for part in stated.values() if isinstance(part, dict)] if isinstance(stated, dict) else []
    shown = _named(part for part in parts if part.get("dataset") in RENDERED)
    return f" Unseen domains: {shown}." if shown else ""


def conditions(runs: Runs, *, cost: bool = True, oracle: bool = True) -> list[str]:
    """Return notes that explain the columns of the main table.

    Args:
        runs: those of the table.
        cost: whether there is a CPU time; else the notes say why there is none.
        oracle: whether there is a column of the oracle gap.
    """
    seconds = (
        "CPU time of one run, in seconds" if cost else "not shown, since the runs were computed on different machines"
    )
    counts = sorted({r.trainable.decoder for r in runs.all if r.trainable is not None and r.trainable.decoder})
    # A method with its own queries trains slightly more or fewer decoder weights.
    span = " to ".join(dict.fromkeys(f"{count / 1e6:.2f}" for count in (*counts[:1], *counts[-1:])))
    also = f" ({span} M, trained in every row)" if counts else ""
    return [
        f"Trainable: millions of trainable parameters, decoder excluded{also}.",
        *unreached(runs),
        f"Source: mIoU on {_scored(runs.all[0].protocol_fields)} source images. Avg.: mean over the unseen domains. "
        f"CPU-s: {seconds}.",
        *([ORACLE] if oracle else []),
        *training(runs.all[0].protocol_fields),
    ]


def training(fields: Mapping[str, Any]) -> list[str]:
    """Return notes on options of training that change results, where a protocol uses them."""
    sampled, perturbed = fields.get("rare_classes"), fields.get("perturbation")
    found = []
    if isinstance(sampled, dict):
        found.append(f"Training images are drawn by class, rare ones more often (T = {sampled.get('temperature')}).")
    if isinstance(perturbed, dict):
        where = "patch embedding" if (place := perturbed.get("place")) == "embedding" else f"block {place}"
        chance = perturbed.get("probability")
        found.append(f"Every method trains with perturbed features (after the {where}, probability {chance}).")
    return found


def unreached(runs: Runs) -> list[str]:
    """Return a note on the parameters that get no gradient, which the trainable ones do not include."""
    found = []
    for method, seeds in runs.finished.items():
        counts = sorted({record.trainable.unreached for record in seeds.values() if record.trainable is not None})
        if any(counts):
            span = " to ".join(dict.fromkeys(f"{count:,}" for count in (counts[0], counts[-1])))
            found.append(f"{runs.label(method)} {span}")
    return [f"More parameters get no gradient with this decoder: {', '.join(found)}."] if found else []


def of_runs(runs: Runs) -> list[str]:
    """Return notes on runs that differ from the others: learning rate not searched, missing seeds, failures."""
    notes = [*_merges(runs), *_effort(runs), *_estimates(runs), *_fewer_seeds(runs)]
    for record in runs.all:
        notes += [f"{runs.label(record.method)}, seed {record.seed}: {warning}." for warning in record.warnings]
        if record.state == "failed":
            notes.append(f"{runs.label(record.method)}, seed {record.seed}, failed and is excluded: {_reason(record)}.")
    return notes


def _fewer_seeds(runs: Runs) -> list[str]:
    """Return a note for each set of seeds that is not that of all runs together, with its rows."""
    everyone, rows = tuple(runs.seeds()), defaultdict[tuple[int, ...], list[str]](list)
    for method, seeds in runs.finished.items():
        rows[tuple(sorted(seeds))].append(runs.label(method))
    return [
        f"Seed{'s' if len(seeds) > 1 else ''} {_list(seeds)} only: {', '.join(labels)}."
        for seeds, labels in rows.items()
        if seeds and seeds != everyone
    ]


@dataclass
class Cited:
    """The published figures in a table: rows by source, and the errata that apply."""

    rows: dict[str, list[str]] = field(default_factory=dict)
    errata: dict[str, None] = field(default_factory=dict)

    def cite(self, figure: Figure, label: str) -> None:
        """Note that the row with this label shows a figure."""
        labels = self.rows.setdefault(figure.source, [])
        if label not in labels:
            labels.append(label)
        self.errata |= dict.fromkeys(figure.errata)

    def notes(self) -> list[str]:
        """Return the sources of the figures, with the rows if there are several sources, and the errata."""
        if not self.rows:
            return []
        alone = len(self.rows) == 1
        named = "; ".join(source if alone else f"{source} ({', '.join(each)})" for source, each in self.rows.items())
        return [f"Publ.: as printed in {named}. Δ: measured minus published.", *self.errata]


def _sources(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    stated = fields.get("source")
    parts = stated if isinstance(stated, list) else [stated]
    return [part for part in parts if isinstance(part, dict) and "dataset" in part]


def _named(parts: Iterable[Mapping[str, Any]]) -> str:
    """Return the printed names of splits' datasets, those of rendered streets with the looks."""
    found: dict[str, list[str]] = {}
    for part in parts:
        dataset, look = str(part["dataset"]), str(part.get("split")).partition("/")[0]
        found.setdefault(RENDERED.get(dataset) or spelling(dataset), []).extend([look] * (dataset in RENDERED))
    return " + ".join(f"{name} ({', '.join(looks)})" if looks else name for name, looks in found.items())


def _scored(fields: Mapping[str, Any]) -> str:
    """Return whether source mIoU is on held-out or training images: some protocols train on all of them."""
    scored = fields.get("validation") or {}
    among = any(all(part.get(key) == scored.get(key) for key in ("dataset", "split")) for part in _sources(fields))
    return "training" if among else "held-out"


def _merges(runs: Runs) -> list[str]:
    """Return a note on the targets that are scored in other classes than those trained on."""
    finished = [record for record in runs.all if record.state == "finished"]
    if not finished or not finished[0].scored_in:
        return []
    evaluation = finished[0].protocol_fields.get("evaluation")
    by = evaluation.get("merge_by", "argmax") if isinstance(evaluation, dict) else "argmax"
    how = {"argmax": "after the argmax", "probability": "by adding probabilities"}.get(str(by), str(by))
    targets: dict[ScoredIn, list[str]] = {}
    for name, each in finished[0].scored_in.items():
        targets.setdefault(each, []).append(spelling(name))
    found = []
    for each, names in targets.items():
        without = f" without {', '.join(each.excluded)}, which has no counterpart in training" if each.excluded else ""
        wrong = f" ({', '.join(each.wrong)} always count as wrong)" if each.wrong else ""
        found.append(f"{', '.join(names)} in the {len(each.classes)} of {spelling(each.labels)}{without}{wrong}")
    return [f"Scored in other classes than trained on, merged {how}: {'; '.join(found)}."]


def _effort(runs: Runs) -> list[str]:
    """Return a note if the learning rate was searched for some rows only."""
    rates = {runs.label(r.method): r.origins["lr"] for r in runs.all if r.state == "finished" and "lr" in r.origins}
    without = [label for label, origin in rates.items() if origin != "search"]
    if not without or len(without) == len(rates):
        return []
    return [f"Learning rate not searched, unlike for the other rows: {', '.join(without)}."]


def _estimates(runs: Runs) -> list[str]:
    """Return a note on each method whose estimate is fitted: how far the fit has converged, means over seeds."""
    notes = []
    for method, seeds in runs.finished.items():
        facts = [(run.report.get("convergence"), run.report.get("overlap_of_halves")) for run in seeds.values()]
        found = [pair for pair in facts if all(isinstance(value, (int, float)) for value in pair)]
        if found:
            signal, common = (100 * fmean(map(float, values)) for values in zip(*found, strict=True))
            notes.append(
                f"{runs.label(method)}: {signal:.0f} % of the variance of its fitted precisions is signal, the rest "
                f"noise; the two halves of its estimate have {common:.0f} % of the selected weights in common."
            )
    return notes


def _reason(record: Record) -> str:
    reason = printable(" ".join((record.error or "").split())).rstrip(".")
    return reason if len(reason) <= REASON_LENGTH else reason[: REASON_LENGTH - 1] + "…"


def spelling(name: Any) -> str:
    """Return the printed name of a domain or dataset; of a part of a dataset (``camvid-dusk``), "CamVid dusk"."""
    if name in SPELLING:
        return SPELLING[name]
    dataset, _, part = str(name).partition("-")
    if part and dataset in SPELLING:
        return f"{SPELLING[dataset]} {part}"
    return str(name)[:1].upper() + str(name)[1:]


def _list(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
