"""A real browser without a window: Debian's Chromium, driven by selenium, with a profile that is thrown away."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

_QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


@contextmanager
def browser() -> Iterator[Chrome]:
    """Yield a browser that records its console and its requests.

    Raises:
        FileNotFoundError: Chromium or its driver is not installed; scripts/system_packages.sh installs both.
    """
    os.environ["SE_OFFLINE"] = "true"  # selenium must not look for a driver elsewhere
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise FileNotFoundError(f"{' and '.join(missing)} not installed; run `make system`")
    with tempfile.TemporaryDirectory(prefix="edgeglm-browser-", ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = str(found["chromium"])
        for argument in (*_QUIET, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(options=options, service=Service(executable_path=found["chromedriver"]))
        try:
            driver.set_page_load_timeout(60)
            yield driver
        finally:
            driver.quit()


def show(driver: Chrome, page: Path, *, width: int, height: int, dark: bool = False) -> None:
    """Open a file at this size of the visible page, as a phone or a desktop would."""
    set_size(driver, width=width, height=height, dark=dark)
    driver.get(page.resolve().as_uri())


def set_size(driver: Chrome, *, width: int, height: int, dark: bool = False) -> None:
    """Set the size of the visible page and the colour scheme the reader prefers."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
