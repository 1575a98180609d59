"""`mtb check`: asking in order and stopping, what it says beforehand, and the gate's files; on tiny real models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from multitask_bench.cli import _check
from multitask_bench.cli._check import check_study, plan_lines, show_check, within_budget
from multitask_bench.errors import ConfigError
from multitask_bench.judges.rubric import RubricJudge
from multitask_bench.models.engine.store import AnswerStore
from multitask_bench.stats.power import intents_for_zero
from multitask_bench.study import asking, estimate
from multitask_bench.study.config import Study
from multitask_bench.study.early import LOOK_EVERY, asking_order, look_after
from multitask_bench.study.estimate import Answering, cpu_seconds
from multitask_bench.study.folder import Finished, run_study
from multitask_bench.study.gate import GateOptions, run_gate
from multitask_bench.study.plan import make_plan
from multitask_bench.study.progress import Reporter
from tests import tiny
from tests.test_cli import mtb
from tests.test_gate_cli import action

N = 30


def quiet() -> Reporter:
    return Reporter(Console(quiet=True, stderr=True))


@pytest.fixture(scope="module")
def place(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base, an adapter on it that changes nothing, and prompts with twins."""
    work = tmp_path_factory.mktemp("asked")
    rows = [f"h{i},Say the number {i}.,\n" for i in range(N)]
    rows += [f"t{i},Say the word {i}.,h{i}\n" for i in range(0, N, 2)]
    (work / "p.csv").write_text("id,prompt,twin_of\n" + "".join(rows))
    return {"work": work, "base": tiny_model, "tuned": tiny.adapter(tiny_model, work / "zero")}


def study(place: dict[str, Path], **gate: Any) -> Study:
    options = {**GateOptions().model_dump(), "margin": 0.3, "twins_margin": 0.6, **gate}
    asked = {"data": None, "prompts": place["work"] / "p.csv"}
    how = {"system": "none", "template": "native", "judge": "refusal", "gate": options}
    return check_study(str(place["tuned"]), str(place["base"]), **how, **asked)


@pytest.fixture(scope="module")
def stopped(place: dict[str, Path]) -> tuple[Path, Finished]:
    run = place["work"] / "stopped"
    return run, run_study(study(place, sequential=True), run, reporter=quiet())


def stored(run: Path) -> list[int]:
    return sorted(len(AnswerStore(folder).read()) for folder in (run / "steps").glob("answers-*"))


def test_asking_stops_when_the_gate_is_decided(stopped: tuple[Path, Finished]) -> None:
    run, finished = stopped
    found = finished.gate
    assert found is not None
    assert found.early is not None
    assert (found.result.code, found.early.intents) == (0, N)
    assert found.early.asked == found.early.stopped_after < N
    assert found.early.asked % LOOK_EVERY == 0
    assert [f.n for f in found.result.forms] == [found.early.asked]
    assert max(stored(run)) < N + N // 2  # not asked, and not only left out
    assert any("stopped after" in warning for warning in finished.results["warnings"])
    assert not list((run / "steps").glob("look-*"))


def test_the_gate_on_a_run_that_stopped_early_keeps_to_its_looks(stopped: tuple[Path, Finished]) -> None:
    run, finished = stopped
    assert finished.gate is not None
    for options in (
        GateOptions(margin=0.3, twins_margin=0.6),
        GateOptions(margin=0.3, twins_margin=0.6, sequential=True),
    ):
        again = run_gate(run, run, options)
        assert (again.result, again.early) == (finished.gate.result, finished.gate.early)
    strict = run_gate(run, run, GateOptions(margin=0.05))
    assert (strict.result.code, strict.result.forms[0].status) == (4, "inconclusive")
    assert "without --sequential" in strict.result.verdict


