"""The site in Chromium: sorting, filters, where numbers come from, phone layout, dark mode, and no requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import DESKTOP, PHONE, contrasts, keep, requests, show_at
from tests.leaderboard.conftest import HOSTILE
from tests.leaderboard.test_site import GTAV, OWN

Show = Callable[..., None]


@pytest.fixture(scope="module")
def folder(driver: Any, files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site on disk."""
    root = tmp_path_factory.mktemp("site")
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


@pytest.fixture
def show(driver: Any, folder: Path, request: pytest.FixtureRequest) -> Iterator[Show]:
    """Return a function that opens a page with a window size and colour scheme; save a screenshot at the end."""

    def open_page(path: str, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> None:
        show_at(driver, (folder / path).as_uri(), size, scheme)

    yield open_page
    keep(driver, f"leaderboard-{request.node.name}".replace("/", "-"))


def shown(driver: Any) -> list[str]:
    """Return the labels of the rows on display, from top to bottom."""
    script = "return [...document.querySelectorAll('.entries tbody:not([hidden]) .more')].map(each => each.textContent)"
    found: list[str] = driver.execute_script(script)
    return found


def click(driver: Any, selector: str, place: int = 0) -> None:
    driver.find_elements("css selector", selector)[place].click()


def test_rows_are_sorted_with_their_runs(driver: Any, show: Show) -> None:
    show(OWN)
    before = shown(driver)
    assert before[0] == "Lora"
    click(driver, ".entries thead button", 1)
    head = driver.find_elements("css selector", ".entries thead th")[1]
    assert head.get_attribute("aria-sort") == "descending"
    assert shown(driver)[0] == "Lora"
    driver.find_elements("css selector", ".entries thead button")[1].send_keys("\ue007")  # Enter: by keyboard
    assert head.get_attribute("aria-sort") == "ascending"
    assert shown(driver)[-1] == "Lora"
    rows = driver.execute_script("return [...document.querySelector('.entries tbody:last-of-type').rows].length")
    assert rows == 1 + 3 + 1, "a row, three seeds, and where they come from"
    click(driver, ".entries thead button", 1)
    assert shown(driver) == before


def test_filters_hide_rows_and_say_how_many_are_left(driver: Any, show: Show) -> None:
    show(GTAV)
    total = len(shown(driver))
    driver.find_element("css selector", "input[type=search]").send_keys(" REIN")
    assert {label.strip("*") for label in shown(driver)} == {"Rein", "Rein + perturbation", "Freeze", "VPT"}
    click(driver, "input[value=published]")
    assert shown(driver) == ["Rein"]
    assert driver.find_element("css selector", "output").text == f"1 of {total} rows"


def test_boards_are_filtered_and_open_from_files(driver: Any, show: Show) -> None:
    show("index.html")
    click(driver, "input[value=published]")
    driver.find_element("css selector", "select[name=backbone]").send_keys("dinov2-l")
    links = [each for each in driver.find_elements("css selector", "tbody a") if each.is_displayed()]
    assert [link.text for link in links] == ["gtav-to-cbm@rein-test"]
    links[0].click()
    assert driver.find_element("css selector", "h1").text == "gtav-to-cbm@rein-test dinov2-l"


def test_a_cell_opens_the_runs_behind_it(driver: Any, show: Show) -> None:
    show(OWN)
    rows = "document.querySelectorAll('.entries tbody')[0].querySelectorAll('tr.seed')"
    state = f"return [...{rows}].map(row => [row.hidden, row.querySelector('.seen')?.cellIndex ?? null])"
    assert driver.execute_script(state) == [[True, None]] * 3
    driver.find_elements("css selector", ".entries tbody:first-of-type > tr:first-child > td")[2].click()
    assert driver.execute_script(state) == [[False, 3]] * 3
    click(driver, ".more")
    assert driver.execute_script(state) == [[True, None]] * 3
    button = driver.find_element("css selector", ".more")
    button.send_keys("\ue007")
    assert button.get_attribute("aria-expanded") == "true"
    details = driver.find_element("id", button.get_attribute("aria-controls"))
    assert "own/vit-tiny-streets/lora/seed2.json" in details.text
    assert "NVIDIA H200" in details.text
    click(driver, ".entries tbody:first-of-type .facts a")
    assert '"method": "lora"' in driver.find_element("css selector", "body").text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["index.html", OWN, GTAV])
def test_pages_fit_a_phone_and_the_first_column_is_sticky(driver: Any, show: Show, path: str, scheme: str) -> None:
    show(path, PHONE, scheme)
    driver.execute_script(
        "for (const each of document.querySelectorAll('details')) each.open = true;"
        "for (const each of document.querySelectorAll('.more')) each.click()"
    )
    assert driver.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
    lefts = (
        "const box = document.querySelector('.scroll');"
        "const read = () => ['tbody th', 'caption', '.facts div'].map(each => "
        "box.querySelector(each)?.getBoundingClientRect().left);"
        "const before = read(); box.scrollLeft = 60; return [before, read(), box.scrollLeft]"
    )
    before, after, scrolled = driver.execute_script(lefts)
    assert scrolled == 60
    assert before == after
    wide = "return [...document.querySelectorAll('.facts div')].map(each => each.getBoundingClientRect().width)"
    assert max(driver.execute_script(wide), default=0) <= PHONE[0] - 32


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_sufficient_contrast(driver: Any, show: Show, scheme: str) -> None:
    show(GTAV, scheme=scheme)
    driver.execute_script("for (const each of document.querySelectorAll('.more')) each.click()")
    names = [
        "h1",
        "h1 span",
        ".note",
        "a",
        "td small",
        "thead th",
        ".tag",
        "output",
        ".seed td",
        ".facts p",
        ".facts li",
    ]
    found = contrasts(driver, [*names, ".published td", ".published .tag", "footer p", "dt"], scheme)
    assert min(found.values()) >= 4.5, found  # WCAG 2.1, AA


def test_there_are_no_requests_and_no_foreign_scripts(driver: Any, show: Show, folder: Path) -> None:
    for log in ("performance", "browser"):  # of earlier pages
        driver.get_log(log)
    show(OWN)
    assert requests(driver) == [(folder / OWN).as_uri()]
    assert driver.execute_script("return window.taken ?? null") is None
    assert HOSTILE in driver.find_element("css selector", ".entries").text
    assert [each for each in driver.get_log("browser") if "Content Security Policy" in each["message"]] == []
