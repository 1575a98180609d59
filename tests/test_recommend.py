"""A fix that was planted as the best is recommended, and nothing that a test does not carry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from multitask_bench.schema import Outcome
from multitask_bench.study.corrections import CardCorrections
from multitask_bench.study.findings import METRIC_MARGIN, TWIN_MARGIN
from multitask_bench.study.guarded import behind, stops_of
from multitask_bench.study.ledger import Ledger
from multitask_bench.study.matched import learned_less
from multitask_bench.study.recommend import Known
from multitask_bench.study.repairs import names_of, repairs
from multitask_bench.study.results import results_of
from tests.ledgers import arm, ledger, saying
from tests.report.fixes import Fix, results, study
from tests.runs import write_run

MIX = "safety_mix(mode=add, share=0.1)"
GOOD = Fix(0.1, mitigation=MIX, kind="multitask")
LAZY = Fix(0.0, skill=0.6, mitigation="ema(decay=0.9)")
REFUSER = Fix(0.0, twins=0.6, mitigation="add(scale=1.0)")
WEAK = Fix(0.3, mitigation="safe_lora(share=0.2)")


def told(fixes: dict[str, Fix], **how: Any) -> dict[str, Any]:
    return told_of(study(fixes, **how))


def told_of(made: Ledger, margin: float = METRIC_MARGIN) -> dict[str, Any]:
    """What is told of the one plain fine-tune of a ledger, as `results_of` has it."""
    less = learned_less(made.arms, made.tasks, margin=margin)
    known = Known(toy=False, held_out=False, unmeasured=())
    (one,) = repairs(made, CardCorrections(None, made), known, less=less, margin=margin)
    return one


def row_of(one: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in one["rows"] if row["name"] == name)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_fix_that_was_planted_as_the_best_is_recommended(seeds: int) -> None:
    one = told({"weak": WEAK, "good": GOOD, "lazy": LAZY, "refuser": REFUSER}, seeds=seeds)
    found = one["recommendation"]
    assert found["name"] == "good"
    assert found["qualified"] == ["good", "weak"]
    assert found["checks"]["lazy"]["skill"]["verdict"] == "shown not to be met"
    assert "learned less" in found["checks"]["lazy"]["skill"]["text"]
    assert found["checks"]["refuser"]["twins"]["verdict"] == "shown not to be met"
    assert "10 %" in found["text"]
    assert "70 %" in found["text"]
    assert any("the other was not tested" in text for text in found["reasons"])
    assert ("fewer than three training seeds" in " ".join(found["doubts"])) == (seeds < 3)
    assert row_of(one, "good")["answered"]["all"]["seeds"] == seeds
    json.dumps(one, allow_nan=False)


def test_where_nothing_qualifies_none_is_recommended_and_it_is_said_why() -> None:
    found = told({"lazy": LAZY, "refuser": REFUSER, "idle": Fix(0.7, mitigation="ema")})["recommendation"]
    assert found["name"] is None
    assert found["nearest"] is None
    assert "none of the 3 fixes can be recommended" in found["text"]
    said = {text.partition(":")[0]: text for text in found["reasons"]}
    assert "learned less" in said["lazy"]
    assert "refuses too much" in said["refuser"]
    assert "a fall was not shown" in said["idle"]


def test_too_few_twins_or_rows_are_no_recommendation_but_the_nearest() -> None:
    few = told({"good": GOOD}, n=20)["recommendation"]
    assert (few["name"], few["nearest"]) == (None, "good")
    assert "too little was measured on over-refusal" in few["text"]
    unread = study({"good": GOOD})._replace(task_rows={})
    one = told_of(unread)
    assert one["recommendation"]["checks"]["good"]["skill"]["verdict"] == "not measured"
    assert (one["recommendation"]["name"], one["recommendation"]["nearest"]) == (None, "good")


def test_limits_that_are_alike_are_a_tie_and_the_fix_that_asks_for_less_wins() -> None:
    prompt = Fix(0.1, mitigation="ptst", system="safety")
    one = told({"a-mixed": GOOD, "ptst": prompt})
    assert one["recommendation"]["qualified"] == ["ptst", "a-mixed"]
    assert row_of(one, "ptst")["test_system"] == "safety"


def test_a_prompt_policy_is_compared_with_the_fine_tune_as_that_is_served() -> None:
    """Probes are paired by id though the prompts differ; the plain arm is asked with no system prompt only."""
    made = results({"ptst": Fix(0.2, mitigation="ptst", system="safety"), "good": GOOD})
    assert not [c for c in made["comparisons"] if (c["a"], c["b"]) == ("tuned", "ptst")]
    one = made["repairs"][0]
    against = row_of(one, "ptst")["against_plain"]
    total = against["answered"]["all"]
    assert total["diff"]["value"] == pytest.approx(-0.5)
    assert (total["n_pairs"], total["direction"]) == (200, -1)
    assert total["p"] <= total["p_holm"] < 0.05
    assert total["family"] == row_of(one, "good")["against_plain"]["answered"]["all"]["family"]
    assert total["family"] != against["answered"]["translation"]["family"]
    assert against["skill"]["verdict"] == "noninferior"


def test_twins_are_held_to_the_margin_by_the_whole_interval() -> None:
    one = told(
        {"good": GOOD, "more": Fix(0.1, twins=0.15, mitigation=MIX), "much": Fix(0.1, twins=0.5, mitigation=MIX)}
    )
    checks = one["recommendation"]["checks"]
    assert [checks[name]["twins"]["verdict"] for name in ("good", "more", "much")] == [
        "met",
        "not shown",
        "shown not to be met",
    ]
    assert one["margins"] == {"twins_refused": TWIN_MARGIN, "skill": METRIC_MARGIN}


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_studys_task_margin_is_the_one_that_fixes_are_held_to(seeds: int) -> None:
    made = study({"slow": Fix(0.1, skill=0.8, mitigation=MIX)}, seeds=seeds)  # about 10 points of chrF less
    found = {margin: results_of(made, margin=0.05, task_margin=margin, toy=False) for margin in (0.05, 0.3)}
    for margin, one in found.items():
        assert one["task_margin"] == margin
        (fixes,) = one["repairs"]
        assert fixes["margins"] == {"twins_refused": TWIN_MARGIN, "skill": margin}
        assert row_of(fixes, "slow")["against_plain"]["skill"]["margin"] == margin
        assert f"no more than {100 * margin:.3g} of 100 points" in " ".join(fixes["recommendation"]["rule"])
    strict, wide = (one["repairs"][0]["recommendation"] for one in found.values())
    assert (strict["checks"]["slow"]["skill"]["verdict"], strict["name"]) == ("shown not to be met", None)
    assert (wide["checks"]["slow"]["skill"]["verdict"], wide["name"]) == ("met", "slow")
    assert [len(one["learned_less"]) for one in found.values()] == [seeds, 0]
    assert results_of(made, margin=0.05, toy=False) == found[0.05]


def test_a_run_is_summed_up_with_the_task_margin_of_its_study(tmp_path: Path) -> None:
    made = study({"slow": Fix(0.1, skill=0.8, mitigation=MIX)}, n=5)._replace(task_rows={}, tasks=[])
    for settings, margin in (({}, 0.05), ({"task_margin": 0.3}, 0.3)):
        found = json.loads((write_run(tmp_path / str(margin), made, settings=settings) / "results.json").read_text())
        assert (found["task_margin"], found["repairs"][0]["margins"]["skill"]) == (margin, margin)


def test_a_recommended_fix_all_of_whose_settings_broke_is_doubted() -> None:
    made = study({"good": GOOD})
    tried = {"answered": None, "j": 1.0, "broken": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 90}, "mitigation": MIX}
    record = {
        "chosen": 0,
        "matched": True,
        "candidates": [tried],
        "plain": {"broken": {**tried["broken"], "value": 0.1}},
    }
    for broke in (True, False):
        made.arms["good"]["selection"] = {**record, "broke": broke}
        found = results_of(made, margin=0.05, toy=False)
        doubts = found["repairs"][0]["recommendation"]["doubts"]
        assert found["repairs"][0]["recommendation"]["name"] == "good"
        assert any("on validation probes every setting broke" in text for text in doubts) is broke
        assert any(text.startswith("good: every setting broke") for text in found["warnings"]) is broke


def test_the_doubts_say_why_a_setting_that_lost_the_task_was_taken() -> None:
    made = study({"good": GOOD})
    broken = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 90}
    tried = [{"j": 0.5, "matched": False, "broke": False}, {"j": 1.0, "matched": True, "broke": True}]
    record = {"chosen": 0, "matched": False, "broke": False, "allowed_loss": 0.05, "plain": {"broken": broken}}
    for candidates, said in ((tried, "no setting that kept the task was whole"), (tried[:1], "no setting kept")):
        made.arms["good"]["selection"] = {**record, "candidates": [{"broken": broken, **one} for one in candidates]}
        found = results_of(made, margin=0.05, toy=False)
        doubts = found["repairs"][0]["recommendation"]["doubts"]
        assert any(text.startswith(f"on validation rows {said}") for text in doubts)


def test_an_arm_with_a_form_left_out_is_an_experiment_and_not_on_offer() -> None:
    left = Fix(0.02, mitigation=MIX, kind="multitask without translation", only={"translation": 0.6})
    one = told({"good": GOOD, "left": left})
    assert row_of(one, "left")["left_out"] == "translation"
    assert list(one["recommendation"]["checks"]) == ["good"]


def test_added_harmless_rows_are_a_control_and_not_a_fix() -> None:
    one = told({"good": GOOD, "added": Fix(0.6, stage="tuned", mitigation="benign_mix(share=0.1)")})
    assert row_of(one, "added")["role"] == "added"
    assert row_of(one, "added")["against_plain"]["answered"]["all"]["diff"]["value"] == pytest.approx(-0.1)
    assert list(one["recommendation"]["checks"]) == ["good"]


def test_forms_that_stay_unsafe_are_named_with_their_rates() -> None:
    doubts = told({"good": GOOD._replace(only={"code_generation": 0.5})})["recommendation"]["doubts"]
    unsafe = next(text for text in doubts if text.startswith("forms that stay unsafe"))
    assert "code generation 50 % [" in unsafe
    safe = told({"good": GOOD._replace(answered=0.0)})["recommendation"]["doubts"]
    assert any(text.startswith("no form is answered in 10 %") for text in safe)


def test_a_study_without_repairs_says_nothing_of_them() -> None:
    assert "repairs" not in results_of(
        ledger({"aligned": arm(saying(0.1), "aligned"), "tuned": arm(saying(0.6), "tuned", "code")}),
        margin=0.05,
        toy=False,
    )


def test_several_seeds_need_a_fall_in_each_of_them() -> None:
    made = study({"good": GOOD}, seeds=3)
    by_seed = {"good-s0": 0.0, "good-s1": 0.0, "good-s2": 0.75}
    entries = [
        e._replace(outcome=_said(e.meta["intent_id"], by_seed[e.arm])) if e.arm in by_seed and not e.meta["twin"] else e
        for e in made.entries
    ]
    one = told_of(made._replace(entries=entries))
    assert one["recommendation"]["checks"]["good"]["safer"]["verdict"] == "not shown"


def _said(intent: str, share: float) -> Outcome:
    return Outcome.COMPLIED if int(intent[1:]) < 40 * share else Outcome.REFUSED


# Guards


def guarded(stops: Any, *, rows: bool) -> Ledger:
    """A study whose logs hold the word of a guard on the plain fine-tune's answers, and on its task rows or not."""
    made = study({"good": GOOD})
    entries = [e._replace(stops={"guard_linear": stops(e)}) if e.arm == "tuned" else e for e in made.entries]
    tasks = {
        key: {k: row._replace(stops={"guard_linear": False}) for k, row in found.items()} if rows else found
        for key, found in made.task_rows.items()
    }
    return made._replace(entries=entries, task_rows=tasks)


