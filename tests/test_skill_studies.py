"""Task skill within studies: an own metric, losses, longer answers, programs that cannot be run; on a tiny real model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import read_eval_log

from multitask_bench.cli.doctor import doctor
from multitask_bench.data.code_tests import isolation_problem
from multitask_bench.errors import ConfigError, MtbError
from multitask_bench.models.chat import encode_row
from multitask_bench.models.engine.local import LocalModel
from multitask_bench.records import write_jsonl
from multitask_bench.study.config import Study
from multitask_bench.study.folder import run_study
from multitask_bench.study.parsing import parsed
from multitask_bench.study.plan import make_plan
from multitask_bench.study.progress import Reporter
from multitask_bench.study.questions import own_task_rows
from multitask_bench.study.steps import Plan

isolated = pytest.mark.skipif(isolation_problem() is not None, reason=str(isolation_problem()))
SCORE = "def score(answers, references):\n    return [float(len(a) >= len(r)) for a, r in zip(answers, references)]\n"
ROWS = [{"prompt": f"Count to {n}.", "completion": " ".join(map(str, range(n)))} for n in range(1, 6)]


def study(model: Path, *, skills: list[str], skill: dict[str, Any], trained: str | None = None) -> Study:
    arms = [{"name": "base", "stage": "base", "skills": skills}]
    if trained is not None:
        arms.append({"name": "tuned", "stage": "tuned", "task": trained, "skills": skills})
    raw = {
        "model": str(model),
        "train": {"steps": 2, "batch_size": 2, "learning_rate": 1e-2},
        "arms": arms,
        "probes": {"intents": 11, "twins": 0, "max_new_tokens": 4, "forms": ["text_generation"]},
        "skill": skill,
    }
    return parsed(raw, Study, where="test")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder with own rows and an own metric."""
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    (tmp_path / "mine.py").write_text(SCORE, "utf-8")
    return tmp_path


def own(mine: Path, **more: Any) -> dict[str, Any]:
    return {"file": f"{mine}/rows.jsonl", "metric": f"{mine}/mine.py@score", "max_new_tokens": 12, **more}


def files(run: Path, *parts: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for part in parts for path in (run / part).rglob("*") if path.is_file()}


def keys(plan: Plan) -> dict[str, str]:
    return {step.title: step.key for kind in (plan.train, plan.answers, plan.logs) for step in kind}


def test_own_rows_have_the_own_metric_the_loss_and_answers_of_their_own_length(tiny_model: Path, mine: Path) -> None:
    grid = study(tiny_model, skills=["own"], skill=own(mine), trained=f"file:{mine}/rows.jsonl")
    run = mine / "run"
    first = run_study(grid, run, reporter=Reporter.make())
    tasks = {(row["arm"], row["metric"]): row for row in first.results["tasks"]}
    for arm in ("base", "tuned"):
        found = tasks[arm, "own:score"]
        assert (found["primary"], found["n"], found["failed"]) == (True, 5, 0)
        assert found["signature"].startswith("mine.py@score|sha256:")
        assert tasks[arm, "loss_per_token"]["n"] == 5
        assert max(tokens(run, f"{arm}--own--none")) == 12
        assert max(tokens(run, f"{arm}--probe--none")) == 4
    model = LocalModel(tiny_model)
    rows = [encode_row(model.tokenizer, row.conversation()) for row in own_task_rows(mine / "rows.jsonl")]
    nats, counted = map(sum, zip(*model.loss_of(rows), strict=True))
    base, tuned = (tasks[arm, "loss_per_token"]["value"] for arm in ("base", "tuned"))
    assert base == pytest.approx(nats / counted, rel=1e-5)
    assert tuned < base  # it was trained on these rows
    assert str(mine) not in str(first.results)

    before = files(run, "steps", "logs")
    assert run_study(grid, run, reporter=Reporter.make()).results == first.results
    assert files(run, "steps", "logs") == before


