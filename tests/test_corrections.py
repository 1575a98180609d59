"""Corrected rates and tipping points in results and report; mixed judges; logs that are missing."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from inspect_ai.log import read_eval_log, write_eval_log

from multitask_bench.errors import ConfigError, DataError
from multitask_bench.judges import judges
from multitask_bench.judges._card import keep_card
from multitask_bench.records import read_json
from multitask_bench.report import export, judge
from multitask_bench.report._select import document, in_lines
from multitask_bench.report.figures import dots
from multitask_bench.report.html import render
from multitask_bench.schema import Outcome, Rate
from multitask_bench.stats.judge_error import Card, over_strata, rogan_gladen
from multitask_bench.stats.rates import rate
from multitask_bench.study.compare import Side, check_judge
from multitask_bench.study.corrections import Corrected, Kept, Measure
from multitask_bench.study.folder import sum_up
from multitask_bench.study.judge_card import card_lines, card_of, counts_of, of_form, shown_card
from multitask_bench.study.ledger import Entry, Ledger, read_logs
from multitask_bench.study.probes import FORMS
from multitask_bench.study.results import results_of
from tests.ledgers import arm, ledger, saying
from tests.runs import write_run

HASH = judges.make("refusal").config_hash
MANIFEST = {"study": "trial", "judge": {"name": "refusal", "config_hash": HASH, "card": None}, "settings": {}}


def against(hits: int, positives: int, cleared: int, negatives: int) -> dict[str, Any]:
    """A judge's counts with their intervals, as `mtb judges measure` writes them."""
    return {
        "sensitivity": rate(hits, positives).model_dump(),
        "specificity": rate(cleared, negatives).model_dump(),
        "counts": {"hits": hits, "positives": positives, "cleared": cleared, "negatives": negatives},
    }


def slice_of(
    value: str, *counts: int, by: str = "form", name: str = "mine", refused: tuple[int, int, int, int] | None = None
) -> dict[str, Any]:
    row = {"set": name, "by": by, "value": value, "n": counts[1] + counts[3], "unjudged": 0, "truncated_words": None}
    top = against(*(refused or counts))
    return {**row, "positive": "refused" if refused else "answered", **top, "answered": against(*counts)}


def card(*slices: dict[str, Any], config_hash: str = HASH) -> dict[str, Any]:
    return {
        "judge": "refusal",
        "config_hash": config_hash,
        "measured": [],
        "slices": list(slices),
        "labelled_by": "two readers",
        "not_measured": ["answers of fine-tuned models"],
    }


GOOD = (900, 1000, 950, 1000)
TRANSLATION = card(slice_of("translation", *GOOD))
EVERY = card(*(slice_of(form, *GOOD) for form in FORMS))


def two_arms(before: float = 0.1, after: float = 0.6, **how: Any) -> Ledger:
    return ledger({"aligned": arm(saying(before), "aligned"), "tuned": arm(saying(after), "tuned", "code")}, **how)


def made(found: Ledger, of: dict[str, Any] | None, audit: Any = None) -> dict[str, Any]:
    return results_of(found, margin=0.05, toy=False, card=of, audit=audit)


def row(results: dict[str, Any], arm_: str, form: str | None, *, twin: bool = False) -> dict[str, Any]:
    (found,) = (
        r
        for r in results["rows"]
        if (r["arm"], r["form"], r["twin"], r["language"], r["template_seen"]) == (arm_, form, twin, None, None)
    )
    return dict(found)


def total(results: dict[str, Any], form: str = "all", *, twin: bool = False) -> dict[str, Any]:
    (found,) = (c for c in results["comparisons"] if c["form"] == form and c["twin"] is twin)
    return dict(found)


def test_a_form_is_corrected_from_the_cards_slice_of_it_and_no_other() -> None:
    results = made(two_arms(), TRANSLATION)
    found = row(results, "tuned", "translation")
    expected = rogan_gladen(24, 40, Card(900, 1000, 950, 1000))
    assert found["answered"]["value"] == 0.6
    assert found["answered_corrected"]["value"] == pytest.approx(expected.value)
    assert found["answered_corrected"]["low"] == pytest.approx(expected.low, abs=1e-3)
    assert found["correction"] == {"basis": "card", "labels": 2000}
    other = row(results, "tuned", "classification")
    assert other["answered_corrected"] is None
    assert other["correction"] == {"basis": None, "reason": "the judge was not measured on classification"}
    assert results["corrections"]["basis"] == "card"
    assert "Translation: corrected" in results["corrections"]["explanation"]


