"""General capability in a run: whose weights are scored, what each is held against, and what the report says of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from multitask_bench.cli.main import main
from multitask_bench.errors import MtbError
from multitask_bench.models.engine.local import LocalModel
from multitask_bench.records import read_json, write_json, write_jsonl
from multitask_bench.report import capability as told
from multitask_bench.report import mitigation
from multitask_bench.report.export import exported
from multitask_bench.report.html import render
from multitask_bench.study.capability import Asked, capability
from multitask_bench.study.capability_rows import FILE, add_capability, doubts, held_against, made_of
from multitask_bench.study.capability_run import measure_run
from multitask_bench.study.config import Study
from multitask_bench.study.folder import load_run, run_study, sum_up
from multitask_bench.study.ledger import read_logs
from multitask_bench.study.progress import Reporter
from multitask_bench.study.results import results_of
from tests.ledgers import arm as plain_arm
from tests.ledgers import ledger, saying
from tests.report.fixes import Fix, study
from tests.test_mitigations import SELECT, arm
from tests.test_mitigations import study as tiny_study

WORDS = ["a fern", "the long way home", "7", "blue", "under the table", "never again"]
MIX = "safety_mix(mode=add, share=0.1)"
GOOD = Fix(0.1, mitigation=MIX, kind="multitask")


def signature(name: str = "abc") -> str:
    return f"lm-eval:1|sha256:{name}|shots:0|template:none|wilson"


def scored(run: Path, arms: Mapping[str, Any], right: Mapping[str, Sequence[bool]], **changed: Any) -> Study:
    """A run folder with planted answers to ``questions.jsonl``, and a study with its arms."""
    stage = {name: str(facts["stage"]) for name, facts in arms.items()}
    given = [{"name": name, "stage": stage[name], "model": "mockllm/model"} for name in arms]
    made = Study.model_validate({"name": "s", "model": "mockllm/model", "arms": given})
    entries, kept = [], {}
    for cell in made.cells:
        if cell.name in right:
            answers = {f"q{n}": hit for n, hit in enumerate(right[cell.name])}
            value = sum(answers.values()) / len(answers)
            row = {"arm": "?", "task": "choices", "metric": "acc", "signature": signature(), "n": len(answers)}
            row |= {"value": value, "low": max(0.0, value - 0.1), "high": min(1.0, value + 0.1)}
            kept[cell.name] = {"row": {**row, "left_out": {"unfit": 2}}, "right": answers}
            about = {"arm": cell.name, "set": "questions.jsonl", "how": "h", "key": cell.name}
            entries.append({**about, "made": made_of(made, cell, arms[cell.name]), **changed.get(cell.name, {})})
    write_json(run / FILE, {"schema": 1, "margin": 0.05, "arms": entries, "scored": kept})
    return made


def hits(share: float, *, n: int = 200, shift: int = 0) -> list[bool]:
    return [(i * 37 + shift) % n < share * n for i in range(n)]


def found_in(run: Path, fixes: dict[str, Fix], right: Mapping[str, Sequence[bool]], **how: Any) -> dict[str, Any]:
    """The results of a study of fixes with planted capability."""
    made = study(fixes, seeds=how.pop("seeds", 1))
    results = results_of(made, margin=0.05, toy=False)
    add_capability(results, run, scored(run, made.arms, right, **how), made.arms)
    return results


def test_a_loss_that_was_planted_stands_beside_the_fix_in_the_rows_and_among_the_doubts(tmp_path: Path) -> None:
    right = {"aligned": hits(0.9), "tuned": hits(0.8), "good": hits(0.5)}
    results = found_in(tmp_path, {"good": GOOD, "weak": Fix(0.3, mitigation="safe_lora(share=0.2)")}, right)
    rows = {row["arm"]: row for row in results["capability"]}
    assert set(rows) == set(right)
    assert (rows["good"]["against"], rows["good"]["n_pairs"], rows["good"]["verdict"]) == ("tuned", 200, "inferior")
    assert rows["good"]["diff"]["value"] == pytest.approx(-0.3)
    assert (rows["good"]["margin"], rows["good"]["left_out"]) == (0.05, {"unfit": 2})
    assert (rows["tuned"]["against"], rows["tuned"]["verdict"]) == ("aligned", "inferior")
    assert (rows["aligned"]["against"], rows["aligned"]["diff"], rows["aligned"]["verdict"]) == (None, None, None)
    (one,) = results["repairs"]
    assert one["recommendation"]["name"] == "good"
    (doubt,) = [text for text in one["recommendation"]["doubts"] if "general capability" in text]
    assert doubt.startswith("general capability fell: questions -30.0 [-")
    assert doubt.endswith("points, n = 200")
    table = mitigation.fixes_table(results)
    place = table.header.index("questions (general capability, n = 200)")
    cells = {row[0]: row[place] for row in table.rows}
    assert cells["good"].startswith("50.0")
    assert "-30.0 [-" in cells["good"]
    assert cells["good"].endswith("; inferior")
    assert "inferior" not in cells["aligned"]
    assert cells["weak"] == "–"
    line = next(n for n in mitigation.numbers(results) if n["measure"] == "general capability: questions")
    assert {"value", "low", "high", "n", "diff_value"} <= line.keys()
    (table_of_all,) = [item for item in exported(results) if item.name == "capability"]
    assert len(table_of_all.table.rows) == len(table_of_all.numbers) == 3
    assert any("has lost more than 5 points" in row for row in table_of_all.table.rows)


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.8, None),
        (0.78, "general capability: a loss of more than 5 points is not ruled out: questions -2.0 ["),
        (None, "general capability was not measured"),
    ],
)
def test_the_doubt_is_what_the_test_carries(tmp_path: Path, share: float | None, said: str | None) -> None:
    right = {"tuned": hits(0.8, n=100)} | ({} if share is None else {"good": hits(share, n=100)})
    (one,) = found_in(tmp_path, {"good": GOOD}, right)["repairs"]
    found = [text for text in one["recommendation"]["doubts"] if "general capability" in text]
    if said is not None:
        assert len(found) == 1
        assert found[0].startswith(said)
    else:
        assert found == []


def test_where_none_is_recommended_the_fixes_that_lost_are_named(tmp_path: Path) -> None:
    right = {"tuned": hits(0.8), "idle": hits(0.4), "lazy": hits(0.8)}
    fixes = {"idle": Fix(0.7, mitigation="ema"), "lazy": Fix(0.0, skill=0.6, mitigation="ema(decay=0.9)")}
    (one,) = found_in(tmp_path, fixes, right)["repairs"]
    assert one["recommendation"]["name"] is None
    (doubt,) = [text for text in one["recommendation"]["doubts"] if "general capability" in text]
    assert doubt.startswith("general capability fell: idle, questions -40.0 [")
    assert "lazy" not in doubt


def test_scores_that_were_asked_otherwise_or_of_other_weights_are_not_compared(tmp_path: Path) -> None:
    right = {"tuned": hits(0.8), "good": hits(0.5)}
    results = found_in(tmp_path / "how", {"good": GOOD}, right, good={"how": "another limit"})
    (row,) = [row for row in results["capability"] if row["arm"] == "good"]
    assert (row["value"], row["against"], row["verdict"]) == (0.5, None, None)
    doubts = results["repairs"][0]["recommendation"]["doubts"]
    assert "general capability was not compared with that of tuned" in doubts
    results = found_in(tmp_path / "made", {"good": GOOD}, right, good={"made": "before the last change"})
    assert [row["arm"] for row in results["capability"]] == ["tuned"]
    assert any("general capability of good was not measured on the weights" in text for text in results["warnings"])


def test_a_score_stands_only_while_the_logs_are_of_the_weights_that_were_scored(tmp_path: Path) -> None:
    """The names of model and adapter stay the same where an adapter is trained again in place: its hash does not."""
    made = study({"good": GOOD})
    for name, facts in made.arms.items():
        facts["weights"] = f"weights of {name}"
    grid = scored(tmp_path, made.arms, {"tuned": hits(0.8), "good": hits(0.5)})
    made.arms["good"]["weights"] = "trained again"
    results = results_of(made, margin=0.05, toy=False)
    add_capability(results, tmp_path, grid, made.arms)
    assert [row["arm"] for row in results["capability"]] == ["tuned"]
    assert any("general capability of good was not measured on the weights" in text for text in results["warnings"])
    assert not any("do not name their weights" in text for text in results["warnings"])


def test_scores_beside_logs_that_do_not_name_their_weights_are_shown_with_a_note(tmp_path: Path) -> None:
    results = found_in(tmp_path, {"good": GOOD}, {"tuned": hits(0.8), "good": hits(0.5)})
    assert [row["arm"] for row in results["capability"]] == ["tuned", "good"]
    assert any(text.startswith("the logs of tuned, good are of an earlier release") for text in results["warnings"])


def test_scores_by_two_versions_of_a_file_are_named(tmp_path: Path) -> None:
    made = study({"good": GOOD})
    grid = scored(tmp_path, made.arms, {"tuned": hits(0.8), "good": hits(0.5)})
    found = read_json(tmp_path / FILE)
    found["scored"]["good"]["row"]["signature"] = signature("another")
    write_json(tmp_path / FILE, found)
    results = results_of(made, margin=0.05, toy=False)
    add_capability(results, tmp_path, grid, made.arms)
    assert any("on questions.jsonl is of 2 versions of its rows" in text for text in results["warnings"])


@pytest.mark.parametrize(
    ("fix", "measured", "said"),
    [
        (GOOD, True, " for good; tuned scores questions 80.0 % [70.0, 90.0], n = 100"),
        (Fix(0.1, mitigation="ptst"), True, " under its system prompt; tuned scores questions 80.0 % [70.0, 90.0], n"),
        (Fix(0.7, mitigation="ema"), True, " for any fix; tuned scores questions 80.0 % [70.0, 90.0], n = 100"),
        (GOOD, False, " for good, nor for tuned"),
    ],
)
def test_a_fix_without_a_score_is_told_apart_from_a_run_without_any(
    tmp_path: Path, fix: Fix, measured: bool, said: str
) -> None:
    right = {"tuned" if measured else "aligned": hits(0.8, n=100)}
    (one,) = found_in(tmp_path, {"good": fix}, right)["repairs"]
    (doubt,) = [text for text in one["recommendation"]["doubts"] if "general capability" in text]
    assert doubt.startswith(f"general capability was not measured{said}")


def test_behind_a_guard_the_doubt_gives_the_score_of_the_fine_tune(tmp_path: Path) -> None:
    (one,) = found_in(tmp_path, {"good": GOOD}, {"tuned": hits(0.8, n=100)})["repairs"]
    next(row for row in one["rows"] if row["name"] == "good")["guard"] = "guard_linear"
    (doubt,) = doubts(one)
    assert doubt.startswith("general capability was not measured behind a guard; tuned scores questions 80.0 % [")


def test_seeds_are_paired_and_their_mean_has_an_interval_over_questions_and_seeds(tmp_path: Path) -> None:
    right = {f"tuned-s{seed}": hits(0.8, shift=seed) for seed in range(3)}
    right |= {f"good-s{seed}": hits(0.8 - 0.05 * seed, shift=seed) for seed in range(3)}
    results = found_in(tmp_path, {"good": GOOD}, right, seeds=3)
    against = {row["arm"]: row["against"] for row in results["capability"]}
    assert against["good-s2"] == "tuned-s2"
    (one,) = results["repairs"]
    (cell,) = next(row for row in one["rows"] if row["name"] == "good")["capability"]
    assert (cell["seeds"], cell["low"], cell["range"]) == (3, None, pytest.approx([0.7, 0.8]))
    assert cell["against_plain"]["value"] == pytest.approx(-0.05)
    assert cell["against_plain"]["low"] < -0.05 < cell["against_plain"]["high"]
    assert cell["against_plain"]["verdict"] == "inconclusive"
    assert "70 to 80" in " ".join(text for row in mitigation.fixes_table(results).rows for text in row)
    render(results, {"study": "s", "judge": {}, "settings": {}}, [], power=results["power"])


def test_an_arm_that_mends_none_is_held_against_the_model_before_it() -> None:
    made = ledger(
        {
            "base": plain_arm(saying(0.2), "base"),
            "aligned": plain_arm(saying(0.1), "aligned"),
            "tuned": plain_arm(saying(0.7), "tuned", "translation"),
            "other": plain_arm(saying(0.7), "tuned", "translation", model="of another model"),
            "given": plain_arm(saying(0.7), "tuned", model="a folder"),
            "repaired": plain_arm(saying(0.1), "repaired", "code", "ema"),
        },
        n=4,
    )
    found = held_against(results_of(made, margin=0.05, toy=False), made.arms)
    assert found == dict.fromkeys(("tuned", "given", "repaired"), "aligned") | {"aligned": "base"}


def test_an_old_run_says_that_nothing_was_measured_and_shows_no_column(tmp_path: Path) -> None:
    made = study({"good": GOOD})
    results = results_of(made, margin=0.05, toy=False)
    arms = [{"name": name, "stage": str(f["stage"]), "model": "mockllm/model"} for name, f in made.arms.items()]
    empty = Study.model_validate({"name": "s", "model": "mockllm/model", "arms": arms})
    add_capability(results, tmp_path, empty, made.arms)
    assert "capability" not in results
    assert "general capability was not measured" in results["repairs"][0]["recommendation"]["doubts"]
    assert not any("general capability" in name for name in mitigation.fixes_table(results).header)
    assert told.table(results).rows == []
    page = render(results, {"study": "s", "judge": {}, "settings": {}}, [], power=results["power"])
    assert "<h2>General capability" not in page


# A run of a tiny model


@pytest.fixture(scope="module")
def run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    skills = ["classification"]
    grid = tiny_study(
        tiny_model,
        arm("aligned", stage="aligned", task=None, skills=skills),
        arm("tuned", stage="tuned", skills=skills),
        arm("ptst", {"ptst": {}}, skills=skills),
        arm("added", {"add": {}}, select=SELECT, skills=skills),
    )
    run_study(grid, folder / "run", reporter=Reporter.make())
    rows = [{"question": f"Which is {n}?", "choices": WORDS[n % 3 : n % 3 + 3], "answer": n % 3} for n in range(9)]
    write_jsonl(folder / "choices.jsonl", rows)
    return folder / "run"


def called(monkeypatch: pytest.MonkeyPatch, *args: object) -> int:
    monkeypatch.setattr("sys.argv", ["mtb", "capability", *map(str, args)])
    with pytest.raises(SystemExit) as done:
        main()
    return int(str(done.value.code))


def test_a_run_is_scored_by_the_weights_in_its_folder_and_shows_them_in_its_report(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lm_eval")
    before = read_json(run / "results.json")
    asked = f"choices:{run.parent}/choices.jsonl"
    (aligned,) = (run / "steps").glob("align-*/model")
    (chosen,) = (run / "steps").glob("select-*/adapter")
    loaded: dict[str, Any] = {}

    def noted(model: LocalModel, sets: list[str], **how: Any) -> Any:
        loaded[how["arm"]] = (model.folder, model.adapter)
        return capability(model, sets, **how)

    with monkeypatch.context() as here:
        here.setattr("multitask_bench.study.capability.capability", noted)
        assert called(here, "--run", run, "--arm", "added", "--task", asked, "--limit", 6) == 0
    assert loaded["added"] == (aligned, chosen)
    assert (loaded["tuned"][0], loaded["tuned"][1].parent.name.partition("-")[0]) == (aligned, "train")
    said = capfd.readouterr()
    assert "choices (acc), added: " in said.out
    assert "against tuned: " in said.out
    rows = {row["arm"]: row for row in read_json(run / "results.json")["capability"]}
    assert set(rows) == {"tuned", "added"}  # the fix that was asked for, and what it is held against
    (alone,) = capability(LocalModel(aligned, adapter=chosen), [asked], arm="added", limit=6)
    assert {key: rows["added"][key] for key in ("n", "value", "low", "high")} == {
        key: alone.row[key] for key in ("n", "value", "low", "high")
    }
    assert rows["added"]["against"] == "tuned"

    first = read_json(run / FILE)
    with monkeypatch.context() as here:
        here.setattr("multitask_bench.study.capability.capability", lambda *_, **__: pytest.fail("run again"))
        assert called(here, "--run", run, "--arm", "added", "--task", asked, "--limit", 6) == 0
        assert read_json(run / FILE) == first

    capfd.readouterr()
    assert called(monkeypatch, "--run", run, "--task", asked) == 0
    said = capfd.readouterr()
    assert "ptst is skipped: its fix is in the system prompt" in said.err
    results = read_json(run / "results.json")
    assert {row["arm"]: (row["n"], row["against"]) for row in results["capability"]} == {
        "aligned": (9, None),
        "tuned": (9, "aligned"),
        "added": (9, "tuned"),
    }
    assert str(run.parent) not in str(results["capability"])
    kept = {key: value for key, value in results.items() if key not in ("capability", "repairs")}
    assert kept == {key: value for key, value in before.items() if key != "repairs"}
    assert sum_up(run).results == results
    page = re.sub(r"<[^>]+>", " ", (run / "report.html").read_text(encoding="utf-8"))
    assert "general capability, n = 9" in page
    assert "has lost" in page or "neither shown to have kept" in page


def test_a_corrected_file_replaces_its_scores_and_weights_that_changed_are_skipped(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lm_eval")
    copy, file = tmp_path / "run", tmp_path / "arc.jsonl"
    shutil.copytree(run, copy)
    (copy / FILE).unlink(missing_ok=True)
    rows = [{"question": f"Which is {n}?", "choices": WORDS[:3], "answer": n % 3} for n in range(4)]
    for answer in (0, 1):
        write_jsonl(file, [*rows, {"question": "Which is it?", "choices": WORDS[:2], "answer": answer}])
        capfd.readouterr()
        assert called(monkeypatch, "--run", copy, "--arm", "aligned", "--task", f"choices:{file}") == 0
        assert ("its score on arc.jsonl by an earlier version" in capfd.readouterr().err) is bool(answer)
        assert len(read_json(copy / "results.json")["capability"]) == len(read_json(copy / FILE)["arms"]) == 1
    kept = read_json(copy / FILE)
    assert len(kept["scored"]) == 2
    newest = kept["scored"][kept["arms"][0]["key"]]["row"]
    assert read_json(copy / "results.json")["capability"][0]["signature"] == newest["signature"]

    from multitask_bench.study import capability_run

    plan = capability_run.make_plan(load_run(copy))
    assert {log.source.weights for log in plan.logs if log.arm.name == "added"} == {
        read_logs(copy / "logs").arms["added"]["weights"]
    }
    logs = [
        log._replace(source=log.source._replace(identity="trained again")) if log.arm.name == "added" else log
        for log in plan.logs
    ]
    monkeypatch.setattr(capability_run, "make_plan", lambda _: plan._replace(logs=logs))
    capfd.readouterr()
    assert called(monkeypatch, "--run", copy, "--arm", "added", "--task", f"choices:{file}") == 2
    assert "added is skipped: its logs are of other weights than the study gives now" in capfd.readouterr().err


def test_two_files_of_one_name_are_refused(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    places = [tmp_path / name / "arc.jsonl" for name in ("a", "b")]
    for place in places:
        place.parent.mkdir()
        write_jsonl(place, [{"question": "q", "choices": ["a", "b"], "answer": 0}])
    with pytest.raises(MtbError, match="two files of one name"):
        measure_run(run, [f"choices:{p}" for p in places], asked=Asked(), margin=0.05, reporter=Reporter.make())


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--run", "RUN", "--arm", "fixed"], "no arm of RUN is named 'fixed'. Known: added, aligned, ptst, tuned."),
        (["--run", "RUN", "--arm", "ptst"], "no arm is left to score"),
        (["--run", "nothing-here"], "nothing-here: no study.yaml; this is not a run folder."),
        (["--run", "RUN", "--out", "out.json"], "leave MODELS, --out and --base out"),
        (["--arm", "added"], "give MODELS with --out FILE, or --run RUN"),
    ],
)
def test_what_cannot_be_scored_is_one_line(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    args: list[str],
    said: str,
) -> None:
    pytest.importorskip("lm_eval")
    monkeypatch.chdir(tmp_path)
    given = [str(run) if one == "RUN" else one for one in args]
    code = called(monkeypatch, *given, "--task", f"choices:{run.parent}/choices.jsonl")
    err = capfd.readouterr().err
    assert code == 2
    assert said.replace("RUN", str(run) if "named" in said else "RUN") in err


def test_a_remote_arm_is_skipped_with_a_line_and_alone_it_is_an_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lm_eval")
    from tests.runs import write_run

    made = ledger({"base": plain_arm(saying(0.2), "base"), "tuned": plain_arm(saying(0.4), "tuned")}, n=4)
    folder = write_run(tmp_path / "run", made)
    write_jsonl(tmp_path / "rows.jsonl", [{"question": "q", "choices": ["a", "b"], "answer": 0}])
    with pytest.raises(MtbError, match="no arm is left to score"):
        measure_run(
            folder,
            [f"choices:{tmp_path}/rows.jsonl"],
            asked=Asked(),
            margin=0.05,
            reporter=Reporter.make(),
        )
    assert "base is skipped: it is called by name" in capfd.readouterr().err
    assert not (folder / FILE).exists()
