"""What self-contained pages have in common: the template environment, and inline style and script with their policy."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent


def environment(*folders: Path) -> Environment:
    """Return the environment of the templates in ``folders``; it escapes all values."""
    return Environment(
        loader=FileSystemLoader(folders), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def inline(styles: Sequence[Path], scripts: Sequence[Path]) -> dict[str, str]:
    """Return a page's ``style`` and ``script``, and its content security ``policy``.

    The policy allows only these, and pictures within the page: no requests and no other scripts.
    """
    style, script = ("".join(path.read_text(encoding="utf-8") for path in paths) for paths in (styles, scripts))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return {"style": Markup(style), "script": Markup(script), "policy": policy}


def _hash(text: str) -> str:
    """Return the content security policy source that allows this inline text."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
