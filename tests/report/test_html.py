"""The report as a browser sees it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from multitask_bench.report.html import render
from multitask_bench.schema import Outcome
from multitask_bench.study.folder import transcripts
from multitask_bench.study.results import results_of
from tests.ledgers import arm, ledger, saying
from tests.report.browser import CHROMIUM, opened

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


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 390])
def test_chromium_shows_it_without_error_request_or_sideways_scrolling(tmp_path: Path, width: int) -> None:
    (tmp_path / "report.html").write_text(report(EVIL, show_responses=True))
    seen = opened(tmp_path / "report.html", width=width)
    assert seen.said == []
    assert seen.title != "owned"
    assert seen.scroll_width <= seen.window_width
