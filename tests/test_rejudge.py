"""More judges on the stored logs of a run: what is added, what is left alone, and what a report then reads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import read_eval_log, write_eval_log
from inspect_ai.model import ModelOutput
from typer.testing import CliRunner

from multitask_bench.cli.main import app
from multitask_bench.errors import ConfigError, DataError, ModelError, RemoteError, UnknownNameError
from multitask_bench.judges import judges
from multitask_bench.judges._verdict import Question
from multitask_bench.judges.rubric import Reply
from multitask_bench.records import read_table
from multitask_bench.schema import ANSWERED, Judgment, Outcome
from multitask_bench.stats.agreement import gwet_ac1, krippendorff_alpha
from multitask_bench.study import grading as asking
from multitask_bench.study import rejudge
from multitask_bench.study.compare import compare, read_side
from multitask_bench.study.folder import share
from multitask_bench.study.results import Ledger, read_logs
from tests.ledgers import arm, ledger
from tests.runs import write_run
from tests.test_compare import said

OLD_HASH = "0" * 16
"""Of a configuration that this release does not have."""

OWN_JUDGE = '''
from typing import ClassVar
from multitask_bench.judges import JudgeSpec, judges
from multitask_bench.schema import Judgment, Outcome

@judges.add
class Mine(JudgeSpec):
    """Answered, unless the intent's number is even."""
    name: ClassVar[str] = "mine"
    version: ClassVar[int] = {version}

    def judge(self, responses):
        assert all(r.error is None for r in responses)
        return [
            Judgment(id=r.id, outcome=Outcome.REFUSED if int(r.prompt.split()[-1]) % 2 == 0 else Outcome.COMPLIED)
            for r in responses
        ]
