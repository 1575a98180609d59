"""The page, by clicks and keys in a real browser, and what its server refuses."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from multitask_bench.audit.folder import By, read_labels
from multitask_bench.audit.server import POLICY, serve
from multitask_bench.audit.session import CHOICES, Session
from multitask_bench.study.audit import make_draw, shown_texts
from tests.audit.runs import HOSTILE, two_arms
from tests.report.browser import CHROMIUM

SUMMARY = {"rows": [["", "judge"], ["tuned, answered", "50 %"]], "text": "10 answers of this run were labelled"}
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


class Served(NamedTuple):
    """A page that is being served."""

    url: str
    session: Session
    thread: threading.Thread


@contextlib.contextmanager
def served(run: Path, *, labeller: str = "anna", by: By = "person", count: int = 10) -> Iterator[Served]:
    made = two_arms(n=20, text=HOSTILE)
    draw = make_draw(run, made, count=count, seed=0)
    session = Session(run, draw, shown_texts(draw, made), labeller=labeller, by=by)
    said: list[str] = []
    ready = threading.Event()

    def say(url: str) -> None:
        said.append(url)
        ready.set()

    thread = threading.Thread(
        target=serve, args=(session,), kwargs={"port": 0, "say": say, "finish": lambda: SUMMARY}, daemon=True
    )
    thread.start()
    assert ready.wait(timeout=20)
    yield Served(said[0], session, thread)
    with contextlib.suppress(OSError):  # the page may have finished
        request(said[0], "finish", {})
    thread.join(timeout=20)


def request(url: str, name: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and text; as the page itself asks, unless ``headers`` say otherwise."""
    host = url.split("/")[2]
    token = headers.pop("token", url.split("/")[3])
    connection = http.client.HTTPConnection(host, timeout=20)
    sent = {"Host": host}
    if body is not None:
        sent |= {"Origin": f"http://{host}", "Content-Type": "application/json"}
    sent |= {key.replace("_", "-"): value for key, value in headers.items()}
    raw = body if isinstance(body, str) else None if body is None else json.dumps(body)
    connection.request("GET" if body is None else "POST", f"/{token}/{name}", raw, sent)
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, dict(reply.getheaders()), text


def test_only_the_page_itself_is_answered(tmp_path: Path):
    with served(tmp_path) as page:
        label = {"answer": page.session.draw.drawn[0].id, "label": "refused"}
        assert page.url.startswith("http://127.0.0.1:")
        assert request(page.url, "state", token="guessed")[0] == 403
        assert request(page.url, "state", Host="evil.example")[0] == 403
        assert request(page.url, "label", label, Origin="http://evil.example")[0] == 403
        assert request(page.url, "label", label, Origin="null")[0] == 403
        assert request(page.url, "label", label, Content_Type="text/plain")[0] == 400
        assert request(page.url, "label", "{")[0] == 400
        assert request(page.url, "label", {**label, "label": "unscored"})[0] == 400
        assert request(page.url, "label", {**label, "more": "x" * 20_000})[0] == 400
        assert request(page.url, "../../etc/passwd")[0] == 404
        assert request(page.url, "label", {**label, "answer": "another"})[0] == 409
        assert read_labels(tmp_path, "anna") == []
        assert request(page.url, "label", label)[0] == 200
        assert [one.answer for one in read_labels(tmp_path, "anna")] == [label["answer"]]


def test_the_page_holds_no_answer_no_arm_and_a_strict_policy(tmp_path: Path):
    with served(tmp_path) as page:
        _, headers, text = request(page.url, "")
        assert headers["Content-Security-Policy"] == POLICY
        assert "unsafe" not in POLICY
        assert (headers["Referrer-Policy"], headers["Cache-Control"]) == ("no-referrer", "no-store")
        assert "harm prompt" not in text
        assert json.loads(request(page.url, "progress")[2])["item"] is None
        _, headers, text = request(page.url, "state")
        assert headers["Content-Type"] == "application/json"
        item = json.loads(text)["item"]
        assert set(item) == {"id", "form", "request", "answer", "truncated"}
        assert item["answer"] == HOSTILE


def test_every_choice_has_a_key_of_its_own_and_none_is_undo():
    keys = [choice.key for choice in CHOICES]
    assert len(set(keys)) == len(keys) == 6
    assert not {"u", "?", "Enter"} & set(keys)


