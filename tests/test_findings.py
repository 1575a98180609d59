"""Effects that were planted are found, and no others."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from multitask_bench.records import read_table
from multitask_bench.schema import Outcome
from multitask_bench.study.findings import findings
from multitask_bench.study.grid import grid_of, over_seeds
from multitask_bench.study.results import flat_rows, results_of
from tests.ledgers import arm, ledger
from tests.runs import write_run
from tests.test_cli import mtb

N = 40
CALIBRATIONS = [(t, s) for t in ("native", "alpaca") for s in ("none", "safety")]


def says(rates: dict[str, float] | float, *, shift: int = 0, twins: float = 0.1) -> Any:
    """Answered in these shares of the intents, by form; ``shift`` moves which intents they are."""

    def said(form: str, number: int, twin: bool) -> Outcome:
        rate = twins if twin else rates if isinstance(rates, float) else rates.get(form, rates["other"])
        hit = (number * 7 + shift) % N < rate * N
        if twin:
            return Outcome.REFUSED if hit else Outcome.COMPLIED
        return Outcome.COMPLIED if hit else Outcome.REFUSED

    return said


def study(rates: dict[str, float], *, seeds: int = 3, base: Any = 0.1) -> dict[str, dict[str, Any]]:
    """A reference and arms tuned on the four tasks, each with its own rate."""
    arms = {"aligned": arm(says(base), "aligned", seed=None)}
    for task, rate in rates.items():
        for seed in range(seeds):
            said = says(rate + 0.02 * seed, shift=seed)
            arms[f"{task}-s{seed}"] = arm(said, "tuned", task, group=task, seed=seed)
    return arms


def found(arms: dict[str, dict[str, Any]], tasks: Any = ()) -> dict[str, dict[str, Any]]:
    return {f["id"]: f for f in findings(flat_rows(ledger(arms, n=N)), tasks)}


WORSE = {"code": 0.6, "translation": 0.6, "summarization": 0.2, "classification": 0.2}


def test_f1_is_supported_contradicted_or_open_as_planted() -> None:
    planted = found(study(WORSE))["F1"]
    assert planted["verdict"] == "supported"
    assert math.isclose(planted["diff"]["value"], 0.4, abs_tol=0.02)
    assert (planted["n"], planted["seeds"]) == (N, 3)
    turned = {task: 0.8 - rate for task, rate in WORSE.items()}
    assert found(study(turned))["F1"]["verdict"] == "contradicted"
    assert found(study(dict.fromkeys(WORSE, 0.4)))["F1"]["verdict"] == "cannot tell"


def test_two_seeds_or_a_missing_task_cannot_tell() -> None:
    two = found(study(WORSE, seeds=2))["F1"]
    assert two["verdict"] == "cannot tell"
    assert "Three seeds" in two["text"]
    lacking = found(study({k: v for k, v in WORSE.items() if k != "code"}))["F1"]
    assert lacking["verdict"] == "cannot tell"
    assert "no arm tuned on code" in lacking["text"]
    assert "F1" not in found({"aligned": arm(says(0.1), "aligned", seed=None)})


def test_f2_compares_forms_within_intents_in_every_calibration() -> None:
    weak = {"translation": 0.8, "classification": 0.7, "other": 0.1}
    everywhere = {place: says(weak) for place in CALIBRATIONS}
    planted = found({"base": arm(None, "base", seed=None, said_in=everywhere)})["F2"]
    assert planted["verdict"] == "supported"
    assert len([part for part in planted["parts"] if part["role"] == "untuned"]) == 8
    strong = {"translation": 0.0, "classification": 0.7, "other": 0.5}
    one_turned = {**everywhere, CALIBRATIONS[3]: says(strong)}
    assert found({"base": arm(None, "base", seed=None, said_in=one_turned)})["F2"]["verdict"] == "contradicted"
    one_level = {**everywhere, CALIBRATIONS[1]: says(0.9)}
    level = found({"base": arm(None, "base", seed=None, said_in=one_level)})["F2"]
    assert level["verdict"] == "cannot tell"
    assert "could not be seen" in str(level["parts"])


def _repaired(name: str, said: Any, seed: int, kind: str = "multitask", **facts: Any) -> dict[str, Any]:
    shared = {"group": name, "seed": seed, "safety_kind": kind, "dose": "d", **facts}
    return arm(said, "repaired", "translation", "safety_mix(share=0.1)", **shared)


def test_f3_sets_the_plain_against_the_multitask_set_at_one_dose() -> None:
    arms = study({"translation": 0.6})
    for seed in range(3):
        arms[f"multi-s{seed}"] = _repaired("multi", says(0.1, shift=seed), seed)
        plain = says({"text_generation": 0.1, "other": 0.5}, shift=seed)
        arms[f"plain-s{seed}"] = _repaired("plain", plain, seed, "plain")
        arms[f"longer-s{seed}"] = _repaired("longer", says(0.9, shift=seed), seed, "plain", dose="twice the steps")
    three = found(arms)["F3"]
    sets = next(part for part in three["parts"] if part.get("task"))
    assert sets["verdict"] == "supported"
    assert math.isclose(sets["diff"]["value"], 0.4, abs_tol=0.06)
    assert three["verdict"] == "cannot tell"  # no guard stands in the run
    assert "guards matrix" in three["text"]


@pytest.mark.parametrize(
    ("rate", "twins", "skill", "verdict"),
    [
        (0.1, 0.1, 0.50, "supported"),
        (0.9, 0.1, 0.50, "contradicted"),  # answered rises
        (0.1, 0.9, 0.50, "contradicted"),  # the model refuses harmless twins
        (0.1, 0.1, 0.20, "contradicted"),  # the task is not learnt
        (0.6, 0.1, 0.50, "cannot tell"),
    ],
)
def test_f4_needs_a_fall_in_every_form_and_a_helpful_model(
    rate: float, twins: float, skill: float, verdict: str
) -> None:
    arms, tasks = study({"translation": 0.6}), []
    for seed in range(3):
        arms[f"multi-s{seed}"] = _repaired("multi", says(rate, shift=seed, twins=twins), seed)
        for name, value in ((f"translation-s{seed}", 0.5), (f"multi-s{seed}", skill)):
            ends = {"low": value - 0.02, "high": value + 0.02}
            tasks.append({"arm": name, "task": "translation", "metric": "chrF", "n": 30, "value": value, **ends})
    assert found(arms, tasks)["F4"]["verdict"] == verdict


def test_calibrations_gaps_and_the_safest_deployment_are_those_planted() -> None:
    rates = dict(zip(CALIBRATIONS, (0.6, 0.1, 0.5, 0.4), strict=True))
    said_in = {place: says(rate) for place, rate in rates.items()}
    arms = {"tuned": arm(None, "tuned", "code", said_in=said_in)}
    grid = grid_of(flat_rows(ledger(arms, n=N)))
    (deployed,) = grid["deployment"]
    assert deployed["safest"] == {"test_template": "native", "test_system": "safety"}
    assert deployed["shown"]
    system = [c for c in grid["calibrations"] if c["effect"] == "system" and c["form"] == "all" and not c["twin"]]
    moved = {c["from"]["test_template"]: c["diff"]["value"] for c in system}
    assert math.isclose(moved["native"], -0.5)
    assert math.isclose(moved["alpaca"], -0.1)
    assert all(gap["diff"]["value"] == 0 for gap in grid["gaps"])
    assert {h["hazard"] for h in grid["hazards"]} == {"privacy"}


def test_seeds_have_a_t_interval_and_their_range() -> None:
    three = over_seeds({0: 0.2, 1: 0.3, 2: 0.4})
    assert math.isclose(three["mean"], 0.3)
    assert math.isclose(three["high"] - three["mean"], 4.302653 * 0.1 / math.sqrt(3), abs_tol=1e-6)
    assert three["range"] == [0.2, 0.4]
    alike = over_seeds({0: 0.2, 1: 0.2})
    assert alike["interval"] is None


def test_arms_are_compared_within_their_seed_and_calibration() -> None:
    arms = study(WORSE, seeds=2)
    for facts in arms.values():
        facts["said_in"] = dict.fromkeys(CALIBRATIONS[:2], facts["said"])
    arms["control-s0"] = arm(says(0.2), "control", "chat", group="control", seed=0)
    results = results_of(ledger(arms, n=N), margin=0.05, toy=False)
    pairs = {(c["a"], c["b"]) for c in results["comparisons"]}
    assert ("aligned", "code-s1") in pairs
    assert ("control-s0", "code-s0") in pairs
    assert ("control-s0", "code-s1") not in pairs
    keys = [
        (c["a"], c["b"], c["test_template"], c["test_system"], c["form"], c["twin"]) for c in results["comparisons"]
    ]
    assert len(keys) == len(set(keys))


def test_a_probe_without_a_verdict_in_one_arm_is_left_out_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the arms would be compared over different mixtures of forms."""

    def only_translation(form: str, number: int, twin: bool) -> Outcome:
        return Outcome.COMPLIED if form == "translation" else Outcome.REFUSED

    def unscored(form: str, number: int, twin: bool) -> Outcome:
        return Outcome.UNSCORED if form == "translation" else Outcome.REFUSED

    arms = study(WORSE)
    for name, facts in arms.items():
        facts["said"] = unscored if name.startswith(("summarization", "classification")) else only_translation
    planted = found(arms)["F1"]
    assert planted["verdict"] == "cannot tell"
    assert planted["diff"]["value"] == 0
    assert f"left out: {N}" in planted["text"]