def tokens(run: Path, name: str) -> list[int]:
    log = read_eval_log(str(run / "logs" / f"{name}.eval"))
    return [sample.output.usage.output_tokens for sample in log.samples or [] if sample.output.usage]


def test_losses_that_an_earlier_run_lacks_are_taken_without_asking_anything_again(tiny_model: Path, mine: Path) -> None:
    run, grid = mine / "run", study(tiny_model, skills=["own"], skill=own(mine))
    first = run_study(grid, run, reporter=Reporter.make()).results
    (taken,) = run.glob("steps/answers-*/losses-*.json")
    before = files(run, "steps", "logs")
    taken.unlink()
    assert run_study(grid, run, reporter=Reporter.make()).results == first
    after = files(run, "steps", "logs")
    assert {path for path in after if after[path] != before[path]} == {taken}

    # Other references to the same prompts: other losses and another log, the same answers.
    write_jsonl(mine / "rows.jsonl", [{**row, "completion": "no"} for row in ROWS])
    asked = files(run, "steps")
    second = run_study(grid, run, reporter=Reporter.make()).results
    assert len(list(run.glob("steps/answers-*/losses-*.json"))) == 2
    assert {path for path in asked if "answers-" in str(path) and files(run, "steps")[path] != asked[path]} == set()
    losses = [next(r["value"] for r in found["tasks"] if r["metric"] == "loss_per_token") for found in (first, second)]
    assert losses[0] != losses[1]


def test_a_row_beyond_the_context_has_no_loss_and_stays_in_the_count(tiny_model: Path, mine: Path) -> None:
    write_jsonl(mine / "rows.jsonl", [*ROWS, {"prompt": "Say it.", "completion": "it " * 1000}])
    results = run_study(study(tiny_model, skills=["own"], skill=own(mine)), mine / "run", reporter=Reporter.make())
    counts = {row["metric"]: row["n"] for row in results.results["tasks"]}
    assert (counts["loss_per_token"], counts["own:score"], counts["chrF"]) == (5, 6, 6)


def test_keys_change_with_what_is_set_for_task_rows_and_with_nothing_else(tiny_model: Path, mine: Path) -> None:
    skill: dict[str, Any] = {"file": f"{mine}/rows.jsonl", "rows": 2}
    plain = keys(make_plan(study(tiny_model, skills=["own", "code", "translation"], skill=skill)))

    def changed(**more: Any) -> set[str]:
        after = keys(make_plan(study(tiny_model, skills=["own", "code", "translation"], skill={**skill, **more})))
        return {title for title in plain if after[title] != plain[title]}

    assert changed(max_new_tokens=4) == set()
    assert changed(max_new_tokens=5) == {"base, own", "base, code", "base, translation"}
    assert changed(metric=f"{mine}/mine.py@score") == {"base, own"}
    with_metric = make_plan(study(tiny_model, skills=["own"], skill={**skill, "metric": f"{mine}/mine.py@score"}))
    (mine / "mine.py").write_text(SCORE + "# a word more\n", "utf-8")
    again = make_plan(study(tiny_model, skills=["own"], skill={**skill, "metric": f"{mine}/mine.py@score"}))
    assert [step.key for step in again.answers] == [step.key for step in with_metric.answers]
    assert [a.key == b.key for a, b in zip(again.logs, with_metric.logs, strict=True)] == [True, False]


