"""Pages in a headless Chromium, controlled through Selenium."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

KEEP = "DGSS_BENCHMARK_BROWSER"
"""Environment variable: folder to keep screenshots in; if set, a missing browser fails the test."""
DESKTOP, PHONE = (1280, 900), (390, 844)


def chromium() -> Iterator[Any]:
    """Yield the browser; skip the test if there is none."""
    browser, service = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and service and find_spec("selenium")):
        assert not os.environ.get(KEEP), f"{KEEP} is set, and selenium, chromium or chromedriver is missing"
        pytest.skip("needs selenium, and Chromium with its driver (Debian: chromium, chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(service))
    yield found
    found.quit()


def show_at(driver: Any, address: str, size: tuple[int, int], scheme: str) -> None:
    """Open a page with a window size and a colour scheme."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.get(address)


def keep(driver: Any, name: str) -> None:
    """Save a screenshot, if asked for."""
    if kept := os.environ.get(KEEP):
        Path(kept).mkdir(parents=True, exist_ok=True)
        driver.save_screenshot(str(Path(kept, f"{name}.png")))


def requests(driver: Any) -> list[str]:
    """Return the addresses requested since the last call of ``driver.get_log``."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [url for url in asked if not url.startswith("data:")]


def contrasts(driver: Any, selectors: list[str], scheme: str) -> dict[str, float]:
    """Return the contrast (WCAG 2.1) of the first element of each selector with what is behind it."""
    script = """
        const behind = (each) => {
          const color = getComputedStyle(each).backgroundColor;
          return color === 'rgba(0, 0, 0, 0)' ? behind(each.parentElement) : color;
        };
        return arguments[0].map((selector) => {
          const each = document.querySelector(selector);
          return [getComputedStyle(each).color, behind(each)];
        });
    """
    (_, page), *pairs = driver.execute_script(script, ["body", *selectors])
    assert (luminance(page) > 0.5) == (scheme == "light")
    found = {}
    for selector, pair in zip(selectors, pairs, strict=True):
        darker, lighter = sorted(map(luminance, pair))
        found[selector] = (lighter + 0.05) / (darker + 0.05)
    return found


def luminance(color: str) -> float:
    """Return the relative luminance of ``rgb(r, g, b)`` (WCAG 2.1)."""
    channels = [int(part) / 255 for part in color.removeprefix("rgb(").rstrip(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