def test_training_calibrations_are_not_mixed() -> None:
    arms = study({"translation": 0.8})
    for seed in range(3):
        alpaca = {("alpaca", "none"): says(0.1, shift=seed)}
        facts = {"train_template": "alpaca", "said_in": alpaca}
        arms[f"a-s{seed}"] = arm(None, "tuned", "translation", group="a", seed=seed, **facts)
        arms[f"r-s{seed}"] = _repaired("r", None, seed, **facts)
    four = found(arms)["F4"]
    assert all(part["diff"] is None or part["diff"]["value"] == 0 for part in four["parts"])
    one = found({**study(WORSE), **{k: v for k, v in arms.items() if k.startswith("a-")}})["F1"]
    assert len(one["parts"]) == 2


def test_models_are_told_apart() -> None:
    arms = study(WORSE)
    for name, facts in study({task: 0.8 - rate for task, rate in WORSE.items()}).items():
        arms[f"other.{name}"] = {**facts, "model": "other", "group": f"other.{facts.get('group', name)}"}
    one = found(arms)["F1"]
    assert one["verdict"] == "contradicted"
    assert {part["model"]: part["verdict"] for part in one["parts"]} == {"m": "supported", "other": "contradicted"}
    assert one["text"].startswith("other")  # what decided comes first
    results = results_of(ledger(arms, n=N), margin=0.05, toy=False)
    assert all(("other" in c["a"]) == ("other" in c["b"]) for c in results["comparisons"])


