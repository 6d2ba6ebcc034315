"""From the words of a command to jobs: method names, seeds, hyperparameters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from benchmark.common import registry
from benchmark.common.errors import UserError, nearest
from benchmark.protocol import UNREADABLE, Protocol
from benchmark.records import path_of
from benchmark.records.naming import PERTURBATION, PERTURBED, base
from benchmark.runs.job import Given, Job

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


def _value(text: str) -> Any:
    try:
        return float(text) if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", text) else yaml.safe_load(text)
    except UNREADABLE:
        return text
