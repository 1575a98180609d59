"""The report as a browser sees it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from multitask_bench.report.html import render
from multitask_bench.schema import Outcome
from multitask_bench.study.folder import transcripts
from multitask_bench.study.results import results_of
from tests.ledgers import arm, ledger, saying

EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">{{ 7 * 7 }}"
ARMS = {
    "aligned": arm(saying(0.05), "aligned"),
    "control": arm(saying(0.1), "control", "chat"),
    "tuned-translation-with-a-name-of-forty-letters": arm(
        saying(0.6, otherwise=Outcome.INCOHERENT), "tuned", "translation"
    ),
}
MANIFEST = {"study": "trial", "judge": {"name": "refusal", "config_hash": "0" * 16, "card": None}, "settings": {}}


def report(text: str, **how: Any) -> str:
    made = ledger(ARMS, text=text)
    results = results_of(made, margin=0.05, toy=True)
    return render(results, MANIFEST, transcripts(made), power=results["power"], **how)


def test_answers_of_a_model_are_text_and_harmful_ones_are_left_out() -> None:
    html = report(EVIL)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html  # in a twin's answer, which is shown
    assert "49" not in re.findall(r"<pre>.*?</pre>", html, re.S)
    assert "harm prompt" not in html
    assert "twin prompt" in html
    assert "toy alignment: do not generalise" in html


def test_responses_are_shown_only_when_asked_for_and_with_a_warning() -> None:
    hidden, shown = report("a telling answer"), report("a telling answer", show_responses=True)
    assert hidden.count("a telling answer") < shown.count("a telling answer")
    assert "harm prompt" in shown
    assert "Do not pass it on" in shown


def test_nothing_is_loaded_from_elsewhere() -> None:
    html = report("words")
    assert re.findall(r"(?:src|href)=[\"'](?!data:)[^\"']*", html) == []
    assert "@import" not in html


@pytest.mark.parametrize(
    ("temperature", "said"),
    [(0.0, "Greedy answers of at most 48 new tokens"), (0.7, "sampled at temperature 0.7, one a probe, of at most 48")],
)
def test_how_the_answers_were_decoded_is_said(temperature: float, said: str) -> None:
    results = results_of(ledger(ARMS, n=4), margin=0.05, toy=True)
    manifest = MANIFEST | {"settings": {"probes": {"temperature": temperature, "max_new_tokens": 48}}}
    html = render(results, manifest, [], power=results["power"])
    assert said in html
    assert ("Greedy" in html) == (temperature == 0)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 390])
def test_chromium_shows_it_without_error_request_or_sideways_scrolling(tmp_path: Path, width: int) -> None:
    from playwright.sync_api import sync_playwright

    (tmp_path / "report.html").write_text(report(EVIL, show_responses=True))
    said: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        page.goto((tmp_path / "report.html").as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        title = page.title()
        browser.close()
    assert said == []
    assert title != "owned"
    assert wide[0] <= wide[1]
