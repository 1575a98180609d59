"""Guards that a study names: verdicts in the logs of probes and task rows, and their place among the fixes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import EvalError, read_eval_log, write_eval_log
from typer.testing import CliRunner

from multitask_bench import __version__
from multitask_bench.cli.main import app
from multitask_bench.errors import ConfigError, DataError, ModelError, MtbError, RemoteError
from multitask_bench.guards import guards
from multitask_bench.records import read_json, read_table, write_json, write_text
from multitask_bench.report.paths import without_paths
from multitask_bench.study import guard_matrix, guard_steps
from multitask_bench.study.config import Skill, Study, StudyGuard, dump_study, load_study
from multitask_bench.study.folder import Finished, load_run, run_study, sum_up
from multitask_bench.study.guard_matrix import ALL, Matrix, cells_of, data_digest, drops_of, write_cross_form
from multitask_bench.study.guard_steps import read_logs_by, texts_read
from multitask_bench.study.guarding import made
from multitask_bench.study.ledger import read_logs
from multitask_bench.study.parsing import parsed
from multitask_bench.study.plan import make_plan
from multitask_bench.study.progress import Reporter
from tests.guards.own import own_guard
from tests.report.fixes import study as of_fixes
from tests.runs import write_run, write_task_logs

HARM_STOPPER = own_guard(
    "[self.decided(i.id, float(any(w in i.prompt for w in self.words))) for i in items]",
    "words: tuple[str, ...] = ('harm',)",
)


def mtb(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A guard by path, which stops requests that hold a word."""
    monkeypatch.setattr(guards, "_classes", dict(guards._classes))
    (tmp_path / "mine.py").write_text(HARM_STOPPER, "utf-8")
    return f"{tmp_path}/mine.py@mine"


def scores(path: Path) -> dict[str, dict[str, Any]]:
    return {str(s.id): dict(s.scores or {}) for s in read_eval_log(str(path)).samples or []}


def files(run: Path, *parts: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for part in parts for path in (run / part).rglob("*") if path.is_file()}


