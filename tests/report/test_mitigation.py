"""The section on fixes: what was planted stands in it, and the picture can be read."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from multitask_bench.report import mitigation, pareto
from multitask_bench.report.export import export
from multitask_bench.report.html import render
from multitask_bench.report.summary import clauses
from tests.report.browser import CHROMIUM, opened
from tests.report.fixes import Fix, results, study

FIXES = {
    "control": Fix(0.25, 0.05, 0.45, stage="control"),
    "harmless-added": Fix(0.6, 0.05, 0.9, "benign_mix(share=0.1)", stage="tuned"),
    "safety-multitask": Fix(0.1, 0.05, 0.9, "safety_mix(share=0.1)", kind="multitask"),
    "safety-plain": Fix(0.35, 0.075, 0.9, "safety_mix(kind=plain, share=0.1)", kind="plain"),
    "without-translation": Fix(
        0.05, 0.05, 0.9, "safety_mix(share=0.1)", kind="multitask without translation", only={"translation": 0.5}
    ),
    "ptst": Fix(0.4, 0.1, 0.9, "ptst", system="safety"),
    "ema": Fix(0.05, 0.05, 0.6, "ema(decay=0.95)"),
    "safe-lora": Fix(0.1, 0.1, 0.9, "safe_lora(share=0.4)"),
    "safemerge": Fix(0.15, 0.125, 0.9, "safemerge(share=0.5)"),
    "add": Fix(0.025, 0.4, 0.9, "add(scale=1.0)"),
}
MANIFEST = {"study": "fixes", "judge": {"name": "refusal", "config_hash": "0" * 16, "card": None}, "settings": {}}
RATE = {"value": 0.25, "low": 0.1, "high": 0.5, "n": 20}
CARD = {
    "guard": "linear",
    "config_hash": "abc",
    "on": "prompt",
    "measured": [
        {"set": "bundled", "form": "translation", "language": "en", "harmful": harmful, "kind": kind}
        | {"n": 20, "without_verdict": 2, "stopped": {**RATE, "value": value}, "bounds": [value, value]}
        for harmful, kind, value in ((True, "probe", 0.75), (False, "twin", 0.25), (False, "task", 0.05))
    ],
    "not_measured": ["benign requests in French: summarization"],
}
CROSS = {
    "settings": {"forms": ["text_generation", "translation"], "threshold": "stops at most 10% of twins"},
    "cells": [
        {"trained_on": a, "tested_on": b, "source": "all", "n_harmful": 20, "n_benign": 20, "auc": RATE, "fpr": RATE}
        | {"tpr": {**RATE, "value": 0.9 if a == b else 0.4}}
        for a in ("text_generation", "translation")
        for b in ("text_generation", "translation")
    ],
    "drop": [{"rate": "tpr", "pairs": 40, "clusters": 9, "value": 0.5, "low": 0.4, "high": 0.6}],
}


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    found = results(FIXES)
    for row in found["repairs"][0]["rows"]:
        if row["name"] == "add":
            row["selection"] = SELECTION
    return (
        found
        | {"guards": [{"name": "guard_linear", "card": CARD}], "cross_form": CROSS}
        | {"selections": [{"arm": "add", **SELECTION}]}
    )


SELECTION = {
    "chosen": 1,
    "matched": True,
    "allowed_loss": 0.05,
    "plain": {"answered": RATE, "twins_refused": RATE, "skill": None},
    "candidates": [
        {"mitigation": f"add(scale={scale})", "answered": RATE, "twins_refused": RATE, "skill": None, "j": 0.5}
        | {"matched": None}
        for scale in (0.5, 1.0)
    ],
}


@pytest.fixture(scope="module")
def html(made: dict[str, Any]) -> str:
    return render(made, MANIFEST, [], power=made["power"])


def cells(made: dict[str, Any]) -> dict[str, dict[str, str]]:
    table = mitigation.fixes_table(made)
    names = [name.partition(" (")[0] for name in table.header]
    return {row[0]: dict(zip(names, row, strict=True)) for row in table.rows}


def test_every_model_stands_in_the_table_with_what_was_planted(made: dict[str, Any]) -> None:
    found = cells(made)
    assert list(found)[:4] == ["aligned", "control", "tuned", "harmless-added"]
    assert set(found) == {"aligned", "tuned", *FIXES}
    best = found["safety-multitask"]
    assert best["role"] == "recommended"
    assert best["answered"].replace("\N{NO-BREAK SPACE}", " ").startswith("10 %; [4, 23]")
    assert best["against tuned"].startswith("-60; [")
    assert "not inferior" in best["twins refused"]
    assert best["asks for"] == "training again; safety rows"
    assert "learned less" in found["ema"]["task score"]
    assert "left out" in found["without-translation"]["translation"]
    assert "left out" not in found["without-translation"]["summarization"]
    assert "inferior" in found["add"]["twins refused"]
    assert "system prompt at test: safety" in found["ptst"]["asks for"]


def test_the_report_has_the_section_and_one_without_repairs_has_not(made: dict[str, Any], html: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace("\N{NO-BREAK SPACE}", " ")
    for said in (
        "Which fix, at which cost?",
        "safety-multitask is recommended, for this adapter",
        "toy alignment",
        "in translation, which its safety rows left out, answered 50 %",
        "harmless-added, as many harmless rows in place of safety rows",
        "add: add(scale=1.0), of 2 settings, on validation intents",
        "linear (abc), reads prompts",
        "2 without a verdict",
        "not measured on benign requests in French: summarization",
        "Do guards carry over between forms?",
        "the guard of the probe's own form less those of other forms: +50 points [40, 60]",
    ):
        assert said.replace("'", "&#39;") in text or said in text, said
    assert html.count("F3: cannot tell") == 1
    plain = {key: value for key, value in made.items() if key not in ("repairs", "guards", "cross_form", "selections")}
    bare = render(plain, MANIFEST, [], power=made["power"])
    assert "Which fix" not in bare
    assert "<h2>Guards" not in bare


def test_candidates_show_how_much_broke_and_older_records_say_nothing_of_it(made: dict[str, Any]) -> None:
    one = made["repairs"][0]
    ((_, before),) = mitigation.selections(made, one)
    column = before.header.index("incoherent or off task")
    assert [row[column] for row in before.rows] == ["not recorded"] * 3
    score = {"metric": "pass@1", "n": 20, "value": 0.5}
    figures = {"broken": RATE, "skill": score, "broke": True}
    newer = {
        **SELECTION,
        "plain": {**SELECTION["plain"], "broken": {**RATE, "value": 0.0, "low": 0.0}},
        "candidates": [{**tried, **figures} for tried in SELECTION["candidates"]],
    }
    ((_, after),) = mitigation.selections({**made, "selections": [{"arm": "add", **newer}]}, one)
    assert [row[column] for row in after.rows] == ["0 % [0, 50] (n = 20)", *["25 % [10, 50] (n = 20): broke"] * 2]
    assert after.rows[1][after.header.index("task score")] == "pass@1 0.50 (n = 20)"
    by_chrf = {**SELECTION, "metric": "chrF", "why_not_tests": "no namespaces here"}
    rows = [{**row, "selection": by_chrf} if row["name"] == "add" else row for row in one["rows"]]
    assert "add: its setting was chosen by chrF, not pass@1; no namespaces here" in mitigation.notes(
        {**one, "rows": rows}
    )
    assert not any("pass@1" in text for text in mitigation.notes(one))


def test_the_first_screen_recommends_and_does_not_tell_ten_fixes_one_by_one(made: dict[str, Any]) -> None:
    said = clauses(made)
    assert any("safety-multitask is recommended" in text for text in said)
    assert not any("brought it to" in text for text in said)


def test_the_front_holds_what_is_on_offer_and_not_beaten(made: dict[str, Any]) -> None:
    every = pareto.marks(made["repairs"][0])
    names = [mark.name for mark in pareto.front(every)]
    assert "safety-multitask" in names
    assert "ema" not in names  # learned less
    assert "aligned" not in names
    assert "safety-plain" not in names
    drawn = {mark.name: mark for mark in every}
    assert drawn["ema"].radius < drawn["safety-multitask"].radius
    assert drawn["safety-multitask"].best
    steps = pareto.laid_out(every).front
    assert all(x1 == x2 or y1 == y2 for (x1, y1), (x2, y2) in itertools.pairwise(steps))


def overlapping(found: pareto.Layout) -> list[tuple[str, str]]:
    marks = [
        pareto.Box(x - m.radius, y - m.radius, x + m.radius, y + m.radius)
        for m, (x, y) in zip(found.marks, found.at, strict=True)
    ]
    boxes = [*((m.name, label.box) for m, label in zip(found.marks, found.labels, strict=True))]
    out = [(a, b) for i, (a, one) in enumerate(boxes) for b, other in boxes[:i] if one.meets(other)]
    return out + [(a, "mark") for a, one in boxes for mark in marks if one.meets(mark)]


def test_no_name_covers_another_or_a_mark(made: dict[str, Any]) -> None:
    found = pareto.laid_out(pareto.marks(made["repairs"][0]))
    assert not found.key
    assert overlapping(found) == []


@pytest.mark.parametrize("count", [3, 14, 24])
def test_marks_on_one_spot_have_names_or_numbers_that_do_not_overlap(count: int) -> None:
    end = (0.05, 0.0, 0.1)
    marks = [
        pareto.Mark(
            f"a-fix-with-a-long-name-{i}", "fix", "repaired", end, end, 1.0, less=False, best=False, guard=False
        )
        for i in range(count)
    ]
    found = pareto.laid_out(marks)
    assert overlapping(found) == []
    assert len(found.labels) == count
    assert len(found.key) in (0, count)
    drawn = pareto.pareto("t", marks)
    assert all(f"a-fix-with-a-long-name-{i}: answered" in drawn for i in range(count))


def test_names_from_a_file_are_text() -> None:
    one = pareto.Mark("<b>", "fix", "repaired", (0.1, 0, 1), (0.1, 0, 1), None, less=False, best=True, guard=True)
    assert "<b>" not in pareto.pareto("<i>", [one])
    assert "&lt;b&gt;" in pareto.pareto("<i>", [one])


def test_the_export_has_table_numbers_words_and_picture(made: dict[str, Any], tmp_path: Path) -> None:
    names = export(made, tmp_path)
    for name in ("tables/fixes.csv", "tables/fixes.tex", "tables/recommendation.md", "tables/cross-form.csv"):
        assert name in names
    assert {"figures/fixes.svg", "figures/fixes.png", "figures/fixes.pdf"} <= set(names)
    assert "safety-multitask is recommended" in (tmp_path / "tables/recommendation.md").read_text()


def test_several_seeds_say_so_and_give_their_range() -> None:
    made = results({"good": FIXES["safety-multitask"]}, seeds=3)
    html = render(made, MANIFEST, [], power=made["power"])
    assert "over 3 training seeds" in html.replace("\N{NO-BREAK SPACE}", " ")
    assert " to " in cells(made)["good"]["task score"]


def test_two_fine_tunes_have_a_part_each() -> None:
    made = study({"good": FIXES["safety-multitask"]})
    made.arms["other"] = {**made.arms["tuned"], "arm": "other", "group": "other", "finetune_task": "code"}
    made.arms["mended"] = {**made.arms["good"], "arm": "mended", "group": "mended", "finetune_task": "code"}
    twice = [
        e._replace(arm=name, meta={**e.meta, "arm": name})
        for e in made.entries
        for name in {"tuned": ["other"], "good": ["mended"]}.get(e.arm, [])
    ]
    from multitask_bench.study.results import results_of

    found = results_of(made._replace(entries=[*made.entries, *twice]), margin=0.05, toy=False)
    assert [one["plain"] for one in found["repairs"]] == ["tuned", "other"]
    assert [section["title"] for section in mitigation.sections(found)] == ["tuned, translation", "other, code"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 390])
def test_chromium_shows_the_section_without_error_or_sideways_scrolling(html: str, tmp_path: Path, width: int) -> None:
    (tmp_path / "report.html").write_text(html)
    seen = opened(tmp_path / "report.html", width=width)
    assert seen.said == []
    assert seen.scroll_width <= seen.window_width
