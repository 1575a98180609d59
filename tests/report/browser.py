"""The report in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Seen(NamedTuple):
    """What a page said and asked for while it opened, and how it came out with every part unfolded."""

    said: list[str]
    title: str
    scroll_width: int
    window_width: int


def opened(path: Path, *, width: int) -> Seen:
    """The page in a window of ``width`` CSS pixels."""
    from playwright.sync_api import sync_playwright

    said: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        title = page.title()
        browser.close()
    return Seen(said, title, *wide)
