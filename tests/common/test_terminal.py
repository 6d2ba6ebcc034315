"""Text that fits the terminal."""

from __future__ import annotations

import pytest

from benchmark.common.terminal import BOLD, PLAIN, aligned, fitting, wrapped


@pytest.mark.parametrize(
    ("room", "kept"),
    [
        (None, [0, 1, 2, 3]),
        (5 + 9 + 9 + 1 + 6, [0, 1, 2, 3]),
        (5 + 9 + 9 + 1 + 5, [0, 1, 2]),
        (5 + 9 + 1 + 4, [0, 1, 3]),  # 2 goes before 1; 3 went first and comes back
        (5 + 1 + 2, [0, 3]),
        (5, [0]),
        (1, [0]),
    ],
)
def test_columns_are_left_out_by_their_order_as_few_as_needed(room: int | None, kept: list[int]) -> None:
    assert fitting([5, 9, 9, 1], [0, 1, 1, 2], room) == kept


def test_cells_are_aligned_by_what_is_seen_of_them() -> None:
    assert aligned([["a", "12"], ["long", f"{BOLD}3{PLAIN}"]], [False, True]) == ["a     12", f"long   {BOLD}3{PLAIN}"]


def test_text_is_wrapped_between_words_only() -> None:
    assert wrapped("one two-three averylongword end", 9, "  ") == "one\n  two-three\n  averylongword\n  end"
    assert wrapped("one two", None) == "one two"