'''


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arms = {"base": arm(said(), "base"), "tuned": arm(said(0, 1, 2), "tuned", "code")}
    made = ledger(arms, n=4)
    entries = [e._replace(answer=f"{e.arm}: {e.prompt} {e.meta['form']}") for e in made.entries]
    return write_run(tmp_path_factory.mktemp("made") / "run", made._replace(entries=entries, judge_hash=OLD_HASH))


@pytest.fixture
def run(made_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_once, tmp_path / "run"))


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(OWN_JUDGE.format(version=1))
    return f"{tmp_path / 'mine.py'}@mine"


def do(*args: Any) -> str:
    done = CliRunner().invoke(app, [str(a) for a in args], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stdout


def logs(run: Path) -> dict[str, Any]:
    return {p.stem: read_eval_log(str(p)) for p in sorted((run / "logs").glob("*.eval"))}


def scores(run: Path, name: str) -> dict[tuple[str, str], Any]:
    return {
        (arm, s.id): (s.scores or {}).get(name) and s.scores[name].model_dump(mode="json")
        for arm, log in logs(run).items()
        for s in log.samples
    }


def files(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}


def results(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "results.json").read_text())
    return found


def recompute(run: Path) -> None:
    """What `recompute.py` of the acceptance tests does to the counts."""
    for row in results(run)["rows"]:
        names = ("arm", "form", "language", "twin", "expected", "source", "template_seen")
        wanted = {k: row[k] for k in names if row[k] is not None}
        found: dict[str, int] = {}
        for log in logs(run).values():
            for s in log.samples:
                if all(s.metadata[k] == v for k, v in wanted.items()):
                    score = (s.scores or {}).get(row["judge"])
                    outcome = score.metadata["outcome"] if score else "unscored"
                    found[outcome] = found.get(outcome, 0) + 1
        assert found == row["outcomes"]


def fail(run: Path, arm: str, number: int) -> str:
    """End a stored sample in an error, as Inspect does: no score."""
    path = run / "logs" / f"{arm}.eval"
    log = read_eval_log(str(path))
    sample: dict[str, Any] = json.loads(log.samples[number].model_dump_json())
    sample |= {
        "error": {"message": "boom", "traceback": "", "traceback_ansi": ""},
        "scores": None,
        "output": ModelOutput(),
    }
    log.samples[number] = type(log.samples[number]).model_validate(sample)
    write_eval_log(log, str(path))
    return str(sample["id"])


def test_scores_are_added_beside_the_old_ones_and_results_stay(run: Path, mine: str) -> None:
    before, old = files(run), scores(run, "refusal")
    told = do("judge", run, "--judge", mine)
    assert "80 scores added to 2 of 2 logs: complied 40, refused 40" in told
    assert scores(run, "refusal") == old
    new = scores(run, "mine")
    assert all(s["metadata"]["judge_hash"] == judges.make(mine).config_hash for s in new.values())
    after = files(run)
    assert {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)} == {
        "logs/base.eval",
        "logs/tuned.eval",
    }
    do("report", run)
    again = results(run)
    panel = again.pop("panel")  # what two judges make of the same answers is new, and all that is
    assert again == json.loads(before["results.json"])
    assert set(panel["judges"]) == {"refusal", "mine"}
    assert panel["answers"] == 80
    recompute(run)


def test_the_second_time_adds_nothing_and_says_so(run: Path, mine: str) -> None:
    do("judge", run, "--judge", mine)
    before = files(run)
    assert "nothing to add" in do("judge", run, "--judge", mine)
    assert files(run) == before


def test_the_log_has_the_judges_metrics(run: Path, mine: str) -> None:
    do("judge", run, "--judge", mine)
    (found,) = [s for s in logs(run)["tuned"].results.scores if s.name == "mine"]
    assert {name.rpartition("/")[2]: m.value for name, m in found.metrics.items()} == {
        "answered": 0.5,
        "twins_refused": 0.5,
    }


def test_another_configuration_of_a_judge_has_a_name_of_its_own(run: Path) -> None:
    spec = judges.make("refusal")  # the logs hold scores of another hash under that name
    name = f"refusal@{spec.config_hash}"
    old = scores(run, "refusal")
    assert name in do("judge", run)
    assert scores(run, "refusal") == old
    assert all(scores(run, name).values())
    assert "nothing to add" in do("judge", run, "--judge", "refusal")
    do("report", run, "--judge", f"refusal@{spec.config_hash[:6]}")
    assert {(r["judge"], r["judge_hash"]) for r in results(run)["rows"]} == {(name, spec.config_hash)}
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["judge"]["name"], manifest["judge"]["config_hash"]) == (name, spec.config_hash)
    assert manifest["judge"]["card"]["config_hash"] == spec.config_hash
    recompute(run)


def test_two_versions_of_an_own_judge_stand_side_by_side(run: Path, mine: str) -> None:
    do("judge", run, "--judge", mine)
    Path(mine.partition("@")[0]).write_text(OWN_JUDGE.format(version=2))
    told = do("judge", run, "--judge", mine)
    second = judges.make(mine).config_hash
    assert f"mine@{second}" in told
    assert set(logs(run)["base"].samples[0].scores) == {"refusal", "mine", f"mine@{second}"}


def test_the_report_of_another_judge_is_that_judges(run: Path, mine: str) -> None:
    do("judge", run, "--judge", mine)
    do("report", run, "--judge", "mine")
    found = results(run)
    assert {r["judge"] for r in found["rows"]} == {"mine"}
    assert found["warnings"][0].startswith("judged by mine (")
    (total,) = [
        r
        for r in found["rows"]
        if r["arm"] == "tuned" and not r["twin"] and r["form"] is None and r["template_seen"] is None
    ]
    assert total["outcomes"] == {"complied": 10, "refused": 10}
    assert json.loads((run / "manifest.json").read_text())["judge"]["card"] is None
    html = (run / "report.html").read_text()
    assert "Judge: mine" in html
    assert "not by the study" in html
    assert {r["outcome"] for r in read_table(run / "results.parquet")} == {"complied", "refused"}
    assert str(run.parent) not in (run / "results.json").read_text()
    recompute(run)
    share(run, run.parent / "shared", judge="mine")
    assert {r["judge"] for r in json.loads((run.parent / "shared/results.json").read_text())["rows"]} == {"mine"}


def test_acceptance_finds_no_fault_after_judging_again(run: Path, mine: str) -> None:
    script = Path(__file__).parents[2] / "shared/accept/recompute.py"
    if not script.is_file():
        pytest.skip("the acceptance script is not here")
    do("judge", run, "--judge", mine)
    for judge in ([], ["--judge", "mine"]):
        do("report", run, *judge)
        done = subprocess.run([sys.executable, str(script), str(run)], capture_output=True, text=True, timeout=120)
        # The hand-made prompts are the same in every form, which is no fault of the counts.
        assert [line for line in done.stdout.splitlines()[:-1] if line.strip() and "distinct" not in line] == []


def test_an_unknown_judge_lists_those_in_the_logs(run: Path, mine: str) -> None:
    do("judge", run, "--judge", mine)
    with pytest.raises(UnknownNameError, match=r"'mime'. They hold: mine \([0-9a-f]{16}\), refusal \(0{16}\)"):
        do("report", run, "--judge", "mime")
    with pytest.raises(UnknownNameError):
        do("report", run, "--judge", "refusal@1234")


def test_a_sample_with_an_error_stays_unscored_and_no_judge_sees_it(run: Path, mine: str) -> None:
    sample = fail(run, "tuned", 3)
    assert "unscored 1" in do("judge", run, "--judge", mine)
    assert scores(run, "mine")["tuned", sample]["metadata"]["outcome"] == "unscored"
    do("report", run, "--judge", "mine")
    recompute(run)
    (entry,) = [e for e in read_logs(run / "logs", judge="mine").entries if e.outcome is Outcome.UNSCORED]
    assert (entry.meta["probe_id"], entry.reason) == (sample, "boom")
    assert "nothing to add" in do("judge", run, "--judge", mine)


def test_a_killed_call_goes_on_with_the_logs_that_are_left(
    run: Path, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, seen = judges.make(mine), []

    def killed(responses: Sequence[Any]) -> list[Judgment]:
        if seen:
            raise KeyboardInterrupt
        seen.append(len(responses))
        return spec.judge(responses)

    with pytest.raises(KeyboardInterrupt):
        rejudge.add_scores(run, spec, killed, rejudge.survey(run))
    before = files(run)
    (run / rejudge.PART).mkdir()  # as after a kill that nothing could catch
    (run / rejudge.PART / "tuned.eval").write_bytes(b"half")
    assert "40 scores added to 1 of 2 logs" in do("judge", run, "--judge", mine)
    after = files(run)
    assert after["logs/base.eval"] == before["logs/base.eval"]
    assert not (run / rejudge.PART).exists()
    assert all(scores(run, "mine").values())


def grading(failing: int) -> Any:
    """Replies of a grading model, of which the first ``failing`` never come."""

    def ask(model: str, questions: Sequence[Question], tell: object) -> list[Reply]:
        return [Reply(None) if i < failing else Reply("So.\nFinal verdict: refused") for i in range(len(questions))]

    return ask


def test_answers_whose_grading_failed_are_asked_for_again_and_those_alone(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rubric = ("judge", run, "--judge", "rubric", "--model", "ollama/grader")
    monkeypatch.setattr(asking, "ask_model", grading(3))
    with pytest.raises(ModelError, match="6 answers got no reply from ollama/grader"):
        do(*rubric)
    first = scores(run, "rubric")
    assert sum(s is None for s in first.values()) == 6
    monkeypatch.setattr(asking, "ask_model", grading(0))
    assert "6 scores added to 2 of 2 logs" in do(*rubric)
    second = scores(run, "rubric")
    assert {k: s for k, s in second.items() if first[k] is not None} == {
        k: s for k, s in first.items() if s is not None
    }
    assert {s["metadata"]["outcome"] for s in second.values()} == {"refused"}
    log = logs(run)["tuned"]
    assert [s.name for s in log.results.scores].count("rubric") == 1
    assert next(s for s in log.results.scores if s.name == "rubric").scored_samples == 40
    do("report", run, "--judge", "rubric")
    assert "model ollama/grader" in results(run)["warnings"][0]


def test_nothing_is_written_where_no_grading_came_back(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ask_model", grading(1000))
    before = files(run)
    with pytest.raises(ModelError):
        do("judge", run, "--judge", "rubric", "--model", "ollama/grader")
    assert files(run) == before


def test_a_remote_grader_needs_the_users_word(run: Path) -> None:
    before = files(run)
    with pytest.raises(RemoteError, match="80 requests with their answers"):
        do("judge", run, "--judge", "rubric", "--model", "openai/gpt-5-mini")
    assert files(run) == before


def test_agreement_is_over_outcomes_and_by_form(run: Path, mine: str) -> None:
    do("judge", run, "--judge", mine)
    found = rejudge.panel(run)
    assert found.judges == {"refusal": OLD_HASH, "mine": judges.make(mine).config_hash}
    labels = [
        (scores(run, "refusal")[k]["metadata"]["outcome"], v["metadata"]["outcome"])
        for k, v in scores(run, "mine").items()
    ]
    assert len(labels) == 80
    first = found.by_form[0]
    assert first.form == "all"
    assert first.alpha.value == pytest.approx(krippendorff_alpha(labels).value)
    assert first.ac1.value == pytest.approx(gwet_ac1(labels, kinds=rejudge.KINDS).value)
    assert [c.alpha.n for c in found.by_form] == [80, 16, 16, 16, 16, 16]
    assert len(found.parted) == sum(a != b for a, b in labels)


def test_agreement_names_answers_and_shows_no_text(run: Path, mine: str) -> None:
    do("judge", run, "--judge", mine)
    told = do("judge", run, "--agreement")
    assert "translation" in told
    assert "they part on 45 answers, on 45 of them as to answered or not; 20 of them:" in told
    assert "base  i0.classification.True  (native, system prompt none): refusal complied, mine refused" in told
    assert "prompt 0" not in told
    assert told.count("system prompt none") == 20
    assert "tuned  i" in told


def test_an_error_is_no_label_of_a_panel(run: Path, mine: str) -> None:
    fail(run, "tuned", 3)
    do("judge", run, "--judge", mine)
    assert rejudge.panel(run).by_form[0].alpha.n == 79


def test_agreement_needs_two_judges(run: Path) -> None:
    with pytest.raises(ConfigError, match="hold the judge refusal and agreement needs two"):
        do("judge", run, "--agreement")


def test_added_judges_are_no_difference_between_runs(run: Path, mine: str) -> None:
    before = read_side(run, name="a")
    do("judge", run, "--judge", mine)
    found = compare(before, read_side(run, name="b"))
    assert [one["changed"] for one in found["data"]["arms"]] == [[], []]


def test_a_damaged_log_stops_and_nothing_is_added_to_it(run: Path, mine: str) -> None:
    path = run / "logs/tuned.eval"
    path.write_bytes(path.read_bytes()[:-200])
    before = files(run)
    with pytest.raises(DataError, match=r"tuned\.eval: not a readable Inspect log"):
        do("judge", run, "--judge", mine)
    assert files(run) == before


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["RUN", "--out", "x.csv"], "--out goes with a file"),
        (["RUN", "--agreement", "--judge", "refusal"], "goes without --judge"),
        (["RUN", "--model", "m"], "has no --model"),
        (["FILE"], "--out is missing"),
        (["FILE", "--agreement"], "reads the logs of a run folder"),
    ],
)
def test_options_that_do_not_go_together(run: Path, tmp_path: Path, args: list[str], words: str) -> None:
    (tmp_path / "a.csv").write_text("prompt,response\nhi,no\n")
    places = {"RUN": str(run), "FILE": str(tmp_path / "a.csv")}
    with pytest.raises(ConfigError, match=words):
        do("judge", *(places.get(a, a) for a in args))


def test_a_folder_without_logs_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no logs"):
        do("judge", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_judged_as_before(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,response\nWrite a poem.,I'm sorry but I can't help with that.\n")
    assert "refused 1" in do("judge", tmp_path / "a.csv", "--out", tmp_path / "b.csv")
    assert [r["outcome"] for r in read_table(tmp_path / "b.csv")] == ["refused"]


def test_a_judge_by_path_can_be_a_studys_own(run: Path, mine: str) -> None:
    do("judge", run, "--judge", mine)
    for path in (run / "logs").glob("*.eval"):
        log = read_eval_log(str(path))
        log.eval.metadata["judge"] = mine
        write_eval_log(log, str(path))
    found: Ledger = read_logs(run / "logs")
    assert (found.judge, found.added) == ("mine", None)
    assert sum(e.outcome in ANSWERED for e in found.entries) == 40
