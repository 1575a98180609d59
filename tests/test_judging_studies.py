"""Judges that need a model inside a study: the logs, the keys of the steps, what is asked again, who must allow it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import read_eval_log

from multitask_bench.errors import ConfigError, ModelError, RemoteError
from multitask_bench.judges._verdict import Question
from multitask_bench.judges.rubric import Reply
from multitask_bench.study import grading
from multitask_bench.study.config import Study
from multitask_bench.study.folder import run_study
from multitask_bench.study.ledger import read_logs
from multitask_bench.study.parsing import parsed
from multitask_bench.study.plan import make_plan
from multitask_bench.study.progress import Reporter
from multitask_bench.study.rejudge import mixed, panel_facts, survey
from multitask_bench.study.steps import Plan
from tests import tiny

FORMS = ["text_generation", "classification"]


@pytest.fixture(scope="module")
def safe_judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in the manner of Llama Guard that finds everything safe."""
    return tiny.automaton(tmp_path_factory.mktemp("judge") / "guard", {"\n": "safe"}, pieces=["safe"])


def study(model: Path, **changed: Any) -> Study:
    raw = {
        "name": "judged",
        "model": str(model),
        "arms": [{"name": "base", "stage": "base"}],
        "probes": {"intents": 11, "twins": 2, "max_new_tokens": 8, "forms": FORMS},
        **changed,
    }
    return parsed(raw, Study, where="test")


def run(made: Study, folder: Path) -> dict[str, Any]:
    return run_study(made, folder, reporter=Reporter.make()).results


def log_of(folder: Path) -> Any:
    (path,) = (folder / "logs").glob("*.eval")
    return read_eval_log(str(path))


def outcomes(folder: Path, name: str) -> list[str]:
    return [s.scores[name].metadata["outcome"] for s in log_of(folder).samples]


def test_a_classifier_judges_a_whole_study_and_a_panel_stands_beside_it(
    tiny_model: Path, safe_judge: Path, tmp_path: Path
) -> None:
    made = study(
        tiny_model,
        judge="llama_guard",
        judge_settings={"model": str(safe_judge)},
        panel=[{"judge": "refusal"}, {"judge": "harmbench", "settings": {"model": str(safe_judge)}}],
    )
    found = run(made, tmp_path / "run")
    log = log_of(tmp_path / "run")
    assert [s.name for s in log.results.scores] == ["llama_guard", "refusal", "harmbench"]
    assert {row["judge"] for row in found["rows"]} == {"llama_guard"}
    guard = log.eval.metadata["judges"]["llama_guard"]
    assert guard["measures_harm"] is True
    assert {row["judge_hash"] for row in found["rows"]} == {guard["config_hash"]}
    assert str(safe_judge.parent) not in json.dumps(log.eval.metadata)
    scores = [s.scores for s in log.samples]
    assert all(s["llama_guard"].metadata["measures_harm"] for s in scores)
    assert all("measures_harm" not in s["refusal"].metadata for s in scores)
    # What the gate passes is safe, so nothing is `complied`; its harmbench says neither yes nor no.
    assert "complied" not in outcomes(tmp_path / "run", "llama_guard")
    readable = [o for o in outcomes(tmp_path / "run", "refusal") if o != "incoherent"]
    assert outcomes(tmp_path / "run", "harmbench").count("unscored") == len(readable)
    facts = panel_facts(tmp_path / "run")
    assert set(facts["judges"]) == {"llama_guard", "refusal", "harmbench"}
    assert [row["form"] for row in facts["agreement"]] == ["all", "text_generation", "classification"]
    assert facts["answers"] == len(scores)
    assert json.dumps(facts, allow_nan=False)
    before = (tmp_path / "run" / "logs" / "base--probe--none.eval").read_bytes()
    assert run(made, tmp_path / "run") == found
    assert (tmp_path / "run" / "logs" / "base--probe--none.eval").read_bytes() == before


def keys(plan: Plan, kind: str) -> dict[str, str]:
    return {step.title: step.key for step in getattr(plan, kind)}