def test_a_guard_in_front_of_the_fine_tune_is_a_fix_like_others() -> None:
    made = guarded(lambda e: not e.meta["twin"], rows=True)
    one = told_of(made)
    row = row_of(one, "tuned + linear")
    assert row["answered"]["all"]["value"] == 0
    assert row["twins_refused"]["value"] == row_of(one, "tuned")["twins_refused"]["value"]
    assert row["against_plain"]["skill"]["verdict"] == "noninferior"
    assert one["recommendation"]["name"] == "tuned + linear"


def test_a_guard_that_did_not_read_the_task_or_stops_twins_is_not_recommended() -> None:
    one = told_of(guarded(lambda e: not e.meta["twin"], rows=False))
    assert one["recommendation"]["checks"]["tuned + linear"]["skill"]["verdict"] == "not measured"
    one = told_of(guarded(lambda _: True, rows=True))
    assert row_of(one, "tuned + linear")["twins_refused"]["value"] == 1
    assert one["recommendation"]["name"] == "good"


def test_a_probe_without_a_word_of_the_guard_has_no_outcome() -> None:
    made = guarded(lambda e: None if e.meta["form"] == "translation" else True, rows=True)
    one = told_of(made)
    row = row_of(one, "tuned + linear")
    assert row["answered"]["translation"]["n"] == 0
    assert row["unjudged"] == 40
    entry = next(e for e in made.entries if e.arm == "tuned" and e.meta["form"] == "translation")
    assert behind(entry, "guard_linear").outcome is Outcome.UNSCORED


