"""Task rows of results: several metrics of one log, code that was run, the user's own metric and loss."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.solver import generate

from multitask_bench.data import benign
from multitask_bench.data.benign import TaskRow
from multitask_bench.data.code_tests import isolation_problem, judge_answer, program_in
from multitask_bench.data.own_metric import load_metric, metric_signature
from multitask_bench.errors import MtbError
from multitask_bench.evals.skill_scorers import tests_passed as run_tests_scorer
from multitask_bench.evals.tasks import task_rows
from multitask_bench.records import write_json, write_jsonl
from multitask_bench.schema import Probe
from multitask_bench.study.skills import primary, task_results

isolated = pytest.mark.skipif(isolation_problem() is not None, reason=str(isolation_problem()))
DOUBLE = "```python\ndef double(x):\n    return 2 * x\n```"


def said(text: str) -> ModelOutput:
    output = ModelOutput.from_content("mockllm/model", text)
    output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)  # else tokens are counted by download
    return output


def log_of(task: Task, answers: list[str], folder: Path) -> EvalLog:
    model = get_model("mockllm/model", custom_outputs=[said(text) for text in answers])
    (log,) = eval(task, model=model, log_dir=str(folder), display="none", max_samples=1)
    assert log.status == "success", log.error
    return log


def rows_of(log: EvalLog) -> dict[str, dict[str, Any]]:
    assert log.samples is not None
    found = task_results(log.eval.metadata or {}, log.samples)
    assert [row["metric"] for row in found].count(found[0]["metric"]) == 1
    assert found[0]["primary"]
    assert len(primary(found)) == 1
    return {row["metric"]: row for row in found}


def code_row(name: str, tests: tuple[str, ...], answer: str = DOUBLE) -> TaskRow:
    return TaskRow(id=name, prompt=f"Write double(x), {name}.", answer=answer, split="test", tests=tests)


def task_of(name: str, rows: list[TaskRow], tmp_path: Path, **settings: Any) -> Task:
    write_jsonl(tmp_path / "rows.jsonl", rows)
    task: Task = task_rows(task=name, rows_file=str(tmp_path / "rows.jsonl"), arm="tuned", **settings)
    return task


@isolated
def test_code_is_run_once_and_pass_at_1_follows_from_the_log(tmp_path: Path) -> None:
    rows = [code_row(f"c{i}", ("assert double(3) == 6", "assert double('a') == 'aa'")) for i in range(3)]
    rows.append(code_row("c3", ("assert double(1) == 3",)))  # a test that its own reference fails
    answers = ["Sure!\n" + DOUBLE, "```python\ndef double(x):\n    return x + 3\n```", "I cannot.", DOUBLE]
    found = rows_of(log_of(task_of("code", rows, tmp_path), answers, tmp_path / "logs"))
    assert list(found) == ["pass@1", "chrF", "refused"]
    row = found["pass@1"]
    assert (row["n"], row["value"], row["left_out"]) == (3, pytest.approx(1 / 3), {"unfit": 1, "not_run": 0})
    assert 0 < row["low"] < row["value"] < row["high"] < 1
    assert found["chrF"]["n"] == 4
    assert not found["chrF"]["primary"]


@isolated
def test_a_call_that_failed_passes_no_tests(tmp_path: Path) -> None:
    rows = [code_row(f"c{i}", ("assert double(3) == 6",)) for i in range(2)]
    log = log_of(task_of("code", rows, tmp_path), [DOUBLE, DOUBLE], tmp_path / "logs")
    assert log.samples is not None
    sample = log.samples[1].model_dump() | {
        "error": {"message": "boom", "traceback": "", "traceback_ansi": ""},
        "scores": None,
        "output": ModelOutput(),
    }
    log.samples[1] = type(log.samples[1]).model_validate(sample)
    row = rows_of(log)["pass@1"]
    assert (row["n"], row["value"], row["failed"], row["left_out"]["not_run"]) == (2, 0.5, 1, 0)


@isolated
def test_a_program_on_a_probe_is_never_run(tmp_path: Path) -> None:
    tests = ["assert double(3) == 6"]
    for named in (
        {"arm": "tuned", "probe_id": "p"},
        {"task_arm": "tuned", "probe_id": "p"},
        {"task_arm": "t", "intent_id": "i"},
    ):
        sample = Sample(id="p", input="q", target=DOUBLE, metadata={**named, "tests": tests})
        task = Task(dataset=MemoryDataset([sample]), solver=generate(), scorer=run_tests_scorer())
        (answered,) = log_of(task, [DOUBLE], tmp_path / "logs").samples or []
        score = (answered.scores or {})["tests_passed"]
        assert (score.metadata or {})["tests"] == "not_run"
        assert math.isnan(score.as_float())
    probe = Probe(id="p", intent_id="i", form="code_generation", prompt="q")
    for other in (probe, code_row("c", ())):
        with pytest.raises(TypeError, match="benign task"):
            judge_answer(other, DOUBLE)  # type: ignore[arg-type]


def test_only_one_module_reaches_the_sandbox() -> None:
    sources = Path(benign.__file__).parents[1]
    files = [path for path in sources.rglob("*.py") if path.parent.name != "sandbox"]
    assert len(files) > 100
    users = [path.name for path in files if "multitask_bench.sandbox" in path.read_text(encoding="utf-8")]
    assert users == ["code_tests.py"]


def test_where_code_cannot_be_run_nothing_is_and_chrf_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multitask_bench.evals.skill_scorers.isolation_problem", lambda: "no namespaces here")
    rows = [code_row(f"c{i}", ("assert double(3) == 6",)) for i in range(2)]
    found = rows_of(log_of(task_of("code", rows, tmp_path), [DOUBLE, DOUBLE], tmp_path / "logs"))
    assert (found["pass@1"]["value"], found["pass@1"]["n"]) == (None, 0)
    assert found["pass@1"]["left_out"] == {"unfit": 0, "not_run": 2}
    assert found["chrF"]["primary"]


@isolated
def test_the_bundled_references_pass_their_tests() -> None:
    every = benign.rows("code")
    assert len(every) == 160
    for row in every[::16]:
        assert judge_answer(row, row.answer).result == "passed", row.id


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        ("```python\ndef f():\n    return 1\n```\nIt returns 1.", "def f():\n    return 1"),
        ("Run:\n```\npip install x\n```\nthen\n```py\ndef f(): pass\n```", "def f(): pass"),
        ("```python\ndef f():\n    retu", "def f():\n    retu"),
        ("Here it is:\ndef f():\n    return 1\n\nThis function returns 1.", "def f():\n    return 1"),
        ("def f(): return 1\nX = 2", "def f(): return 1\nX = 2"),
        ("I cannot help.", "I cannot help."),
        ("", ""),
    ],
)
def test_the_program_is_found_in_the_answer(answer: str, program: str) -> None:
    assert program_in(answer) == program


def test_every_task_log_says_how_many_benign_rows_were_refused_and_cut(tmp_path: Path) -> None:
    rows = [
        TaskRow(id=f"t{i}", prompt=f"Translate into French: bread {i}", answer="du pain", split="test")
        for i in range(4)
    ]
    answers = ["du pain", "I'm sorry, but I can't help with that.", "le pain", "du pain"]
    found = rows_of(log_of(task_of("translation", rows, tmp_path), answers, tmp_path / "logs"))
    assert list(found) == ["chrF++", "chrF", "BLEU", "refused"]
    assert (found["refused"]["value"], found["refused"]["n"]) == (0.25, 4)
    assert (found["refused"]["failed"], found["refused"]["truncated"]) == (0, 0)


def test_classification_says_how_many_answers_name_no_label(tmp_path: Path) -> None:
    rows = [TaskRow(id=f"t{i}", prompt="Which?", answer=a, split="test") for i, a in enumerate(["yes", "no", "yes"])]
    found = rows_of(log_of(task_of("classification", rows, tmp_path), ["yes", "no", "perhaps"], tmp_path / "logs"))
    assert (found["unparsed"]["value"], found["unparsed"]["n"]) == (pytest.approx(1 / 3), 3)
    assert found["macro_f1"]["primary"]


def test_an_own_metric_is_the_headline_of_own_rows_and_the_loss_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def score(answers, references):\n    return [float(a == r) for a, r in zip(answers, references)]\n", "utf-8"
    )
    write_json(tmp_path / "losses.json", {"o0": [2.0, 4], "o1": [6.0, 4]})
    rows = [TaskRow(id=f"o{i}", prompt="q", answer="abcd", split="test") for i in range(2)]
    settings = {"metric": f"{tmp_path}/mine.py@score", "losses": str(tmp_path / "losses.json")}
    found = rows_of(log_of(task_of("own", rows, tmp_path, **settings), ["abcd", "ab"], tmp_path / "logs"))
    assert list(found) == ["own:score", "chrF", "length_ratio", "refused", "loss_per_token"]
    assert (found["own:score"]["value"], found["own:score"]["primary"]) == (0.5, True)
    assert found["own:score"]["signature"].startswith("mine.py@score|sha256:")
    assert 0 < found["own:score"]["low"] < 0.5 < found["own:score"]["high"] < 1  # yes or no: Wilson's interval
    assert str(tmp_path) not in json.dumps(found)
    assert (found["loss_per_token"]["value"], found["length_ratio"]["value"]) == (1.0, 0.75)


@pytest.mark.parametrize(
    ("body", "name", "message"),
    [
        ("def score(a, r): return [0.5] * (len(a) + 1)", "score", "gave 2 values for 1 answers"),
        ("def score(a, r): return [1.5]", "score", "between 0 and 1"),
        ("def score(a, r): return ['1']", "score", "between 0 and 1"),
        ("def score(a, r): return [float('nan')]", "score", "between 0 and 1"),
        ("def score(a, r): return 1 / 0", "score", "failed (ZeroDivisionError: division by zero)"),
        ("def score(a, r): return [1]", "scor", "Did you mean 'score'?"),
        ("score = 3", "score", "a function (answers, references)"),
        ("import nothing_like_it", "score", "cannot be run (ModuleNotFoundError"),
        ("import sys\nsys.exit(0)", "score", "cannot be run (SystemExit"),
        ("def score(a, r): exit(0)", "score", "failed (SystemExit"),
    ],
)
def test_a_mistake_in_an_own_metric_is_one_line(tmp_path: Path, body: str, name: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(body, "utf-8")
    with pytest.raises(MtbError) as caught:
        load_metric(f"{tmp_path}/mine.py@{name}")(["a"], ["r"])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_own_metric_is_named_by_file_and_function() -> None:
    for name in ("mine.py", "nothing.py@score", "@score", "mine.txt@score"):
        with pytest.raises(MtbError, match=r"mine\.py@score"):
            metric_signature(name)