def test_the_total_is_corrected_only_where_every_form_is() -> None:
    missing = row(made(two_arms(), TRANSLATION), "tuned", None)
    assert missing["answered_corrected"] is None
    assert "code generation" in missing["correction"]["reason"]
    assert "translation," not in missing["correction"]["reason"]
    whole = row(made(two_arms(), EVERY), "tuned", None)
    expected = over_strata([rogan_gladen(24, 40, Card(900, 1000, 950, 1000))] * len(FORMS))
    assert whole["answered_corrected"]["value"] == pytest.approx(expected.value)
    assert whole["correction"]["labels"] == 2000 * len(FORMS)


def test_a_row_of_one_language_is_not_corrected_from_labels_of_several() -> None:
    both = ledger({"tuned": arm(saying(0.6), "tuned")})
    for e in both.entries:
        e.meta["language"] = "fr" if int(e.meta["intent_id"][1:]) % 2 else "en"
    languages = [slice_of(one, *GOOD, by="language") for one in ("en", "fr")]

    def of_language(card_: dict[str, Any]) -> list[dict[str, Any]]:
        rows = made(both, card_)["rows"]
        return [r for r in rows if r["form"] == "translation" and r["language"] and not r["twin"]]

    mixed = of_language(card(slice_of("translation", *GOOD), *languages))
    assert [r["language"] for r in mixed] == ["en", "fr"]
    assert all(r["answered_corrected"] is None for r in mixed)
    assert {r["correction"]["reason"] for r in mixed} == {
        "the judge's labels on this form are not of this language alone"
    }
    assert row(made(both, card(slice_of("translation", *GOOD), *languages)), "tuned", "translation")[
        "answered_corrected"
    ]
    elsewhere = slice_of("fr", *GOOD, by="language", name="other")
    english, french = of_language(card(slice_of("translation", *GOOD), languages[0], elsewhere))
    assert english["answered_corrected"] is not None
    assert french["answered_corrected"] is None


def test_labels_of_harm_do_not_correct_what_was_answered() -> None:
    harm = slice_of("own", 265, 269, 146, 325, name="harmbench-val")
    plain = slice_of("own", *GOOD, name="xstest")
    with_harm = row(made(two_arms(), card(plain, harm)), "tuned", "text_generation")
    assert with_harm == row(made(two_arms(), card(plain)), "tuned", "text_generation")
    alone = row(made(two_arms(), card(harm)), "tuned", "text_generation")
    assert alone["answered_corrected"] is None


def test_labels_of_text_generation_itself_come_before_those_of_plain_questions() -> None:
    own = slice_of("text_generation", 19, 19, 55, 71, name="ours")
    results = made(two_arms(), card(slice_of("own", *GOOD), own))
    expected = rogan_gladen(24, 40, Card(19, 19, 55, 71))
    assert row(results, "tuned", "text_generation")["answered_corrected"]["value"] == pytest.approx(expected.value)
    few = made(two_arms(), card(slice_of("own", *GOOD), slice_of("text_generation", 3, 3, 5, 5, name="ours")))
    assert row(few, "tuned", "text_generation")["correction"]["labels"] == 2008


def test_plain_questions_stand_for_text_generation() -> None:
    results = made(two_arms(), card(slice_of("own", *GOOD)))
    assert row(results, "tuned", "text_generation")["answered_corrected"] is not None
    assert row(results, "tuned", "translation")["answered_corrected"] is None


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        (None, "no card"),
        (card(), "not measured on translation"),
        (card(slice_of("translation", *GOOD), config_hash="0" * 16), "another version"),
        (card(slice_of("translation", 9, 9, 99, 99)), "too few labels"),
        (card(slice_of("translation", *GOOD, name="own_cases")), "not measured on translation"),
        (card(slice_of("translation", 40, 100, 50, 100)), "no more than chance"),
        (
            card(slice_of("translation", *GOOD), slice_of("fr", *GOOD, by="language")),
            "not measured on answers in English",
        ),
    ],
)
def test_a_rate_that_the_card_cannot_correct_says_why(of: dict[str, Any] | None, reason: str) -> None:
    found = row(made(two_arms(), of), "tuned", "translation")
    assert found["answered_corrected"] is None
    assert reason in found["correction"]["reason"]


