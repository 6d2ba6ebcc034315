"""The page in Chromium: sorting, toggling, phone layout, dark mode, and no network requests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.records import read_all
from benchmark.report.page import html
from tests.chromium import DESKTOP, PHONE, contrasts, keep, requests, show_at
from tests.records.made import stored

HOSTILE = "<script>window.taken = 1</script><img src=http://127.0.0.1/x onerror='window.taken = 2'>"
Show = Callable[..., None]


@pytest.fixture(scope="module")
def page(driver: Any, runs: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with two real runs with predictions and three synthetic methods, one with a malicious label."""
    root = tmp_path_factory.mktemp("page")
    shutil.copytree(runs, root / "records")
    for method, accuracy in (("freeze", 0.6), ("lora", 0.9), ("bitfit", 0.7)):
        for seed in (0, 1):
            label: dict[str, Any] = {"label": HOSTILE} if method == "bitfit" else {}
            stored(root / "records", method, seed, accuracy, protocol="own", **label)
    output = root / "report.html"
    output.write_text(html(read_all(root / "records"), root, root / "records", tiny_data), encoding="utf-8")
    return output


@pytest.fixture
def show(driver: Any, page: Path, request: pytest.FixtureRequest) -> Iterator[Show]:
    """Return a function that opens the page with a window size and colour scheme; save a screenshot at the end."""

    def open_page(size: tuple[int, int] = DESKTOP, scheme: str = "light") -> None:
        show_at(driver, page.as_uri(), size, scheme)

    yield open_page
    keep(driver, request.node.name)


def column(driver: Any, place: int) -> list[str]:
    """Return the values of a column of the first table, row by row."""
    script = (
        "const table = document.querySelector('#part1 table');"
        "return [...table.tBodies[0].rows].map(row => row.cells[arguments[0]].dataset.value ?? '')"
    )
    found: list[str] = driver.execute_script(script, place)
    return found


def click(driver: Any, selector: str, place: int = 0) -> None:
    driver.find_elements("css selector", selector)[place].click()


def test_clicks_on_a_heading_sort_reverse_and_restore(driver: Any, show: Show) -> None:
    show()
    head = "#part1 table thead button"
    before = column(driver, 6)
    assert len(before) == 3
    assert before != sorted(before)
    click(driver, head, 6)
    assert column(driver, 6) == sorted(before, key=float, reverse=True)
    assert driver.find_elements("css selector", "#part1 table thead th")[6].get_attribute("aria-sort") == "descending"
    click(driver, head, 6)
    assert column(driver, 6) == sorted(before, key=float)
    click(driver, head, 6)
    assert column(driver, 6) == before
    assert not driver.find_elements("css selector", "[aria-sort]")


def test_the_keyboard_sorts_too(driver: Any, show: Show) -> None:
    show()
    before = column(driver, 2)
    driver.find_elements("css selector", "#part1 table thead button")[2].send_keys("\ue007")
    assert column(driver, 2) == sorted(before, key=float, reverse=True)


def test_predictions_and_errors_are_toggled(driver: Any, show: Show) -> None:
    show()

    def seen() -> tuple[bool, bool]:
        kinds = [driver.find_element("css selector", f"#part2 .{kind}") for kind in ("prediction", "errors")]
        return kinds[0].is_displayed(), kinds[1].is_displayed()

    assert seen() == (True, True)
    for value, expected in (("predictions", (True, False)), ("errors", (False, True)), ("both", (True, True))):
        click(driver, f"#part2 input[value={value}]")
        assert seen() == expected
    grids = driver.find_elements("css selector", "#part2 .grid")
    assert [grid.get_attribute("open") is not None for grid in grids] == [True, False] * 3
    click(driver, "#part2 .grid summary", 1)
    assert grids[1].get_attribute("open") is not None


def test_every_picture_is_displayed(driver: Any, show: Show) -> None:
    show()
    widths = driver.execute_script("return [...document.images].map(each => each.naturalWidth)")
    assert len(widths) > 20
    assert min(widths) > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_the_method_column_is_sticky(driver: Any, show: Show, scheme: str) -> None:
    show(PHONE, scheme)
    driver.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    assert driver.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
    lefts = (
        "const box = document.querySelector('#part1 .scroll');"
        "const read = () => box.querySelector('tbody th').getBoundingClientRect().left;"
        "const before = read(); box.scrollLeft = 200; return [before, read(), box.scrollLeft]"
    )
    before, after, scrolled = driver.execute_script(lefts)
    assert scrolled == 200
    assert before == after


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_sufficient_contrast(driver: Any, show: Show, scheme: str) -> None:
    show(scheme=scheme)
    found = contrasts(driver, ["h1", ".note", "a", "td small", "thead th", "dt"], scheme)
    assert min(found.values()) >= 4.5, found  # WCAG 2.1, AA


def test_there_are_no_requests_and_no_foreign_scripts(driver: Any, show: Show, page: Path) -> None:
    driver.get_log("performance")
    show()
    assert requests(driver) == [page.as_uri()]
    assert driver.execute_script("return window.taken ?? null") is None
    assert HOSTILE in driver.find_element("css selector", "#part1 table").text
    complaints = [entry for entry in driver.get_log("browser") if "Content Security Policy" in entry["message"]]
    assert complaints == []
    # The policy blocks injected images, scripts and requests.
    stopped = driver.execute_async_script(
        "const done = arguments[0]; const seen = [];"
        "document.addEventListener('securitypolicyviolation', e => { seen.push(e.effectiveDirective);"
        "  if (seen.length === 3) done(seen.sort()); });"
        "const image = new Image(); image.src = 'http://127.0.0.1:9/x.png'; document.body.append(image);"
        "const script = document.createElement('script'); script.textContent = 'window.taken = 3';"
        "document.body.append(script);"
        "fetch('http://127.0.0.1:9/').catch(() => {});"
    )
    assert stopped == ["connect-src", "img-src", "script-src-elem"]
    assert driver.execute_script("return window.taken ?? null") is None
