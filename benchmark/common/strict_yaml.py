"""YAML in which no key of a mapping is given twice, of which plain YAML silently keeps the last."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from typing import Any

import yaml

UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)
"""Exceptions of the parser: its own, those of invalid dates or numbers (``2001-99-99``), and of deep nesting."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe parser, which also refuses a key that is given twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Return the mapping.

        Raises:
            yaml.YAMLError: a key is given twice; the message names the key and its line.
        """
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.YAMLError(
                        f"{key.value!r} is given twice, again in line {key.start_mark.line + 1}; rename one"
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(text: str) -> Any:
    """Return the content of a YAML file.

    Raises:
        one of :data:`UNREADABLE`: the text is not YAML, or a key is given twice.
    """
    return deepcopy(_parsed(text))  # callers may change it


# Parsing a protocol takes ten times as long as copying it.
@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