def test_a_card_that_does_not_fit_the_answers_is_said_not_to() -> None:
    leaky = card(slice_of("translation", 90, 100, 70, 100))
    found = row(made(two_arms(before=0.0), leaky), "aligned", "translation")
    assert found["answered_corrected"] is None
    assert "does not fit" in found["correction"]["reason"]
    assert "fewer answered" in found["correction"]["reason"]


def test_sets_of_one_form_are_added_up_and_recurring_prompts_count_less() -> None:
    first, second = slice_of("translation", *GOOD), slice_of("translation", 45, 50, 40, 50, name="theirs")
    both = counts_of(of_form(card(first, second), "translation"))
    assert both is not None
    assert both.positives == pytest.approx(1050, rel=1e-3)
    assert both.hits / both.positives == pytest.approx(945 / 1050, rel=1e-3)
    wide = {**first, "answered": {**first["answered"], "sensitivity": rate(90, 100).model_dump()}}
    alike = counts_of([wide])
    assert alike is not None
    assert alike.positives == pytest.approx(100, rel=1e-3)
    assert alike.sensitivity == pytest.approx(0.9)


def test_cut_answers_neither_replace_nor_correct_whole_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTB_CACHE", str(tmp_path))
    whole = slice_of("translation", *GOOD)
    cut = {**slice_of("translation", 40, 100, 60, 100), "truncated_words": 36}
    assert of_form(card(whole, cut), "translation") == [whole]
    for one in (whole, cut):
        path = keep_card({**card(one), "measured": [one]})
    assert [row["truncated_words"] for row in read_json(path)["slices"]] == [None, 36]


def test_a_set_that_was_measured_again_counts_once() -> None:
    again = of_form(card(slice_of("translation", 10, 20, 10, 20), slice_of("translation", *GOOD)), "translation")
    assert [one["n"] for one in again] == [2000]


def test_a_borrowed_card_never_corrects_a_difference_but_gives_its_tipping_point() -> None:
    results = made(two_arms(), TRANSLATION)
    for form, of in (("translation", "translation"), ("classification", None), ("all", None)):
        found = total(results, form)
        tip = found["tipping"]
        assert found["diff_corrected"] is None
        assert "labels of both arms" in found["correction"]["reason"]
        assert tip["card"] == of
        assert tip["lowest"] < found["diff"]["low"] < found["diff"]["high"]
        assert 0 < tip["tips_at"] < tip["reverses_at"]
        if of is None:
            assert tip["highest"] > found["diff"]["high"]
    # Five forms of forty intents are not two hundred intents.
    assert total(results)["tipping"]["tips_at"] <= total(results, "classification")["tipping"]["tips_at"] + 0.05


def test_a_difference_that_is_not_shown_tips_at_once() -> None:
    found = total(made(two_arms(after=0.15), None), "translation")
    assert found["tipping"]["tips_at"] == 0.0
    assert found["tipping"]["lowest"] < 0 < found["tipping"]["highest"]


def test_refused_twins_tip_by_the_cards_word_on_refusals() -> None:
    refusals = card(slice_of("translation", *GOOD, refused=(990, 1000, 990, 1000)))
    both = [total(made(two_arms(), of), "translation", twin=True)["tipping"]["card"] for of in (refusals, TRANSLATION)]
    assert both == ["translation", None]


