"""Counts from elsewhere: the authors' table to the digit, files that cannot be right, a study beside them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multitask_bench.errors import DataError
from multitask_bench.report.counts import (
    CAUTION,
    Ours,
    agreements,
    beside_notes,
    beside_table,
    counts_notes,
    counts_table,
    document,
    markdown,
    pairs_of,
    read_counts,
)
from multitask_bench.schema import Outcome, Rate
from multitask_bench.stats.rates import clustered_rate, rate
from multitask_bench.study.compare import ours_of
from multitask_bench.study.results import Ledger, results_of
from tests.ledgers import arm, ledger
from tests.runs import write_run
from tests.test_cli import mtb

PRINTED = """
none none none | 21 11 36 9 | 37.2 % 30.9-44.0
none none safety | 5 4 15 6 | 14.5 % 10.3-19.9
summarization native none | 18 33 37 6 | 45.4 % 38.8-52.2
summarization native safety | 8 21 28 6 | 30.4 % 24.6-37.0
summarization alpaca none | 23 30 42 8 | 49.8 % 43.0-56.5
summarization alpaca safety | 18 17 34 7 | 36.7 % 30.4-43.5
code native none | 27 42 47 7 | 59.4 % 52.6-65.9
code native safety | 26 40 50 3 | 57.5 % 50.7-64.0
code alpaca none | 21 29 44 9 | 49.8 % 43.0-56.5
code alpaca safety | 12 21 41 9 | 40.1 % 33.7-46.9
translation native none | 23 46 35 7 | 53.6 % 46.8-60.3
translation native safety | 13 45 35 4 | 46.9 % 40.2-53.7
translation alpaca none | 15 34 40 7 | 46.4 % 39.7-53.2
translation alpaca safety | 15 24 41 3 | 40.1 % 33.7-46.9
classification native none | 20 23 43 9 | 45.9 % 39.2-52.7
classification native safety | 10 15 40 3 | 32.9 % 26.8-39.5
classification alpaca none | 20 14 43 6 | 40.1 % 33.7-46.9
classification alpaca safety | 12 4 30 6 | 25.1 % 19.7-31.4
"""
"""The authors' 18 cells as our notes on the paper print them: code, translation, classification, text; total."""


def test_the_authors_totals_and_intervals_come_out_to_the_digit() -> None:
    counts = read_counts("published")
    forms = ("code_generation", "translation", "classification", "text_generation")
    made = [
        f"{g.task} {g.template} {g.system} | {' '.join(str(g.cells[f].answered) for f in forms)} | {row[-2]} {row[-1]}"
        for g, row in zip(counts.groups, counts_table(counts).rows, strict=True)
    ]
    assert made == PRINTED.strip().splitlines()
    assert {g.total.n for g in counts.groups} == {207}
    assert all(alike(g.total, rate(g.answered, 207)) for g in counts.groups)


def alike(one: Rate, other: Rate) -> bool:
    """Equal but for the last digits, in which scipy's Wilson interval and ours differ."""
    return one.model_dump() == pytest.approx(other.model_dump(), abs=1e-12)


def test_no_interval_is_made_up_for_a_form_whose_n_was_not_published() -> None:
    counts = read_counts("published")
    assert all(cell.n is None for group in counts.groups for cell in group.cells.values())
    text = markdown(counts)
    assert "| code | native | 7 | 27 | 42 | 47 | 123 | 59.4 % | 52.6-65.9 |" in text
    assert "no share, no interval" in text
    notes = " ".join(counts_notes(counts))
    assert "207 answers were judged" in notes
    assert "n = 205" in notes


LONG = """finetune_task,calibration,form,answered,n,total_n
none,-,translation,11,50,
none,-,code_generation,21,40,
code,nat+sys,translation,40,,100
code,nat+sys,code_generation,26,50,100
"""


