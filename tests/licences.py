"""The licences of what the project depends on directly, as the installed packages state them: LICENCES.md.

``python -m tests.licences`` writes the file; tests/test_licences.py holds it to the truth.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "LICENCES.md"
COMPATIBLE = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC",
    "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib",
}  # fmt: skip
"""SPDX names of licences that go with Apache-2.0, this project's own, and with GPL-3.0."""
SPELLINGS = {
    "BSD-3-Clause": r"BSD( License)?|(New|3-Clause) BSD( License)?",
    "Apache-2.0": r"(LicenseRef-)?Apache([- ]2\.0)?|Apache (Software License|License,? (Version )?2\.0|2\.0 License)",
    "MIT": r"MIT License",
    "PSF-2.0": r"Python Software Foundation License|PSF|PSFL",
    "MPL-2.0": r"Mozilla Public License 2\.0 \(MPL 2\.0\)|MPL 2\.0",
}
"""What packages write that do not state an SPDX name yet."""
HEAD = """# Licences of the dependencies

As the packages state them, written by `python -m tests.licences`; a test compares it with what is installed, and
refuses a licence that does not go with Apache-2.0 and GPL-3.0. Wheels may hold further libraries under their own
licences (opencv-python: FFmpeg and Qt, LGPL): see each package.

| package | licence | for |
|:--------|:--------|:----|
"""


def dependencies() -> dict[str, str]:
    """Return the direct dependencies by name, and what each is for: ``run``, or the extra that asks for it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {"run": project["dependencies"], **project["optional-dependencies"]}
    found: dict[str, str] = {}
    for what, requirements in asked.items():
        for requirement in requirements:
            if named := re.match(r"[\w.-]+", requirement):
                found.setdefault(named[0], what)
    return found


def licences(package: str) -> set[str] | None:
    """Return the licences that a package states, by SPDX names where they are known; None if it is not installed."""
    try:
        stated: Any = metadata(package)
    except PackageNotFoundError:
        return None
    if expressions := stated.get_all("License-Expression"):
        parts = re.split(r" AND | OR |[()]", expressions[0])
    else:
        free = (stated.get_all("License") or [""])[0]
        classified = [line.rpartition(" :: ")[2] for line in stated.get_all("Classifier") or () if "License ::" in line]
        parts = [free] if free and len(free) < 40 and "\n" not in free else classified
    return {_spdx(part.strip()) for part in parts if part.strip()}


def _spdx(name: str) -> str:
    return next((spdx for spdx, spelling in SPELLINGS.items() if re.fullmatch(spelling, name)), name)


def rows() -> dict[str, set[str]]:
    """Return the licences that the file states, by package."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {name: set(stated.split(", ")) for name, stated, _ in cells[1:]}


def main() -> None:
    """Write the file."""
    known = rows() if FILE.is_file() else {}
    lines = []
    for name, what in sorted(dependencies().items(), key=lambda item: item[0].lower()):
        found = licences(name)
        lines.append(f"| {name} | {', '.join(sorted(known.get(name, set()) if found is None else found))} | {what} |\n")
    FILE.write_text(HEAD + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