class Labels:
    """Corrections by labels of this very run, of translation alone."""

    basis: Literal["card", "audit"] = "audit"
    explanation = "50 answers of this run were labelled."

    def rate(self, arm: str, form: str | None, language: str | None, entries: Sequence[Entry]) -> Corrected | Kept:
        return Corrected(0.5, 0.4, 0.6, 50) if form == "translation" else Kept("fewer than 10 labels")

    def difference(
        self, a: str, b: str, form: str | None, measure: Measure, pairs: Sequence[tuple[Entry, Entry]]
    ) -> Corrected | Kept:
        if form != "translation" or measure != "answered":
            return Kept("fewer than 10 labels")
        assert {(x.arm, y.arm) for x, y in pairs} == {(a, b)}
        return Corrected(0.3, 0.2, 0.4, 50)


def test_labels_of_this_run_correct_differences_and_stand_before_the_card() -> None:
    results = made(two_arms(), EVERY, audit=Labels())
    assert results["corrections"]["basis"] == "audit"
    assert row(results, "tuned", "translation")["answered_corrected"] == {"value": 0.5, "low": 0.4, "high": 0.6}
    assert row(results, "tuned", "classification")["correction"]["reason"] == "fewer than 10 labels"
    assert total(results, "translation")["diff_corrected"]["value"] == 0.3
    assert total(results, "translation")["tipping"] is None
    assert total(results, "classification")["tipping"]["card"] == "classification"
    table = judge.tipping_table(results, by_form=True)
    assert "corrected by labels" in table.header
    assert any("+30 points [20, 40]" in line for line in table.rows)


def test_two_versions_of_a_judge_are_named_and_never_pooled() -> None:
    found = two_arms()
    old = [e._replace(judge_hash="0" * 16 if e.arm == "aligned" else HASH) for e in found.entries]
    mixed = found._replace(entries=old)
    results = made(mixed, EVERY)
    assert any("two versions of the judge" in text and "0" * 16 in text for text in results["warnings"])
    assert row(results, "aligned", None)["judge_hash"] == "0" * 16
    assert row(results, "aligned", None)["answered_corrected"] is None
    assert row(results, "tuned", None)["answered_corrected"] is not None
    assert "another version" in card_lines(mixed)[0]
    with pytest.raises(ConfigError, match="two versions"):
        check_judge(Side("one", {}, found), Side("two", {}, mixed))


def test_logs_of_two_versions_of_a_judge_are_found_in_a_run(tmp_path: Path) -> None:
    found = two_arms(n=4)
    run = write_run(tmp_path / "run", found)
    write_run(tmp_path / "other", found._replace(judge_hash="0" * 16))
    (run / "logs/tuned.eval").write_bytes((tmp_path / "other/logs/tuned.eval").read_bytes())
    assert set(read_logs(run / "logs").judge_hashes) == {HASH, "0" * 16}
    results = sum_up(run).results
    assert any("two versions of the judge refusal" in text for text in results["warnings"])


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("what", ["log", "row", "other id", "epoch"])
def test_what_stands_twice_in_the_logs_is_refused_by_results_too(tmp_path: Path, what: str) -> None:
    run = write_run(tmp_path / "run", two_arms(n=4))
    path = run / "logs/tuned.eval"
    if what == "log":
        shutil.copy(path, run / "logs/tuned-copy.eval")
    elif what == "row":
        with zipfile.ZipFile(path, "a") as file:
            name = next(n for n in file.namelist() if n.startswith("samples/"))
            file.writestr(name, file.read(name).replace(b'"refused"', b'"complied"'))
    else:
        log = read_eval_log(str(path))
        assert log.samples is not None
        change = {"id": "another"} if what == "other id" else {"epoch": 2}
        log.samples.append(log.samples[0].model_copy(update=change))
        write_eval_log(log, str(path))
    before = (run / "results.json").read_bytes()
    with pytest.raises(DataError, match="twice"):
        sum_up(run)
    assert (run / "results.json").read_bytes() == before


def test_an_outcome_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", two_arms(n=4))
    path = str(run / "logs/tuned.eval")
    log = read_eval_log(path)
    assert log.samples is not None
    assert log.samples[0].scores is not None
    log.samples[0].scores["refusal"].metadata = {"outcome": "safe"}
    write_eval_log(log, path)
    with pytest.raises(DataError, match="readable"):
        sum_up(run)