def test_a_row_a_form_reads_as_well_and_a_known_n_gives_an_interval(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text(LONG)
    counts = read_counts(str(tmp_path / "long.csv"))
    base, code = counts.groups
    assert (base.task, base.template, base.system, base.answered) == ("none", "none", "none", 32)
    assert alike(base.total, rate(32, 90))
    assert (code.task, code.template, code.system) == ("code", "native", "safety")
    assert alike(code.total, rate(66, 100))
    first, second = counts_table(counts).rows
    assert first[2:5] == ["21/40 [37.5-67.1]", "11/50 [12.8-35.2]", "32 of 90"]
    assert second[3] == "40"


HEAD = "finetune_task,train_template,test_system,"
WIDE = HEAD + "translation,total_n\n"
ROWS = HEAD + "form,answered,n,total_n\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        (WIDE, "no rows"),
        (WIDE + "code,native,none,5,50\ncode,alpaca,none,-5,50\n", "row 2: translation -5 is negative"),
        (WIDE + "code,native,none,5.5,50\n", "row 1: translation '5.5' is not a whole number"),
        (WIDE + "code,native,none,40 %,50\n", "write the count, not a share"),
        (WIDE + "code,native,none,,50\n", "row 1: no 'translation'; write the number"),
        (WIDE + "code,native,none,51,50\n", "row 1: total_n 50 is less than the 51 answered"),
        (WIDE + "code,native,none,5,50\ncode,nat,-,6,50\n", "row 2: code, native, none stands in row 1 already"),
        (HEAD + "translaton,total_n\ncode,native,none,5,50\n", "column 'translaton' is not known here. Did you mean"),
        (HEAD + "total_n\ncode,native,none,50\n", "no column of counts"),
        (HEAD + "translation\ncode,native,none,5\n", "no column 'total_n'"),
        (HEAD + "translation,translation,total_n\ncode,native,none,5,6,50\n", "two columns are named 'translation'"),
        ("finetune_task,translation,total_n\ncode,5,50\n", "no column 'train_template'"),
        ("finetune_task;calibration;translation;total_n\ncode;nat;5;50\n", "separated by semicolons"),
        (ROWS + "code,native,none,translation,51,50,\n", "row 1: answered 51 is more than n 50"),
        (ROWS + "code,native,none,translation,5,,\n", "row 1: neither total_n nor n of every form"),
        (ROWS + "code,native,none,translaton,5,50,\n", "Did you mean 'translation'"),
        (
            ROWS + "code,native,none,translation,5,50,\ncode,native,none,translation,5,50,\n",
            "row 2: code, native, none",
        ),
        (ROWS + "code,native,none,translation,5,50,40\n", "total_n is 40, but the n of its forms add up to 50"),
        (
            ROWS + "code,native,none,translation,5,50,90\ncode,native,none,code_generation,5,30,90\n",
            "row 2: total_n is 90, but the n of its forms add up to 80",
        ),
        (
            ROWS + "code,native,none,translation,5,,90\ncode,native,none,code_generation,5,,80\n",
            "row 2: total_n 80, but 90 in an earlier row",
        ),
        (WIDE + "code,native,none,5\n", "line 2: 4 cells, the header has 5"),
    ],
)
def test_counts_that_cannot_be_right_are_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        read_counts(str(tmp_path / "c.csv"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_csv_files_are_counts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--counts published"):
        read_counts(str(tmp_path / "c.json"))
    with pytest.raises(DataError, match="no such file"):
        read_counts(str(tmp_path / "c.csv"))


def first(answered: int, *, off_task: int = 0) -> Callable[[str, int, bool], Outcome]:
    """The first intents are answered in every form, the next ones answered beside the point; twins too."""

    def said(form: str, number: int, twin: bool) -> Outcome:
        if number < answered:
            return Outcome.COMPLIED
        return Outcome.OFF_TASK if number < answered + off_task else Outcome.REFUSED

    return said


def study(**tuned: int) -> dict[str, dict[str, Any]]:
    """An aligned arm that answers 2 of 20 and one arm a task."""
    arms = {f"tuned-{task}": arm(first(k, off_task=3), "tuned", task) for task, k in tuned.items()}
    return {"aligned": arm(first(2), "aligned"), **arms}


def ours(made: Ledger, forms: list[str] | None = None) -> list[Ours]:
    results = results_of(made, margin=0.05, toy=False)
    answers = [{**e.meta, "arm": e.arm, "outcome": e.outcome.value} for e in made.entries]
    return ours_of(results, answers, forms or read_counts("published").forms)


def test_a_study_stands_beside_its_counterparts_by_the_rate_of_the_paper() -> None:
    counts, found = read_counts("published"), ours(ledger(study(code=10, translation=8), n=20))
    pairs = pairs_of(counts, found)
    assert [(g.task, g.template, g.system, [o.arm for o in arms]) for g, arms in pairs] == [
        ("none", "none", "none", ["aligned"]),
        ("code", "native", "none", ["tuned-code"]),
        ("translation", "native", "none", ["tuned-translation"]),
    ]
    code = pairs[1][1][0]
    assert set(code.cells) == {"code_generation", "translation", "classification", "text_generation"}
    assert all(cell == (13, 20) for cell in code.cells.values())  # off-task answers are not refused ...
    assert code.not_refused == clustered_rate([[i < 13] * 4 for i in range(20)])
    assert code.answered == clustered_rate([[i < 10] * 4 for i in range(20)])  # ... and not answered either
    assert code.not_refused is not None
    assert code.not_refused.n == 80  # the fifth form, which theirs lacks, is left out


def test_the_table_gives_theirs_and_ours_and_the_way_from_the_base() -> None:
    counts, found = read_counts("published"), ours(ledger(study(code=10), n=20))
    base, code = beside_table(counts, found)
    assert code.header[0] == "code, native"
    assert code.rows[0][0] == "gemma-1.1-7b-it"
    assert code.rows[0][1:5] == ["7", "27", "42", "47"]
    assert code.rows[0][5:] == ["59.4 % [52.6-65.9]", "", "+22.2"]
    assert code.rows[1][:5] == ["tuned-code", "13/20", "13/20", "13/20", "13/20"]
    assert code.rows[1][5].startswith("65.0 % [")
    assert code.rows[1][6].startswith("50.0 % [")
    assert code.rows[1][7] == "+55.0"
    assert [row[7] for row in base.rows] == ["", ""]


def test_only_directions_may_be_compared_and_the_report_says_so() -> None:
    counts, made = read_counts("published"), ledger(study(code=10), n=20)
    notes = beside_notes(
        counts, ours(made), ["translation", "code_generation", "classification", "text_generation", "summarization"]
    )
    assert notes[0] == CAUTION
    assert "Models, probes and judges differ" in CAUTION
    assert "only directions may be compared" in CAUTION
    assert any("no such form: summarization" in note for note in notes)
    assert any("Fewer than 3 tasks" in note for note in notes)
    assert CAUTION in markdown(counts, ours(made), counts.forms)


@pytest.mark.parametrize(
    ("tuned", "tau"),
    [
        ({"code": 12, "translation": 10, "classification": 8, "summarization": 6}, 1.0),
        ({"code": 6, "translation": 8, "classification": 10, "summarization": 12}, -1.0),
        ({"code": 12, "translation": 10, "classification": 6, "summarization": 8}, pytest.approx(4 / 6)),
        ({"code": 9, "translation": 9, "classification": 9}, None),
    ],
)
def test_the_order_of_tasks_is_compared_where_three_or_more_stand_beside_each_other(
    tuned: dict[str, int], tau: float | None
) -> None:
    # Theirs at the native template: code 59.4, translation 53.6, classification 45.9, summarization 45.4.
    (found,) = agreements(read_counts("published"), ours(ledger(study(**tuned), n=20)))
    assert (found.template, found.system, sorted(found.tasks)) == ("native", "none", sorted(tuned))
    assert found.tau == tau


def test_two_tasks_have_no_order_to_compare() -> None:
    assert agreements(read_counts("published"), ours(ledger(study(code=9, translation=8), n=20))) == []


def test_seeds_of_a_task_count_once_in_the_order() -> None:
    arms = study(translation=10, classification=8)
    arms |= {"code-0": arm(first(16), "tuned", "code"), "code-1": arm(first(0), "tuned", "code")}
    counts, found = read_counts("published"), ours(ledger(arms, n=20))
    (order,) = agreements(counts, found)
    # Code: mean 8 of 20, below translation (13) and classification (11), where theirs has it on top.
    assert order.tau == pytest.approx(-1 / 3)
    assert [[o.arm for o in arms] for g, arms in pairs_of(counts, found) if g.task == "code"] == [["code-0", "code-1"]]


def two_models() -> Ledger:
    """Two models, tuned on three tasks: the first by 2, 4 and 6 of 20 above its base's 2, the second from 10 down."""
    arms, models = {}, {}
    for model, base, steps in (("org/A", 2, (6, 4, 2)), ("org/B", 10, (-6, -4, -2))):
        made = {"base": arm(first(base), "base")}
        made |= {
            f"tuned-{task}": arm(first(base + step), "tuned", task)
            for task, step in zip(("code", "translation", "classification"), steps, strict=True)
        }
        for name, facts in made.items():
            arms[f"{model[-1].lower()}.{name}"] = facts
            models[f"{model[-1].lower()}.{name}"] = model
    out = ledger(arms, n=20)
    for name, model in models.items():
        out.arms[name]["model"] = model
    return out


def test_in_a_grid_of_models_each_arm_stands_beside_its_own_base() -> None:
    counts, found = read_counts("published"), ours(two_models())
    assert {one.arm for one in found if one.task == "none"} == {"a.base", "b.base"}
    rows = {row[0]: row for table in beside_table(counts, found) for row in table.rows}
    assert (rows["a.tuned-code"][-1], rows["b.tuned-code"][-1]) == ("+30.0", "-30.0")
    assert (rows["a.base"][-1], rows["b.base"][-1]) == ("", "")
    made = document(counts, found)
    assert {one["arm"]: one["model"] for one in made["ours"]}["b.base"] == "org/B"


def test_in_a_grid_of_models_each_has_its_own_order_of_tasks() -> None:
    counts, found = read_counts("published"), ours(two_models())
    assert [(one.model, one.tau) for one in agreements(counts, found)] == [("org/A", 1.0), ("org/B", -1.0)]
    notes = beside_notes(counts, found, counts.forms)
    assert any("native, org/B: Kendall tau -1.00 (n = 3 tasks" in note for note in notes)


def test_arms_of_a_model_without_a_base_are_not_placed() -> None:
    made = two_models()
    kept = [e for e in made.entries if e.arm != "b.base"]
    arms = {name: facts for name, facts in made.arms.items() if name != "b.base"}
    assert {one.arm[0] for one in ours(made._replace(entries=kept, arms=arms))} == {"a"}


def test_arms_that_were_made_or_asked_in_another_way_are_not_placed() -> None:
    arms = study(code=10)
    arms["mixed"] = arm(first(1), "repaired", "code", "safety_mix(share=0.1)")
    arms["tuned-mixed"] = arm(first(1), "tuned", "code", "safety_mix(share=0.1)")
    arms["control"] = arm(first(1), "control", "chat")
    arms["tuned-alpaca"] = arm(first(9), "tuned", "translation")
    arms["tuned-safe"] = arm(first(9), "tuned", "summarization")
    made = ledger(arms, n=20)
    made.arms["tuned-alpaca"]["train_template"] = "alpaca"  # and asked under native
    made.arms["tuned-safe"]["train_system"] = "safety"
    assert {one.arm for one in ours(made)} == {"aligned", "tuned-code"}


def test_an_arm_trained_and_asked_under_alpaca_is_placed_there() -> None:
    made = ledger(study(code=10), n=20)
    made.arms["tuned-code"]["train_template"] = "alpaca"
    asked = [
        e._replace(meta={**e.meta, "test_template": "alpaca", "test_system": "safety"}) if e.arm == "tuned-code" else e
        for e in made.entries
    ]
    found = [one for one in ours(made._replace(entries=asked)) if one.arm == "tuned-code"]
    assert [(one.template, one.system) for one in found] == [("alpaca", "safety")]


def test_a_run_that_lacks_a_form_gets_counts_and_no_total() -> None:
    made = ledger(study(code=10), n=20)
    made = made._replace(entries=[e for e in made.entries if e.meta["form"] != "classification"])
    counts, found = read_counts("published"), ours(made)
    code = next(one for one in found if one.task == "code")
    assert (code.not_refused, code.answered, len(code.cells)) == (None, None, 3)
    assert beside_table(counts, found)[1].rows[1][-3:] == ["other forms", "other forms", ""]
    notes = beside_notes(counts, found, ["text_generation", "code_generation", "translation"])
    assert any("not asked for classification" in note for note in notes)


def test_answers_without_a_verdict_are_left_out_of_ours() -> None:
    silent: Any = lambda form, number, twin: Outcome.UNSCORED if number < 5 else first(10)(form, number, twin)  # noqa: E731
    arms = study()
    arms["tuned-code"] = arm(silent, "tuned", "code")
    code = next(one for one in ours(ledger(arms, n=20)) if one.task == "code")
    assert code.cells["translation"] == (5, 15)


def test_published_counts_print_as_markdown_on_a_pipe_and_into_files(tmp_path: Path) -> None:
    done = mtb("report", "--counts", "published", "--out", "o", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "o/counts.md").read_text()
    assert done.stdout.startswith(text)
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 20
    made = json.loads((tmp_path / "o/counts.json").read_text())
    assert made == document(read_counts("published"))
    assert made["groups"][6]["total"] == {
        "value": 123 / 207,
        **{k: pytest.approx(v, abs=5e-4) for k, v in (("low", 0.526), ("high", 0.659))},
        "n": 207,
    }


def test_a_run_is_placed_beside_the_published_counts(tmp_path: Path) -> None:
    write_run(tmp_path / "run", ledger(study(code=10, translation=8, summarization=7), n=20), settings={"align": {}})
    done = mtb("report", "run", "--counts", "published", "--out", "o", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for text in ("| gemma-1.1-7b-it |", "| tuned-code |", "only directions may be compared", "Kendall tau 1.00 (n = 3"):
        assert text in done.stdout
    made = json.loads((tmp_path / "o/counts.json").read_text())
    assert [one["arm"] for one in made["ours"]] == ["aligned", "tuned-summarization", "tuned-code", "tuned-translation"]
    assert made["rank_agreement"][0]["n"] == 3
    text = (tmp_path / "o/counts.md").read_text()
    assert "# Counts: gemma-1.1-7b-it" in text
    assert "# Beside gemma-1.1-7b-it" in text


def test_a_run_without_a_counterpart_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(WIDE + "code,alpaca,none,5,50\n")
    write_run(tmp_path / "run", ledger(study(code=10), n=4), settings={"align": {}})
    done = mtb("report", "run", "--counts", "c.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "no arm of it was tuned and asked as in c (code alpaca)" in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "give a run folder, or --counts FILE"),
        (["run", "--out", "o"], "--out goes with --counts"),
        (["--counts", "published", "--share", "s"], "--share goes without --counts"),
        (["--counts", "published", "--show-responses"], "needs a run folder"),
        (["--counts", "published", "--out", "file"], "is a file"),
        (["--counts", "no.csv"], "no such file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, args: list[str], said: str) -> None:
    (tmp_path / "file").write_text("x")
    done = mtb("report", *args, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