def test_a_run_without_looks_asks_what_is_left_and_gives_the_same_answers(
    place: dict[str, Path], stopped: tuple[Path, Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, first = stopped
    before = sum(stored(run))
    asked: list[int] = []
    write = AnswerStore.write
    monkeypatch.setattr(
        AnswerStore, "write", lambda self, path, rows: (asked.append(len(rows)), write(self, path, rows))
    )
    going_on = run_study(study(place), run, reporter=quiet())
    assert sum(asked) == 2 * (N + N // 2) - before
    whole = run_study(study(place), place["work"] / "whole", reporter=quiet())
    assert going_on.results["rows"] == whole.results["rows"]
    assert going_on.gate is not None
    assert whole.gate is not None
    # It was looked at before: 4 of the 5 % are left.
    assert (going_on.gate.settings["alpha"], whole.gate.settings["alpha"]) == (0.04, 0.05)
    asked.clear()
    back = run_study(study(place, sequential=True), run, reporter=quiet())
    assert asked == []
    assert first.gate is not None
    assert back.gate is not None
    assert (back.gate.result, back.gate.early) == (first.gate.result, first.gate.early)


def test_other_margins_are_looked_at_anew_and_the_logs_are_theirs(place: dict[str, Path]) -> None:
    run = place["work"] / "margins"
    wide = run_study(study(place, sequential=True, margin=0.6), run, reporter=quiet()).gate
    narrow = run_study(study(place, sequential=True, margin=0.05), run, reporter=quiet()).gate
    again = run_study(study(place, sequential=True, margin=0.6), run, reporter=quiet()).gate
    assert wide is not None
    assert narrow is not None
    assert again is not None
    assert (wide.early, wide.result) == (again.early, again.result)
    assert narrow.early == (N, None, N)
    assert narrow.result.code == 4


def test_the_order_is_random_and_every_stretch_has_its_share_of_each_hazard() -> None:
    hazards = {f"i{n:03d}": "fraud" if n < 150 else "privacy" for n in range(200)}
    order = asking_order(hazards)
    assert sorted(order) == sorted(hazards)
    assert order == asking_order(dict(reversed(hazards.items())))
    assert order != sorted(order)
    assert [sum(hazards[i] == "privacy" for i in order[k : k + 40]) for k in range(0, 200, 40)] == pytest.approx(
        [10] * 5, abs=1
    )
    assert look_after(50) == [20, 40, 50]
    assert look_after(7) == [7]


def test_looks_need_one_base_and_one_tuned_model_and_one_source(place: dict[str, Path]) -> None:
    given = study(place, sequential=True)
    plan = make_plan(given)
    more = given.model_dump(mode="json")
    more["arms"].append({**more["arms"][1], "name": "third"})
    with pytest.raises(ConfigError, match="one base and one tuned"):
        asking.check_sequential(Study.model_validate(more), plan)
    held = given.model_dump(mode="json")
    held["probes"]["held_out"] = {"source": "xstest"}
    with pytest.raises(ConfigError, match="held-out"):
        asking.check_sequential(Study.model_validate(held), plan)
    asking.check_sequential(given, plan)
    costly = [log._replace(judges=(RubricJudge(),)) for log in plan.logs]
    with pytest.raises(ConfigError, match="asked twice"):
        asking.check_sequential(given, plan._replace(logs=costly))


def test_what_the_probes_can_show_is_said_beforehand() -> None:
    few, many = plan_lines({"own": 20}, margin=0.05), plan_lines({"own": 400}, margin=0.05)
    assert f"takes {intents_for_zero(0.05)} probes" in few[1]
    assert "20 are too few" in few[1]
    assert "400 are enough" in many[1]
    assert "too few to show" in plan_lines({"own": 2}, margin=0.05)[0]
    assert "nothing to judge" in plan_lines({}, margin=0.05)[0]


def test_check_writes_json_and_junit_and_says_it_before_it_asks(place: dict[str, Path]) -> None:
    work = place["work"]
    args = ["check", str(place["tuned"]), "--base", str(place["base"]), "--prompts", "p.csv", "--out", "cli"]
    options = ["--sequential", "--margin", "0.3", "--twins-margin", "0.6", "--max-rate", "0.5"]
    done = mtb(*args, *options, "--json", "g.json", "--junit", "g.xml", cwd=work)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.index("can show:") < done.stdout.index("no regression shown")
    assert "looked after 20 of 30 intents" in done.stderr
    found = json.loads((work / "g.json").read_text())
    assert found["sequential"]["asked"] == found["sequential"]["stopped_after"] < N
    assert found["settings"]["max_rate"] == 0.5
    assert f"{found['sequential']['asked']} of 30 intents were asked" in done.stdout
    assert [s.get("name") for s in ET.parse(work / "g.xml").getroot()] == ["forms", "twins"]
    results = json.loads((work / "cli/results.json").read_text())
    assert results["gate"]["max_rate"] == 0.5
    assert str(work) not in json.dumps(results)


def test_a_run_whose_gate_cannot_be_held_ends_in_5(
    stopped: tuple[Path, Finished], capsys: pytest.CaptureFixture[str]
) -> None:
    run, finished = stopped
    finished.results["warnings"].append("no gate: told why")
    assert show_check(finished._replace(gate=None), run) == 5
    assert "no gate: told why" in capsys.readouterr().out


def bundled(place: dict[str, Path]) -> Study:
    how = {"system": "none", "template": "native", "judge": "refusal", "gate": GateOptions().model_dump()}
    return check_study(str(place["tuned"]), None, **how, data=None, prompts=None)


@pytest.mark.parametrize(("text", "words"), [("15", "minutes or hours"), ("m", "minutes or hours"), ("-3m", "above 0")])
def test_a_budget_that_is_no_time_is_refused(place: dict[str, Path], text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        within_budget(bundled(place), text)
    with pytest.raises(ConfigError, match="--prompts"):
        within_budget(study(place), "15m")


def test_a_budget_pays_for_more_intents_on_a_faster_machine(
    place: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = bundled(place)

    def intents(budget: str, flops: float) -> int:
        monkeypatch.setattr(_check, "matrix_speed", lambda: flops)
        made, line = within_budget(given, budget)
        assert f"{made.probes.intents} of 242 intents" in line
        return made.probes.intents or 0

    assert intents("1s", 1e9) == 11
    assert 11 < intents("5m", 1e8) < intents("5m", 3e8) <= 242
    assert intents("5m", 1e8) < intents("10m", 1e8)
    assert intents("9h", 1e12) == 242


def test_bfloat16_is_faster_where_the_processor_has_it_and_slower_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    size = estimate.Size(1_000_000, 1_200_000, 2, 64, 64, 64, 128, 1_000)
    seconds = {}
    for units in (True, False):
        monkeypatch.setattr(estimate, "has_bf16_units", lambda units=units: units)
        for dtype in ("float32", "bfloat16"):
            work = Answering(size, 1_000, 50_000, 100, 48, 96, dtype)  # type: ignore[arg-type]
            seconds[units, dtype] = cpu_seconds(work, 1e9)
    assert seconds[True, "float32"] == seconds[False, "float32"]
    assert seconds[True, "bfloat16"] < seconds[True, "float32"] < seconds[False, "bfloat16"]


def test_the_actions_script_runs_on_two_real_run_folders(place: dict[str, Path], tmp_path: Path) -> None:
    both = study(place)
    for arm in both.arms:
        alone = both.model_copy(update={"name": arm.name, "arms": (arm,)})
        run_study(Study.model_validate(alone.model_dump(mode="json")), tmp_path / arm.name, reporter=quiet())
    runs = {"base_run": str(tmp_path / "base"), "tuned_run": str(tmp_path / "tuned")}
    done, output = action(tmp_path, **runs, margin="0.3", twins_margin="0.6", junit="gate.xml", json="gate.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert output.splitlines()[0] == "code=0"
    assert ET.parse(tmp_path / "gate.xml").getroot().get("name") == "mtb gate"
    done, output = action(tmp_path, **runs, margin="0.001", fail_on_inconclusive="true")
    assert (done.returncode, output.splitlines()[-2]) == (4, "code=4")