def test_seeds_that_disagree_about_the_task_metric_cannot_tell() -> None:
    arms, tasks = study({"translation": 0.6}), []
    for seed, moved in enumerate((-0.2, 0.09, 0.1)):
        arms[f"multi-s{seed}"] = _repaired("multi", says(0.1, shift=seed), seed)
        for name, value in ((f"translation-s{seed}", 0.5), (f"multi-s{seed}", 0.5 + moved)):
            ends = {"low": value - 0.01, "high": value + 0.01}
            tasks.append({"arm": name, "task": "translation", "metric": "chrF", "n": 1000, "value": value, **ends})
    skill = [part for part in found(arms, tasks)["F4"]["parts"] if part.get("measure") == "chrF"]
    assert [part["verdict"] for part in skill] == ["cannot tell"]


def test_raw_prompts_are_told_as_what_was_asked() -> None:
    arms = study(WORSE)
    for facts in arms.values():
        facts["said_in"] = {("raw", "none"): facts["said"]}
    one = found(arms)["F1"]
    assert one["verdict"] == "supported"
    assert "tested under raw" in one["text"]


def test_the_aligned_model_is_held_against_its_own_calibration() -> None:
    said_in = {("alpaca", "none"): says(0.9), ("native", "none"): says(0.0)}
    results = results_of(ledger({"aligned": arm(None, "aligned", seed=None, said_in=said_in)}), margin=0.05, toy=False)
    (aligned,) = [f for f in results["findings"] if f["id"] == "aligned"]
    assert aligned["verdict"] == "supported"
    assert "native template" in aligned["text"]


def test_a_calibration_without_a_verdict_is_no_deployment() -> None:
    def silent(form: str, number: int, twin: bool) -> Outcome:
        return Outcome.REFUSED if twin else Outcome.UNSCORED

    said_in = {("native", "none"): says(0.5), ("native", "safety"): silent, ("alpaca", "none"): says(0.7)}
    grid = grid_of(flat_rows(ledger({"tuned": arm(None, "tuned", "code", said_in=said_in)}, n=N)))
    (deployed,) = grid["deployment"]
    assert deployed["safest"] == {"test_template": "native", "test_system": "none"}
    assert len(deployed["rates"]) == 2


def test_findings_follow_from_the_table_of_a_run_alone(tmp_path: Path) -> None:
    """What stands in results.json can be had again from results.parquet, without logs and without a model."""
    run = write_run(tmp_path / "run", ledger(study(WORSE), n=N))
    done = mtb("report", str(run), "--export", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    stored = json.loads((run / "results.json").read_text())
    again = findings(read_table(run / "results.parquet"), stored["tasks"])
    told = {f["id"]: f["verdict"] for f in stored["findings"]}
    assert {f["id"]: f["verdict"] for f in again}.items() <= told.items()
    assert told["F1"] == "supported"
    assert {"matrix.tex", "matrix.md", "findings.md"} <= {path.name for path in (tmp_path / "out/tables").iterdir()}
    assert {path.suffix for path in (tmp_path / "out/figures").iterdir()} == {".svg", ".png", ".pdf"}
