"""What is said above and below a table: conditions, failures, missing seeds, sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.records import Record
from benchmark.tables.beside import Figure
from benchmark.tables.runs import Runs

SPELLING = {
    "gta5": "GTA5", "bdd100k": "BDD100K", "acdc": "ACDC", "camvid": "CamVid", "synthia": "SYNTHIA",
    "urbansyn": "UrbanSyn", "foggy-zurich": "Foggy Zurich", "foggy-driving": "Foggy Driving",
    "dark-zurich": "Dark Zurich", "nighttime-driving": "Nighttime Driving",
}  # fmt: skip
REASON_LENGTH = 90


def caption(runs: Runs) -> str:
    """Return the conditions of one protocol's runs."""
    first = runs.all[0]
    fields = first.protocol_fields
    sources = " + ".join(spelling(str(part["dataset"])) for part in _sources(fields))
    trained = f" on {sources}" if sources else ""
    length = f" after {fields['iterations']} iterations" if "iterations" in fields else ""
    seeds = runs.seeds()
    over = f"mean ± standard deviation over n of the seeds {_list(seeds)}" if len(seeds) > 1 else f"seed {_list(seeds)}"
    return (
        f"Protocol {first.protocol}, backbone {first.backbone}: mIoU in %{length}{trained}, "
        f"{over if seeds else 'no run has finished'}. Fingerprint {first.fingerprint[:12]}."
    )


def conditions(runs: Runs) -> list[str]:
    """Return what the main table's columns hold."""
    counts = sorted({r.trainable.decoder for r in runs.all if r.trainable is not None and r.trainable.decoder})
    # A method that offers its own queries trains a few more or fewer of the decoder's weights.
    span = " to ".join(dict.fromkeys(f"{count / 1e6:.2f}" for count in (*counts[:1], *counts[-1:])))
    also = f"; the decoder's {span} M train in every row" if counts else ""
    return [
        f"Trained: parameters of the backbone's side, in millions{also}.",
        f"Source: {_scored(runs.all[0].protocol_fields)} images of the source. Avg.: of the unseen domains. "
        "CPU-s: processor time of one run.",
        "Oracle gap: how far the best of a run's scorings on the unseen domains lies above the last, which counts.",
    ]


def of_runs(runs: Runs) -> list[str]:
    """Return what sets some runs apart from the others: unequal effort, missing seeds, failures."""
    notes = _effort(runs)
    everyone = runs.seeds()
    for method, seeds in runs.finished.items():
        if seeds and sorted(seeds) != everyone:
            notes.append(f"{runs.label(method)}: seed{'s' if len(seeds) > 1 else ''} {_list(sorted(seeds))} only.")
    for record in runs.all:
        if record.state == "failed":
            notes.append(
                f"{runs.label(record.method)}, seed {record.seed}, failed and is not averaged: {_reason(record)}."
            )
    return notes


@dataclass
class Cited:
    """The published figures that a table shows: which rows, by source, and the errata that come with them."""

    rows: dict[str, list[str]] = field(default_factory=dict)
    errata: dict[str, None] = field(default_factory=dict)

    def cite(self, figure: Figure, label: str) -> None:
        """Remember that the row of that label shows a figure."""
        labels = self.rows.setdefault(figure.source, [])
        if label not in labels:
            labels.append(label)
        self.errata |= dict.fromkeys(figure.errata)

    def notes(self) -> list[str]:
        """Return where the figures are from, which rows show them where that differs, and the errata."""
        if not self.rows:
            return []
        alone = len(self.rows) == 1
        named = "; ".join(source if alone else f"{source} ({', '.join(each)})" for source, each in self.rows.items())
        return [f"Publ.: as printed in {named}. Δ: measured less published.", *self.errata]


def _sources(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    stated = fields.get("source")
    parts = stated if isinstance(stated, list) else [stated]
    return [part for part in parts if isinstance(part, dict) and "dataset" in part]


def _scored(fields: Mapping[str, Any]) -> str:
    """Return which images of the source are scored: a protocol that trains on all of them holds none out."""
    scored = fields.get("validation") or {}
    among = any(all(part.get(key) == scored.get(key) for key in ("dataset", "split")) for part in _sources(fields))
    return "trained-on" if among else "held-out"


def _effort(runs: Runs) -> list[str]:
    """Say so where the learning rates of some rows were searched and those of others were not."""
    rates = {runs.label(r.method): r.origins["lr"] for r in runs.all if r.state == "finished" and "lr" in r.origins}
    without = [label for label, origin in rates.items() if origin != "search"]
    if not without or len(without) == len(rates):
        return []
    return [f"Learning rate not searched, unlike the others': {', '.join(without)}."]


def _reason(record: Record) -> str:
    reason = " ".join((record.error or "").split()).rstrip(".")
    return reason if len(reason) <= REASON_LENGTH else reason[: REASON_LENGTH - 1] + "…"


def spelling(name: Any) -> str:
    """Return a domain's or data set's name in print."""
    return SPELLING.get(name, str(name)[:1].upper() + str(name)[1:])


def _list(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
