"""Try every mutation, and write what was found; see :mod:`tests.mutations`."""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

from tests.mutations import ROOT, Mutation, server, table

RESULTS = ROOT / "results" / "check"
Key = tuple[str, str, str]


def main() -> None:
    """Try the mutations in random order; earlier results of those that are left out are kept."""
    parser = argparse.ArgumentParser(description="Try every mutation and write which ones the micro-cases find.")
    parser.add_argument("--only", default="", help="only mutations whose file or text contains this")
    parser.add_argument("--new", action="store_true", help="only mutations without a result")
    parser.add_argument("--survivors", action="store_true", help="only those that no case found the last time")
    given = parser.parse_args()
    known = results()
    chosen = [each for each in table() if given.only in f"{each.file} {each.old} {each.new}"]
    if given.new or given.survivors:
        chosen = [each for each in chosen if (given.new and each.key not in known)
                  or (given.survivors and not known.get(each.key, {"found": True})["found"])]  # fmt: skip
    chosen.sort(key=lambda each: hashlib.sha256(repr(each.key).encode()).digest())
    server.load_libraries()
    with tempfile.TemporaryDirectory(prefix="dgss-mutations-") as place:
        folder = Path(place)
        server.copy(folder)
        server.load_copy(folder)
        seconds = unchanged(folder)
        for mutation in chosen:
            answer = server.tried(folder, mutation, seconds=seconds)
            line = answer["line"]
            known[mutation.key] = {"found": bool(line), "by": line, "cpu_seconds": round(answer["cpu"], 1)}
            title = f"{mutation.file}: {mutation.new!r}"
            print(f"{answer['cpu']:4.0f} s  {title}: {line or 'SURVIVED'}", flush=True)
            write(known)


def unchanged(folder: Path) -> dict[str, float]:
    """Return the CPU time of every case of the code as it is.

    Raises:
        SystemExit: it differs from its references, so nothing would be learnt from mutations.
    """
    whole = server.tried(folder, None)
    if whole["line"]:
        raise SystemExit(f"the code as it is differs from its references: {whole['line']}")
    print(f"unchanged: {len(whole['seconds'])} cases in {whole['cpu']:.0f} CPU-s", flush=True)
    return dict(whole["seconds"])


def results() -> dict[Key, dict[str, Any]]:
    """Return the results of the last time, by file, old and new text."""
    path = RESULTS / "mutations.yaml"
    rows = yaml.safe_load(path.read_text(encoding="utf-8"))["mutations"] if path.exists() else []
    return {(row.pop("file"), row.pop("old"), row.pop("new")): row for row in rows}


def write(known: dict[Key, dict[str, Any]]) -> None:
    """Write the results of the mutations in the table, and the page with the score and the survivors."""
    tried = [(each, known[each.key]) for each in table() if each.key in known]
    rows = [{"file": each.file, "old": each.old, "new": each.new, **row} for each, row in tried]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    text = yaml.safe_dump(
        {"commit": head.strip() or None, "mutations": rows}, sort_keys=False, width=1000, allow_unicode=True
    )
    (RESULTS / "mutations.yaml").write_text(text, encoding="utf-8")
    (RESULTS / "README.md").write_text(page(tried), encoding="utf-8")


def page(tried: list[tuple[Mutation, dict[str, Any]]]) -> str:
    """Return the score by folder and the mutations that were not found, as Markdown."""
    places: dict[str, list[bool]] = defaultdict(list)
    for each, row in tried:
        parts = each.file.split("/")
        places["/".join(parts[:2]) if parts[0] == "benchmark" else parts[0]].append(row["found"])
    found = sum(row["found"] for _, row in tried)
    lines = [
        "# What `check` finds", "",
        f"The micro-cases of `python -m benchmark check` find {found} of {len(tried)} small mutations of the code",
        f"({found / max(len(tried), 1):.0%}), without a training run and on any machine. A mutation changes a constant",
        "or a sign, an argument or an index, or leaves out a call. All are in `tests/mutations/table.yaml`; the first",
        "number that each changes is in `mutations.yaml`. To repeat: `tox -e mutations`.", "",
        "| Folder | Mutations | Found |", "|---|---:|---:|",
        *(f"| `{place}/` | {len(each)} | {sum(each)} |" for place, each in sorted(places.items())),
    ]  # fmt: skip
    left = [each for each, row in tried if not row["found"]]
    if left:
        lines += ["", "Not found:", "", "| File | Instead of | Mutation | Why |", "|---|---|---|---|"]
        lines += [f"| `{each.file}` | {_code(each.old)} | {_code(each.new)} | {each.reason} |" for each in left]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return f"`{' '.join(text.split())}`".replace("|", "\\|")


if __name__ == "__main__":
    main()