def test_judges_are_part_of_the_keys_of_logs_and_of_nothing_else(tiny_model: Path, safe_judge: Path) -> None:
    guard = {"judge": "llama_guard", "settings": {"model": str(safe_judge)}}
    plans = [
        make_plan(study(tiny_model)),
        make_plan(study(tiny_model, panel=[guard])),
        make_plan(study(tiny_model, judge="llama_guard", judge_settings=guard["settings"])),
        make_plan(study(tiny_model, judge="rubric", judge_settings={"model": "ollama/one"})),
        make_plan(study(tiny_model, judge="rubric", judge_settings={"model": "ollama/two"})),
    ]
    assert len({tuple(keys(plan, "answers").values()) for plan in plans}) == 1
    assert len({tuple(keys(plan, "logs").values()) for plan in plans}) == len(plans)


def test_a_step_key_of_a_study_with_one_judge_by_rules_is_what_it_was(tiny_model: Path) -> None:
    first, again = make_plan(study(tiny_model)), make_plan(study(tiny_model, judge_settings={}, panel=[]))
    assert keys(first, "logs") == keys(again, "logs")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"judge": "rubric"}, "judge_settings"),
        ({"judge": "wildguard", "judge_settings": {"modle": "x"}}, "Did you mean 'model'"),
        ({"panel": [{"judge": "refusal"}]}, "stands there twice"),
        ({"panel": [{"judge": "wildguard", "settings": {"model": "/no/such/folder"}}]}, "no model"),
    ],
)
def test_a_judge_that_cannot_be_used_stops_the_plan_in_one_line(
    tiny_model: Path, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises((ConfigError, ModelError), match=said) as err:
        make_plan(study(tiny_model, **changed))
    assert "\n" not in str(err.value)


def test_a_remote_grader_needs_the_users_word_before_anything_runs(tiny_model: Path, tmp_path: Path) -> None:
    made = study(tiny_model, panel=[{"judge": "rubric", "settings": {"model": "openai/gpt-5-mini"}}])
    probes = len(make_plan(made).logs[0].questions)
    with pytest.raises(RemoteError, match=f"{probes} requests with their answers would go to 'openai'"):
        run(made, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_grader_that_falls_silent_is_asked_again_for_what_is_missing_alone(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = study(tiny_model, judge="rubric", judge_settings={"model": "ollama/grader"})
    sent: list[int] = []

    def silent(first: int) -> Any:
        def ask(model: str, questions: Sequence[Question], tell: object) -> list[Reply]:
            sent.append(len(questions))
            return [Reply(None) if i < first else Reply("So.\nFinal verdict: refused") for i in range(len(questions))]

        return ask

    monkeypatch.setattr(grading, "ask_model", silent(2))
    with pytest.raises(ModelError, match="2 answers got no reply from the judge rubric"):
        run(made, tmp_path / "run")
    assert not (tmp_path / "run" / "logs").exists()
    monkeypatch.setattr(grading, "ask_model", silent(0))
    run(made, tmp_path / "run")
    assert sent[1] == 2
    assert set(outcomes(tmp_path / "run", "rubric")) <= {"refused", "incoherent"}
    assert log_of(tmp_path / "run").eval.metadata["judges"]["rubric"]["settings"]["model"] == "ollama/grader"
    assert not list((tmp_path / "run" / "steps").glob("*/asked.eval"))


def test_scores_of_two_configurations_under_one_name_are_noticed(tiny_model: Path, tmp_path: Path) -> None:
    from inspect_ai.log import write_eval_log

    run(study(tiny_model), tmp_path / "run")
    assert survey(tmp_path / "run").mixed() == []
    assert panel_facts(tmp_path / "run") == {}
    log = log_of(tmp_path / "run")
    log.samples[0].scores["refusal"].metadata["judge_hash"] = "0" * 16
    write_eval_log(log, log.location.removeprefix("file://"))
    (line,) = survey(tmp_path / "run").mixed()
    assert "the scores of refusal come from 2 configurations of it: 0000000000000000 (1 answers)" in line
    assert mixed({"a": {"x": 3}}) == []
    assert read_logs(tmp_path / "run" / "logs").judge == "refusal"