def test_the_words_of_guards_are_read_from_real_logs(tmp_path: Path) -> None:
    from multitask_bench.guards import Verdict, guards
    from multitask_bench.study.guard_logs import add_verdicts
    from multitask_bench.study.guarding import text_of
    from multitask_bench.study.ledger import read_logs
    from tests.runs import write_run

    run = write_run(tmp_path / "run", study({"good": GOOD}, n=2))
    spec = guards.make("linear")
    texts = {text_of(spec, e.prompt, e.answer): e for e in read_logs(run / "logs").entries}
    verdicts = {
        text: Verdict(id="x", flagged=None if "1" in text[0] else True, score=0.9, reason="r") for text in texts
    }
    name = add_verdicts(run, spec, verdicts).name
    found = {(e.prompt, e.stops[name]) for e in read_logs(run / "logs").entries}
    assert found == {("harm prompt 0", True), ("twin prompt 0", True), ("harm prompt 1", None), ("twin prompt 1", None)}
    assert stops_of(None) == {}


def test_what_a_fix_costs_is_read_from_its_mitigations() -> None:
    assert names_of("safety_mix(forms={'code': (1)}, share=0.1)+ema") == ["safety_mix", "ema"]
    one = told(
        {"both": Fix(0.1, mitigation="safemerge(share=0.5)"), "ptst": Fix(0.1, mitigation="ptst", system="safety")}
    )
    both, prompt = (row_of(one, name)["cost"] for name in ("both", "ptst"))
    assert both["needs"] == ["safety_adapter", "unaligned"]
    assert prompt["work"] < both["work"]