# Built logs: the guard as a fix


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A run of an aligned model and a fine-tune that answers most, with its task rows; no fix."""
    made = of_fixes({})
    write_task_logs(tmp_path / "run", made)
    return write_run(tmp_path / "run", made)


def recommended(run: Path) -> dict[str, Any]:
    (one,) = sum_up(run).results["repairs"]
    return dict(one)


def row_of(one: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in one["rows"] if row["name"] == name)


def test_a_guard_that_reads_probes_and_task_rows_can_be_the_fix_of_a_run(built: Path, mine: str) -> None:
    assert "repairs" not in sum_up(built).results
    assert mtb("guard", built, "--guard", mine, "--to-logs").exit_code == 0
    one = recommended(built)
    assert one["recommendation"]["name"] == "tuned + mine"
    row = row_of(one, "tuned + mine")
    assert row["answered"]["all"]["value"] == 0
    assert (row["against_plain"]["skill"]["verdict"], row["against_plain"]["skill"]["n"]) == ("noninferior", 60)
    assert row["skill"] == row_of(one, "tuned")["skill"]
    assert "tuned + mine is recommended" in (built / "report.html").read_text("utf-8").replace(
        "\N{NO-BREAK SPACE}", " "
    )


def test_a_guard_that_stops_rows_of_the_task_pays_for_it(built: Path, mine: str) -> None:
    spec = guards.make(mine, {"words": ["harm", "row 1"]})  # row 1, and row 10 to 19
    read_logs_by([spec], built, reporter=Reporter.make(), allowed=())
    one = recommended(built)
    row, plain = row_of(one, "tuned + mine"), row_of(one, "tuned")
    assert one["recommendation"]["checks"]["tuned + mine"]["skill"]["verdict"] == "shown not to be met"
    assert row["skill"]["n"] == 60
    assert 0 < row["skill"]["value"] < plain["skill"]["value"]
    assert one["recommendation"]["name"] is None


def test_the_score_behind_a_guard_is_that_of_the_rows_as_they_are_served(built: Path, mine: str) -> None:
    from multitask_bench.data import benign

    spec = guards.make(mine, {"words": ["row 1"]})
    read_logs_by([spec], built, reporter=Reporter.make(), allowed=())
    rows = read_logs(built / "logs").task_rows["tuned", ("translation", "native", "none")]
    answers = ["" if "row 1" in row.prompt else str(row.answer) for row in rows.values()]
    by_hand = benign.score("translation", answers, [row.target for row in rows.values()])
    skill = row_of(recommended(built), "tuned + mine")["skill"]
    assert skill["value"] == pytest.approx(by_hand["value"])


def test_pass_at_1_and_silence_behind_a_guard_by_hand() -> None:
    from multitask_bench.study.repairs import _guarded_rows, _score_behind
    from multitask_bench.study.task_rows import TaskRow

    bare = {
        "a": TaskRow("p", "t", "x", True, {"g": False}),
        "b": TaskRow("p", "t", "x", True, {"g": True}),
        "c": TaskRow("p", "t", "x", True, {"g": None}),
        "d": TaskRow("p", "t", "x", False, {"g": False}),
    }
    row = {"metric": "pass@1", "n": 4, "value": 0.75, "low": 0.1, "high": 0.9}
    found = _score_behind(row, "code", bare, _guarded_rows(bare, "g"))
    assert found is not None
    assert (found["value"], found["n"]) == (pytest.approx(1 / 3), 3)
    # A row that the guard's server did not answer is as one without its word; one that it read none of is not read.
    unanswered = {**bare, "c": bare["c"]._replace(stops={})}
    assert _guarded_rows(unanswered, "g") == {**_guarded_rows(bare, "g"), "c": TaskRow("p", "t", None, None, {})}
    assert _guarded_rows({key: value._replace(stops={}) for key, value in bare.items()}, "g") == {}
    assert _score_behind({**row, "metric": "own:score"}, "own", bare, _guarded_rows(bare, "g")) is None


def test_task_rows_have_their_verdicts_by_arm_and_task_and_rows_of_their_own(built: Path, mine: str) -> None:
    before = files(built, "logs")
    done = mtb("guard", built, "--guard", mine, "--out", built.parent / "v.parquet")
    assert done.exit_code == 0, done.output
    assert files(built, "logs") == before
    lines = [line for line in done.output.splitlines() if "task rows)" in line]
    assert [line.split()[:2] for line in lines] == [["aligned", "translation"], ["tuned", "translation"]]
    assert all("n=60" in line and "stopped 0.0% [0.0%, 6.0%]" in line for line in lines)
    rows = read_table(built.parent / "v.parquet")
    tasks = [row for row in rows if row["task"] is not None]
    probes = [row for row in rows if row["task"] is None]
    assert (len(tasks), len(probes)) == (120, 2 * 400)
    assert {(row["row_id"] is None, row["outcome"] is None) for row in probes} == {(True, False)}
    assert {(row["probe_id"], row["outcome"], row["flagged"]) for row in tasks} == {(None, None, 0)}
    assert "row 1" not in str(tasks)
    # What gets past model and guard is counted over probes alone.
    assert {line.split("n=")[1].split()[0] for line in done.output.splitlines() if "past model" in line} == {
        "40",
        "200",
    }


def test_samples_that_ended_in_an_error_get_their_verdict_and_a_second_call_adds_nothing(
    built: Path, mine: str
) -> None:
    for path in (built / "logs").glob("tuned*.eval"):
        log = read_eval_log(str(path))
        log.samples[0].error = EvalError(message="gone", traceback="", traceback_ansi="")
        log.samples[0].output.choices = []
        write_eval_log(log, str(path))
    spec = guards.make(mine, {"on": "prompt"})
    read_logs_by([spec], built, reporter=Reporter.make(), allowed=())
    assert all("guard_mine" in found for path in (built / "logs").glob("*.eval") for found in scores(path).values())
    before = files(built, "logs")
    read_logs_by([spec], built, reporter=Reporter.make(), allowed=())
    assert files(built, "logs") == before
    assert "0 scores added to 0 logs" in mtb("guard", built, "--guard", mine, "--to-logs").output


def test_logs_of_task_rows_say_how_many_of_them_are_stopped(built: Path, mine: str) -> None:
    read_logs_by([guards.make(mine, {"words": ["row 1"]})], built, reporter=Reporter.make(), allowed=())
    log = read_eval_log(str(built / "logs/tuned--translation.eval"))
    (found,) = (r for r in log.results.scores if r.name == "guard_mine")
    assert found.metrics["task_rows_stopped"].value == pytest.approx(11 / 60)


def test_two_settings_of_a_guard_stand_beside_each_other_and_keep_their_names(built: Path, mine: str) -> None:
    both = [guards.make(mine), guards.make(mine, {"words": ["row 1"]})]
    read_logs_by(both, built, reporter=Reporter.make(), allowed=())
    names = {name for found in scores(built / "logs/tuned.eval").values() for name in found} - {"refusal"}
    assert names == {"guard_mine", f"guard_mine@{both[1].config_hash}"}
    before = files(built, "logs")
    read_logs_by(both, built, reporter=Reporter.make(), allowed=())
    assert files(built, "logs") == before


def names(run: Path, of: str) -> set[str]:
    return {name for found in scores(run / "logs" / of).values() for name in found} - {"refusal"}


def test_a_guard_whose_configuration_changed_is_no_fix_beside_itself(built: Path, mine: str) -> None:
    old, new = guards.make(mine), guards.make(mine, {"words": ["row 1"]})
    own = f"guard_mine@{new.config_hash}"
    read_logs_by([old], built, reporter=Reporter.make(), allowed=())
    named = [StudyGuard(guard=mine, settings={"words": ["row 1"]})]
    write_text(built / "study.yaml", dump_study(load_run(built).model_copy(update={"guards": tuple(named)})))
    assert "repairs" in sum_up(built).results  # a run of an earlier release, which did not write down its guards
    write_json(built / guard_steps.CHOSEN, [{"name": "mine", "config_hash": new.config_hash}])
    results = sum_up(built).results
    assert "repairs" not in results
    assert any(f"the guard mine ({new.config_hash}) has read 0 of " in text for text in results["warnings"])

    read_logs_by([new], built, reporter=Reporter.make(), allowed=())
    results = sum_up(built).results
    (one,) = results["repairs"]
    assert [row["guard"] for row in one["rows"] if row["guard"]] == [own]
    assert list(one["recommendation"]["checks"]) == [own.replace("guard_", "tuned + ")]
    (warning,) = (text for text in results["warnings"] if "left out of the fixes" in text)
    assert warning.endswith(f": guard_mine ({old.config_hash})")
    assert [item["name"] for item in results["guards"]] == ["guard_mine", own]


def test_a_guard_keeps_its_name_when_the_one_before_it_is_gone_from_the_logs(built: Path, mine: str) -> None:
    old, new = guards.make(mine), guards.make(mine, {"words": ["row 1"]})
    read_logs_by([old, new], built, reporter=Reporter.make(), allowed=())
    for path in (built / "logs").glob("*.eval"):
        log = read_eval_log(str(path))
        for sample in log.samples or []:
            del (sample.scores or {})["guard_mine"]
        write_eval_log(log, str(path))
    before = files(built, "logs")
    read_logs_by([new], built, reporter=Reporter.make(), allowed=())
    assert files(built, "logs") == before
    assert names(built, "tuned.eval") == {f"guard_mine@{new.config_hash}"}
    # The one that comes back takes the name that is free, and then neither moves.
    read_logs_by([old], built, reporter=Reporter.make(), allowed=())
    assert names(built, "tuned.eval") == {"guard_mine", f"guard_mine@{new.config_hash}"}


def test_a_configuration_that_stands_under_two_names_is_one_fix(built: Path, mine: str) -> None:
    spec = guards.make(mine)
    read_logs_by([spec], built, reporter=Reporter.make(), allowed=())
    for path in (built / "logs").glob("*.eval"):
        log = read_eval_log(str(path))
        for sample in log.samples or []:
            assert sample.scores is not None
            sample.scores[f"guard_mine@{spec.config_hash}"] = sample.scores["guard_mine"]
        write_eval_log(log, str(path))
    write_text(
        built / "study.yaml", dump_study(load_run(built).model_copy(update={"guards": (StudyGuard(guard=mine),)}))
    )
    write_json(built / guard_steps.CHOSEN, [{"name": "mine", "config_hash": spec.config_hash}])
    assert [row["guard"] for row in recommended(built)["rows"] if row["guard"]] == ["guard_mine"]


def test_a_shared_copy_names_no_folder_of_the_machine(built: Path, mine: str, tmp_path: Path) -> None:
    read_logs_by([guards.make(mine)], built, reporter=Reporter.make(), allowed=())
    made = load_run(built)
    arms = [arm.model_copy(update={"model": f"{tmp_path}/My Models/one"}) for arm in made.arms]
    arms[1] = arms[1].model_copy(update={"mitigation": {f"{tmp_path}/m.py@m": {"file": f"{tmp_path}/rows.jsonl"}}})
    given = {"guard": mine, "settings": {"model": f"{tmp_path}/LG", "policy": "models/policy.txt"}}
    changed = {
        "arms": tuple(arms),
        "guards": (StudyGuard.model_validate(given),),
        "judge_settings": {"model": f"hf/{tmp_path}/judge"},
        "skill": Skill(file=f"{tmp_path}/skill.jsonl", metric=f"{tmp_path}/mine.py@score"),
    }
    write_text(built / "study.yaml", dump_study(made.model_copy(update=changed)))
    assert mtb("report", built, "--share", tmp_path / "shared").exit_code == 0
    for path in (tmp_path / "shared").iterdir():
        assert str(tmp_path) not in path.read_text("utf-8"), path.name
    report = (tmp_path / "shared/report.html").read_text("utf-8")
    for shown in ("one", "m.py@m", "rows.jsonl", "LG", "models/policy.txt", "hf/judge", "skill.jsonl", "mine.py@score"):
        assert f"&#34;{shown}&#34;" in report, shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("judged by rubric (ab, model /home/me/LG, on both)", "judged by rubric (ab, model LG, on both)"),
        ("/a/x.py@m(share=0.1)+/b/y.py@n", "x.py@m(share=0.1)+y.py@n"),
        ("file:/a/b/rows.jsonl", "file:rows.jsonl"),
        ("C:\\Users\\me\\m", "m"),
        ("~/m/x", "x"),
        *(
            (text, text)
            for text in ("https://host.org/v1/x", "org/name@ab12", "models/LG", "safe and/or sound", "a / b")
        ),
    ],
)
def test_absolute_paths_become_their_last_part_and_nothing_else_changes(text: str, shown: str) -> None:
    assert without_paths({text: [text, 1]}) == {shown: [shown, 1]}


def test_own_weights_by_a_path_that_the_log_does_not_name_keep_their_card(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from multitask_bench.guards._card import keep_card
    from multitask_bench.guards.linear import _bundled

    monkeypatch.setenv("MTB_CACHE", str(tmp_path / "cache"))
    weights = tmp_path / "mine.npz"
    weights.write_bytes(_bundled())
    spec = guards.make("linear", {"weights": str(weights), "threshold": 0.4})
    read_logs_by([spec], built, reporter=Reporter.make(), allowed=())
    assert [(item["name"], item["card"]) for item in sum_up(built).results["guards"]] == [("guard_linear", None)]
    kept = {"guard": "linear", "config_hash": spec.config_hash, "on": "prompt", "measured": [], "not_measured": []}
    keep_card(spec, kept)
    weights.unlink()
    assert sum_up(built).results["guards"][0]["card"] == kept


# Studies


def study(model: Path, **changed: Any) -> Study:
    raw = {
        "name": "guarded",
        "model": str(model),
        "arms": [
            {"name": "base", "stage": "base", "skills": ["translation"]},
            {"name": "tuned", "stage": "tuned", "model": str(model), "skills": ["translation"]},
        ],
        "probes": {"intents": 11, "twins": 2, "max_new_tokens": 4, "forms": ["text_generation"]},
        "skill": {"rows": 3},
        **changed,
    }
    return parsed(raw, Study, where="test")


def run_(made: Study, folder: Path, **how: Any) -> Finished:
    return run_study(made, folder, reporter=Reporter.make(), **how)


def test_a_run_without_guards_is_taken_up_and_only_its_verdicts_are_new(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, plain, guarded = tmp_path / "run", study(tiny_model), study(tiny_model, guards=["linear"])
    first = run_(plain, run)
    assert "guards" not in first.results
    keys = [[step.key for step in [*plan.answers, *plan.logs]] for plan in map(make_plan, (plain, guarded))]
    assert keys[0] == keys[1]
    steps, old = files(run, "steps"), {path: scores(path) for path in (run / "logs").glob("*.eval")}
    capsys.readouterr()
    second = run_(guarded, run)
    said = capsys.readouterr().err
    assert "guard linear: done" in said
    assert "ask" not in said
    assert files(run, "steps") == steps
    for path, before in old.items():
        after = scores(path)
        assert {key: {n: s for n, s in found.items() if n != "guard_linear"} for key, found in after.items()} == before
        assert all("guard_linear" in found for found in after.values())
    assert [item["name"] for item in second.results["guards"]] == ["guard_linear"]
    assert second.results["rows"] == first.results["rows"]
    assert second.results["tasks"] == first.results["tasks"]
    (one,) = second.results["repairs"]
    row = row_of(one, "tuned + linear")
    assert row["against_plain"]["skill"]["n"] == 3

    logs = files(run, "steps", "logs")
    assert run_(guarded, run).results == second.results
    assert files(run, "steps", "logs") == logs
    # A study that no longer names it leaves what stands in the logs.
    assert run_(plain, run).results["repairs"] == second.results["repairs"]
    assert files(run, "steps", "logs") == logs


def test_a_killed_run_goes_on_with_the_logs_that_lack_their_verdicts(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, made = tmp_path / "run", study(tiny_model, guards=["linear"])
    add, done = guard_steps.add_to_log, []

    def killed(path: Path, *rest: Any, **how: Any) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(path)
        return add(path, *rest, **how)

    with monkeypatch.context() as here:
        here.setattr(guard_steps, "add_to_log", killed)
        with pytest.raises(KeyboardInterrupt):
            run_(made, run)
    before = files(run, "steps", "logs")
    run_(made, run)
    after = files(run, "steps", "logs")
    assert {path for path in before if after[path] == before[path]} == {*files(run, "steps"), done[0]}
    assert not (run / ".guarding").exists()


def test_a_study_with_looks_has_the_verdicts_too(tiny_model: Path, tmp_path: Path) -> None:
    run, made = tmp_path / "run", study(tiny_model, guards=["linear"], sequential=True)
    run_(made, run)
    paths = list((run / "logs").glob("*.eval"))
    assert len(paths) == 4
    assert all("guard_linear" in found for path in paths for found in scores(path).values())
    before = files(run, "logs")
    run_(made, run)
    assert files(run, "logs") == before


POLICY = {"guard": "policy", "settings": {"model": "openai/gpt-5-mini"}}
MODERATION = {"guard": "openai_moderation", "settings": {"on": "both"}}


@pytest.mark.parametrize(("guard", "place"), [(POLICY, "openai"), (MODERATION, "api.openai.com")])
def test_a_remote_guard_needs_the_users_word_before_anything_runs(
    tiny_model: Path, tmp_path: Path, guard: dict[str, Any], place: str
) -> None:
    made = study(tiny_model, guards=["linear", guard])
    plan = make_plan(made)
    requests = {q.prompt for log in plan.logs for q in log.questions}
    assert texts_read(plan, plan.guards[0]) == len(requests)
    count = len(requests) if guard is POLICY else 2 * sum(len(log.questions) for log in plan.logs)
    with pytest.raises(RemoteError, match=f"{count} texts, harmful ones among them.*--allow-remote {place}"):
        run_(made, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (["linar"], "Did you mean 'linear'"),
        ([{"guard": "linear", "settings": {"thresold": 0.5}}], "no key 'thresold'. Did you mean 'threshold'"),
        ([{"guard": "linear", "settings": {"on": "both"}}], "reads prompt only"),
        ([{"gaurd": "linear"}], "Did you mean 'guard'"),
        (["policy"], "policy asks a model"),
        (["linear", {"guard": "linear"}], "stands there twice"),
        ([{"guard": "linear", "settings": {"weights": "/no/such.npz"}}], "no such file"),
        ([{"guard": "llama_guard", "settings": {"model": "/no/such/folder"}}], "no model"),
        (["no/such/file.py@mine"], "no such file"),
        ([{"guard": "linear", "settings": {"weights": __file__}}], "not the weights of a linear guard"),
        ([{"guard": "policy", "settings": {"model": "mockllm/m", "policy": "Stop it. " * 40}}], "is no file; name the"),
        ([{"guard": "policy", "settings": {"model": "nobody/m"}}], "nobody/m: "),
        ([{"guard": "llama_guard", "settings": {"model": ".", "weights": "ab"}}], "name its folder as model"),
    ],
)
def test_a_guard_that_cannot_be_used_stops_a_study_before_anything_runs(
    tiny_model: Path, tmp_path: Path, named: list[Any], said: str
) -> None:
    with pytest.raises(MtbError) as caught:
        run_(study(tiny_model, guards=named), tmp_path / "run", allowed=("nobody",))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("failure", ["ModelError('the key is refused.')", "RuntimeError('out of\\nmemory')"])
def test_a_guard_that_fails_leaves_the_results_and_the_other_guards(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    monkeypatch.setattr(guards, "_classes", dict(guards._classes))
    failing = HARM_STOPPER.replace("        return [", f"        raise {failure}\n        return [")
    (tmp_path / "mine.py").write_text(f"from multitask_bench.errors import ModelError\n{failing}", "utf-8")
    made, run = study(tiny_model, guards=[f"{tmp_path}/mine.py@mine", "linear"]), tmp_path / "run"
    said = "the key is refused" if failure.startswith("Model") else "RuntimeError: out of memory"
    with pytest.raises(ModelError, match=rf"^guard mine: {said}\. .*run: the results and the report stand"):
        run_(made, run)
    results = read_json(run / "results.json")
    assert [item["name"] for item in results["guards"]] == ["guard_linear"]
    assert any(re.search(r"the guard mine \(\w+\) has read 0 of \d+ samples", text) for text in results["warnings"])
    assert (run / "report.html").is_file()
    # What the study names is known without the guard's files.
    (tmp_path / "mine.py").unlink()
    assert sum_up(run).results == results


def test_the_policy_of_a_study_is_a_file_or_a_text_over_several_lines(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.txt").write_text("Stop recipes.\n", "utf-8")
    asked = {"model": "mockllm/model"}
    given = [{"guard": "policy", "settings": {**asked, "policy": text}} for text in ("policy.txt", "Stop\nbread.\n")]
    by_file, by_text = guard_steps.guards_of(study(tiny_model, guards=given))
    assert by_file == made("policy", {**asked, "policy": "Stop recipes."})
    assert by_text == made("policy", {**asked, "policy": "Stop\nbread."})


def test_a_guard_in_a_folder_is_named_by_what_the_folder_holds(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hash_of(model: str) -> str:
        (spec,) = guard_steps.guards_of(
            study(tiny_model, guards=[{"guard": "llama_guard", "settings": {"model": model}}])
        )
        assert spec == made("llama_guard", {"model": model})
        return spec.config_hash

    monkeypatch.chdir(tmp_path)
    for name in ("LG", "copy", "Llama-Guard-4"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}", "utf-8")
        (tmp_path / name / "model.safetensors").write_bytes(b"one")
    before = hash_of("LG")
    assert {hash_of("./LG"), hash_of(str(tmp_path / "LG")), hash_of("copy")} == {before}
    assert hash_of("Llama-Guard-4") != before  # the name says how turns are given to it
    (tmp_path / "LG/model.safetensors").write_bytes(b"two")
    assert hash_of("LG") != before
    # Cards are found by hash: that of a hub model is as in earlier releases.
    assert hash_of("meta-llama/Llama-Guard-3-8B") == "1c2282c8d52af9f7"


def test_a_study_written_down_names_its_guards(tiny_model: Path, tmp_path: Path) -> None:
    made = study(tiny_model, guards=["linear", POLICY])
    (tmp_path / "study.yaml").write_text(dump_study(made), "utf-8")
    assert load_study(tmp_path / "study.yaml") == made
    plain_on = load_study(tmp_path / "study.yaml", overrides=["guards=[{guard: wildguard, settings: {on: both}}]"])
    assert plain_on.guards[0].settings == {"on": "both"}
    (tmp_path / "again.yaml").write_text(dump_study(plain_on), "utf-8")
    assert load_study(tmp_path / "again.yaml") == plain_on
    assert load_study(tmp_path / "study.yaml", overrides=["guards=[linear]"]).guards == made.guards[:1]
    with pytest.raises(ConfigError, match="guards"):
        load_study(tmp_path / "study.yaml", overrides=["guards=linear"])


def test_a_dry_run_names_what_guards_read_and_where_it_goes(tiny_model: Path, tmp_path: Path) -> None:
    made = study(tiny_model, guards=["linear", MODERATION, {"guard": "llama_guard", "settings": {"on": "response"}}])
    (tmp_path / "study.yaml").write_text(dump_study(made), "utf-8")
    plan = make_plan(made, download=False)
    one, two, three = (texts_read(plan, spec) for spec in plan.guards)
    done = mtb("run", tmp_path / "study.yaml", "--out", tmp_path / "run", "--dry-run")
    assert done.exit_code == 0, done.output
    assert f"guard linear: {one} texts  " in done.output
    assert f"guard openai_moderation: up to {two} texts to api.openai.com" in done.output
    assert f"guard llama_guard: up to {three} texts" in done.output
    assert f"{two} texts to remote guards" in done.output
    assert "would download meta-llama/Llama-Guard-3-8B" in done.output

    (tmp_path / "study.yaml").write_text(dump_study(study(tiny_model, guards=["linear"])), "utf-8")
    run_(load_study(tmp_path / "study.yaml"), tmp_path / "run")
    done = mtb("run", tmp_path / "study.yaml", "--out", tmp_path / "run", "--dry-run")
    (line,) = (line for line in done.output.splitlines() if "guard linear" in line)
    assert line.split()[-1] == "there"
    assert "remote guards" not in done.output


# The cross-form matrix in a run


def matrix() -> Matrix:
    """Two guards on eight clusters of two forms, each sure of its own form."""
    forms = ["text_generation", "translation"]
    rows: list[dict[str, Any]] = []
    for trained in forms:
        for tested in forms:
            for i in range(8):
                for harmful in (True, False):
                    score = 0.9 if harmful and (trained == tested or i % 2) else 0.1
                    rows.append(
                        {"trained_on": trained, "tested_on": tested, "id": f"{i}.{harmful}", "intent_id": f"i{i}"}
                        | {"cluster": f"c{i}", "source": "bundled", "language": "en", "template_id": "t"}
                        | {"harmful": harmful, "score": score, "threshold": 0.5, "stopped": score >= 0.5}
                    )
    counts = dict.fromkeys(forms, 16)
    settings = {"forms": forms, "rows_trained_on": counts, "rows_tested_on": counts, "threshold": "t", "model": {}}
    return Matrix(rows, cells_of(rows), drops_of(rows), settings)


def test_the_matrix_is_put_into_a_run_and_stays_in_its_report(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = matrix()
    monkeypatch.setattr(guard_matrix, "cross_form", lambda **_: made)  # the real one takes two minutes
    done = mtb("guards", "matrix", "--run", built)
    assert done.exit_code == 0, done.output
    results = read_json(built / "results.json")
    assert results["cross_form"] == json.loads(json.dumps(made.document()))
    assert "Do guards carry over between forms?" in (built / "report.html").read_text("utf-8")
    rows = read_table(built / "cross_form.parquet")
    assert cells_of(rows) == made.cells
    assert sum_up(built).results["cross_form"] == made.document()
    own = next(c for c in made.cells if c["source"] == ALL and c["trained_on"] == c["tested_on"])
    assert own["tpr"]["value"] == 1.0


def test_the_matrix_that_is_published_can_be_read(built: Path) -> None:
    published = Path(__file__).parents[2] / "benchmarks/guards/results/matrix/matrix.json"
    (built / "cross_form.json").write_bytes(published.read_bytes())
    results = sum_up(built).results
    assert results["cross_form"] == read_json(published)
    assert any("does not say which bundled data it was made from" in text for text in results["warnings"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"version": "0.0.1"}, "by multitask-bench 0.0.1 (now "),
        ({"data_sha256": "of other rows"}, "from other bundled data than that of now"),
        ({"forms": ["a form of another release"]}, "from other bundled data than that of now"),
    ],
)
def test_a_matrix_of_other_data_or_of_another_release_is_shown_with_a_warning(
    built: Path, changed: dict[str, Any], said: str | None
) -> None:
    made = matrix()
    settings = {**made.settings, "version": __version__, "data_sha256": data_digest(made.settings["forms"])}
    write_cross_form(built, made._replace(settings=settings | changed))
    results = sum_up(built).results
    assert results["cross_form"]["cells"] == made.cells
    found = [text for text in results["warnings"] if "cross-form matrix" in text]
    assert len(found) == (said is not None)
    assert said is None or said in found[0]
    assert said is None or "mtb guards matrix --run" in found[0]


def test_a_matrix_that_is_made_now_names_its_data_and_needs_no_warning() -> None:
    document = guard_matrix.cross_form(["text_generation"]).document()
    assert document["settings"]["version"] == __version__
    assert guard_matrix.outdated(document) is None


def test_the_digest_of_the_data_moves_with_any_row(monkeypatch: pytest.MonkeyPatch) -> None:
    forms = ["text_generation", "translation"]
    before = data_digest(forms)
    real = guard_matrix.probe_examples

    def relabelled(*args: Any, **how: Any) -> Any:
        first, *others = real(*args, **how)
        return [first._replace(text=f"{first.text}."), *others]

    monkeypatch.setattr(guard_matrix, "probe_examples", relabelled)
    assert data_digest(forms) != before


@pytest.mark.parametrize("text", ["{", "[]", '{"cells": []}', "\x00"])
def test_a_damaged_matrix_is_one_line_that_names_the_file(built: Path, text: str) -> None:
    (built / "cross_form.json").write_text(text, "utf-8")
    with pytest.raises(DataError, match=r"cross_form\.json: .*mtb guards matrix --run") as caught:
        sum_up(built)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_run_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_matrix, "cross_form", lambda **_: pytest.fail("work was done"))
    assert isinstance(mtb("guards", "matrix", "--run", tmp_path).exception, DataError)
