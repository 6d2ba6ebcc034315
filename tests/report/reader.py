"""A strict HTML parser: elements must be closed in order, and ids must be unique."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """The content of a page; raises AssertionError if it is not well-formed.

    Attributes:
        texts: (tag, text) of every element with text, in order.
        attributes: (tag, attributes) of every element, in order.
        ids: all ids.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, dict[str, str]]] = []
        self.ids: set[str] = set()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        assert len(found) == len(attrs), (tag, attrs)
        self.attributes.append((tag, found))
        if "id" in found:
            assert found["id"] not in self.ids, found["id"]
            self.ids.add(found["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def values(self, tag: str, name: str) -> list[str]:
        """Return the values of attribute ``name`` of elements ``tag``."""
        return [attributes[name] for each, attributes in self.attributes if each == tag and name in attributes]

    def all_of(self, tag: str) -> list[str]:
        """Return the texts directly inside elements ``tag``."""
        return [text for each, text in self.texts if each == tag]