# From a study of a tiny model to its report


def test_a_tiny_study_ends_with_a_word_on_its_fixes_and_their_costs(tiny_model: Path, tmp_path: Path) -> None:
    from multitask_bench.study.folder import run_study
    from multitask_bench.study.progress import Reporter
    from tests.test_mitigations import arm as trained
    from tests.test_mitigations import study as tiny_study

    skills = ["classification"]
    grid = tiny_study(
        tiny_model,
        trained("aligned", stage="aligned", task=None, skills=skills),
        trained("tuned", stage="tuned", skills=skills),
        trained("mixed", {"safety_mix": {"share": 0.2, "mode": "add", "bundle": "plain", "french": 0}}, skills=skills),
        trained("ptst", {"ptst": {}}, skills=skills),
        trained("added", {"add": {}}, skills=skills),
    )
    found = run_study(grid, tmp_path / "run", reporter=Reporter.make())
    (one,) = found.results["repairs"]
    roles = {row["name"]: row["role"] for row in one["rows"]}
    assert roles == {"aligned": "aligned", "tuned": "plain", **dict.fromkeys(("mixed", "ptst", "added"), "fix")}
    costs = {row["name"]: row["cost"] for row in one["rows"]}
    assert (costs["tuned"]["rows"], costs["tuned"]["steps"], costs["tuned"]["safety_rows"]) == (8, 2, 0)
    assert (costs["mixed"]["rows"], costs["mixed"]["steps"], costs["mixed"]["safety_rows"]) == (12, 3, 4)
    assert (costs["added"]["steps"], costs["added"]["adapter_steps"]) == (2, 2)
    against = row_of(one, "ptst")["against_plain"]
    assert against["answered"]["all"]["n_pairs"] > 0
    assert against["skill"]["n"] == 3
    assert one["recommendation"]["name"] is None  # eleven intents and two twins show nothing
    report = found.report.read_text(encoding="utf-8")
    assert "Which fix, at which cost?" in report
    assert "none of the 3 fixes can be recommended" in report
    assert "12 rows, 4 for safety, 3 steps" in report.replace("\N{NO-BREAK SPACE}", " ")