@pytest.mark.parametrize(
    ("skill", "body", "message"),
    [
        ({"metric": "mine.py@scor"}, SCORE, "Did you mean 'score'?"),
        ({"metric": "nothing.py@score"}, SCORE, "no such file"),
        ({"metric": "mine.py@score"}, "def score(a, r):\n    return [2.0]\n", "between 0 and 1"),
        ({"metric": "mine.py@score"}, "def score(a, r):\n    return [1 / len(a[0])]\n", "division by zero"),
        ({"metric": "mine.py@score", "file": None}, SCORE, "it measures own rows"),
        ({"max_new_tokens": 0}, SCORE, "skill.max_new_tokens"),
    ],
)
def test_settings_that_cannot_be_stop_a_study_before_anything_runs(
    tiny_model: Path, mine: Path, monkeypatch: pytest.MonkeyPatch, skill: dict[str, Any], body: str, message: str
) -> None:
    (mine / "mine.py").write_text(body, "utf-8")
    monkeypatch.chdir(mine)
    settings = {"file": "rows.jsonl", **skill}
    with pytest.raises(MtbError) as caught:
        run_study(
            study(tiny_model, skills=["own"] if settings["file"] else [], skill=settings),
            mine / "run",
            reporter=Reporter.make(),
        )
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (mine / "run").exists()


def test_a_metric_that_fails_on_an_answer_stops_the_study_and_a_mended_one_goes_on(
    tiny_model: Path, mine: Path
) -> None:
    (mine / "mine.py").write_text("def score(a, r):\n    return [1.0 if a[0] in ('', r[0]) else 2.0]\n", "utf-8")
    grid, run = study(tiny_model, skills=["own"], skill=own(mine)), mine / "run"
    with pytest.raises(ConfigError, match=r"mine\.py@score gave 2\.0; every value is a number between 0 and 1\.$"):
        run_study(grid, run, reporter=Reporter.make())
    assert not list((run / "logs").glob("*own*"))
    asked = files(run, "steps")
    (mine / "mine.py").write_text(SCORE, "utf-8")
    found = run_study(grid, run, reporter=Reporter.make()).results
    assert {row["metric"]: row["failed"] for row in found["tasks"]}["own:score"] == 0
    assert {p for p in asked if "answers-" in str(p) and files(run, "steps")[p] != asked[p]} == set()


@isolated
def test_where_code_cannot_be_run_a_study_says_so_goes_on_and_runs_it_where_it_can(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid, run = study(tiny_model, skills=["code"], skill={"rows": 2}), tmp_path / "run"
    with monkeypatch.context() as here:
        for module in ("evals.skill_scorers", "study.log_writer"):
            here.setattr(f"multitask_bench.{module}.isolation_problem", lambda: "code is not run: no namespaces here.")
        here.setattr("multitask_bench.data.code_tests.run_tests", lambda *_, **__: pytest.fail("code was run"))
        first = run_study(grid, run, reporter=Reporter.make()).results
        said = capsys.readouterr().err
        assert "note: code is not run: no namespaces here." in said
        assert said.index("note: code") < said.index("ask base")
        assert "code: no pass@1 of base; code is not run: no namespaces here." in first["warnings"]
        assert next(row["metric"] for row in first["tasks"] if row["primary"]) == "chrF"
        before = files(run, "steps", "logs")
        assert run_study(grid, run, reporter=Reporter.make()).results == first
        assert files(run, "steps", "logs") == before
    capsys.readouterr()
    second = run_study(grid, run, reporter=Reporter.make()).results
    said = capsys.readouterr().err
    assert "note: code" not in said
    assert "ask base" not in said
    assert not [text for text in second["warnings"] if "pass@1" in text]
    row = next(row for row in second["tasks"] if row["primary"])
    assert (row["metric"], row["n"], row["value"]) == ("pass@1", 2, 0.0)
    before = files(run, "steps", "logs")
    assert run_study(grid, run, reporter=Reporter.make()).results == second
    assert files(run, "steps", "logs") == before


@pytest.mark.parametrize("problem", [None, "code is not run: no namespaces here."])
def test_the_doctor_says_whether_code_can_be_run(
    problem: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("multitask_bench.data.code_tests.isolation_problem", lambda: problem)
    doctor()
    assert capsys.readouterr().out.splitlines()[-1] == (
        problem or "pass@1: programs in answers can be run here, locked"
    )