def test_a_run_that_was_killed_between_its_logs_names_the_missing_ones(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", two_arms(n=4))
    assert not any("missing" in text for text in read_json(run / "results.json")["warnings"])
    (run / "logs/tuned.eval").unlink()
    (text,) = (w for w in sum_up(run).results["warnings"] if "missing" in w)
    assert "1 log is missing" in text
    assert "tuned, probes (native template, system prompt none)" in text


def test_the_report_shows_the_card_corrected_rates_and_tipping_points_in_words() -> None:
    results = made(two_arms(), TRANSLATION)
    html = render(results, MANIFEST, [], power=[])
    part = re.sub(r"<[^>]+>|\s+", " ", html[html.index("Can the judge be believed here?") :])
    assert "measured on translation (n = 2000), not on text generation, code generation" in part
    assert "Labels: two readers" in part
    assert "90 % [88, 92] (n = 1000)" in part
    assert re.search(r"tuned +translation +60 % \[45, 74\] \(n = 40\) +6\d % \[\d+, \d+\]", part)
    assert "is no longer shown if the judge" in part
    assert "the judge was not measured on classification" in part


def test_a_judge_without_a_card_is_unmeasured_here() -> None:
    part = render(made(two_arms(), None), MANIFEST, [], power=[]).partition("Can the judge be believed here?")[2]
    assert "unmeasured here" in part
    assert "Nothing is corrected" in part
    assert "unmeasured here" in card_lines(two_arms()._replace(judge_hash="0" * 16))[0]
    assert "unmeasured here" in judge.verdict(made(two_arms(), None))


def test_the_judges_own_card_is_found_and_put_in_words() -> None:
    found = card_of(two_arms())
    assert found is not None
    assert found["config_hash"] == HASH
    text = " ".join(card_lines(two_arms()))
    assert "sensitivity" in text
    assert "labels: " in text
    shown = {row["value"]: row["n"] for row in shown_card(found, ["text_generation"], ["en"])}
    assert all(shown.values())


def test_tables_and_numbers_hold_both_the_judged_and_the_corrected_rate(tmp_path: Path) -> None:
    results = made(two_arms(), TRANSLATION)
    items = {item.name: item for item in export.exported(document(results))}
    numbers = {(n["arm"], n["form"]): n for n in items["corrected"].numbers}
    both = numbers["tuned", "translation"]
    assert (both["answered_value"], both["basis"], both["labels"]) == (0.6, "card", 2000)
    assert both["corrected_value"] > both["answered_value"]
    assert numbers["tuned", "all"]["corrected_value"] is None
    assert {"judge", "tipping"} <= items.keys()
    assert "tipping_tips_at" in items["comparisons"].numbers[0]


def test_long_names_of_arms_stand_whole_in_plots() -> None:
    name = "smollm2-135m-instruct.tuned-classification-with-everything-s0"
    svg = dots(
        "t",
        [
            (name, "tuned", Rate(value=0.5, low=0.4, high=0.6, n=10)),
            ("x" * 70, "tuned", Rate(value=0.5, low=0.4, high=0.6, n=10)),
        ],
    )
    said = re.findall(r"<text[^>]*text-anchor=\"end\"[^>]*>([^<]*)</text>", svg)
    assert "".join(said) == name + "x" * 70
    assert "…" not in svg
    assert in_lines("aligned", 22, most=2) == ["aligned"]
    assert all(len(line) < 36 for line in in_lines(name, 22, most=2))


def test_unjudged_answers_leave_the_corrected_rate_as_they_leave_the_rate() -> None:
    found = two_arms()
    first = next(
        i
        for i, e in enumerate(found.entries)
        if (e.arm, e.meta["form"], e.meta["twin"]) == ("tuned", "translation", False)
    )
    entries = [*found.entries]
    entries[first] = entries[first]._replace(outcome=Outcome.UNSCORED)
    fixed = row(made(found._replace(entries=entries), TRANSLATION), "tuned", "translation")["answered_corrected"]
    assert fixed["value"] == pytest.approx(rogan_gladen(23, 39, Card(900, 1000, 950, 1000)).value)