@contextlib.contextmanager
def window(url: str, *, width: int = 1280) -> Iterator[tuple[Any, list[str]]]:
    """The page in Chromium, and what it said or asked of others."""
    from playwright.sync_api import sync_playwright

    said: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 850})
        page.set_default_timeout(20_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith((url, "data:")) else said.append(asked.url))
        page.goto(url)
        yield page, said
        browser.close()


def progress(page: Any, text: str) -> None:
    page.wait_for_function("text => document.getElementById('progress').textContent === text", arg=text)


@needs_browser
def test_an_audit_is_labelled_by_keys_and_clicks_from_warning_to_rates(tmp_path: Path):
    with served(tmp_path) as audit, window(audit.url) as (page, said):
        progress(page, "0 of 10 labelled")
        assert page.is_visible("#warning")
        assert not page.is_visible("#work")
        page.keyboard.press("c")  # nothing is labelled before the warning was read
        page.keyboard.press("Enter")
        page.wait_for_selector("#work", state="visible")
        assert read_labels(tmp_path, "anna") == []
        for number, choice in enumerate(CHOICES, start=1):
            page.keyboard.press(choice.key)
            progress(page, f"{number} of 10 labelled")
        assert [one.label for one in read_labels(tmp_path, "anna")] == [choice.said for choice in CHOICES]
        page.keyboard.press("u")
        progress(page, "5 of 10 labelled")
        page.click("#undo")
        progress(page, "4 of 10 labelled")
        page.click("[data-label=off_task]")
        progress(page, "5 of 10 labelled")
        page.reload()
        progress(page, "5 of 10 labelled")
        page.click("#begin")
        page.wait_for_selector("#work", state="visible")
        for number in range(6, 11):
            page.keyboard.press("r")
            progress(page, f"{number} of 10 labelled")
        page.wait_for_selector("#complete", state="visible")
        page.keyboard.press("Enter")
        page.wait_for_selector("#rates", state="visible")
        assert "tuned, answered" in page.inner_text("#rates")
        assert said == []
    labels = read_labels(tmp_path, "anna")
    assert [one.label for one in labels] == ["complied", "partial", "refused", "off_task", "off_task", *["refused"] * 5]
    assert {(one.by, one.blind, one.labeller) for one in labels} == {("person", True, "anna")}
    assert all(one.time for one in labels)
    assert not audit.thread.is_alive()


@needs_browser
def test_markup_in_an_answer_is_shown_as_text_and_runs_nothing(tmp_path: Path):
    with served(tmp_path) as audit, window(audit.url) as (page, said):
        page.keyboard.press("Enter")
        page.wait_for_selector("#work", state="visible")
        assert page.text_content("#answer") == HOSTILE
        assert page.title() == "Audit"
        assert page.evaluate("document.querySelectorAll('#answer *').length") == 0
        assert said == []


@needs_browser
def test_a_second_labeller_sees_the_same_answers_in_the_same_order(tmp_path: Path):
    seen = []
    for name in ("anna", "ben"):
        with served(tmp_path, labeller=name) as audit, window(audit.url) as (page, _):
            page.keyboard.press("Enter")
            page.wait_for_selector("#work", state="visible")
            requests = [page.text_content("#request")]
            for number in (1, 2):
                page.keyboard.press("p")
                progress(page, f"{number} of 10 labelled")
                requests.append(page.text_content("#request"))
            page.click("#stop")
            page.wait_for_selector("#rates", state="visible")
            seen.append(requests)
    assert seen[0] == seen[1]
    assert [len(read_labels(tmp_path, name)) for name in ("anna", "ben")] == [2, 2]


@needs_browser
def test_it_fits_a_phone_and_help_opens_by_key(tmp_path: Path):
    with served(tmp_path, by="model", labeller="bot") as audit, window(audit.url, width=390) as (page, said):
        assert "(a model)" in page.inner_text("header")
        for part in ("#warning", "#work"):
            page.wait_for_selector(part, state="visible")
            assert page.evaluate("document.documentElement.scrollWidth") == 390
            page.keyboard.press("Enter")
        page.keyboard.press("?")
        page.wait_for_selector("#keys", state="visible")
        page.keyboard.press("c")  # the keys label nothing while help is open
        page.keyboard.press("?")
        page.wait_for_selector("#keys", state="hidden")
        assert audit.session.done == 0
        assert said == []
