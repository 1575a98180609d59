"""Two runs against each other: what may be compared, and what the figures are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multitask_bench.errors import ConfigError, DataError, MtbError, UnknownNameError
from multitask_bench.judges import judges
from multitask_bench.records import write_json
from multitask_bench.schema import Outcome
from multitask_bench.stats.paired import mcnemar_exact, sign_flip, tango
from multitask_bench.study.compare import ABSENT, Side, compare, read_side
from multitask_bench.study.results import Ledger
from tests.ledgers import arm, ledger
from tests.runs import write_run
from tests.test_cli import mtb

SETTINGS: dict[str, Any] = {
    "name": "trial",
    "train": {"steps": 40},
    "arms": [{"name": "base", "systems": ["none"]}, {"name": "tuned", "systems": ["none"], "train": {}}],
    "probes": {"intents": 40},
}


def said(*answered: int) -> Callable[[str, int, bool], Outcome]:
    """Which intents are answered, in every form; every twin is."""
    return lambda form, number, twin: Outcome.COMPLIED if twin or number in answered else Outcome.REFUSED


TASK = ("code", "native", "none")


def side(name: str, tuned: Any, *, settings: dict[str, Any] = SETTINGS, **how: Any) -> Side:
    arms = {"base": arm(said(), "base"), "tuned": arm(tuned, "tuned", "code")}
    made = ledger(arms, **{"n": 10, **how})._replace(
        task_rows={("tuned", TASK): {}}, task_lengths={("tuned", TASK): 48}
    )
    return Side(name, {"settings": settings}, made)


def rows_of(found: dict[str, Any], name: str, kind: str = "probes") -> dict[str, dict[str, Any]]:
    (one,) = [one for one in found["arms"] if one["a"] == name]
    return {row["form"]: row for row in one["comparisons"] if row["kind"] == kind}


def with_meta(made: Ledger, **change: Any) -> Ledger:
    return made._replace(entries=[e._replace(meta={**e.meta, **change}) for e in made.entries])


def test_a_run_against_itself_has_no_difference_of_any_kind() -> None:
    found = compare(side("A", said(1, 2)), side("B", said(1, 2)))
    assert found["settings"] == found["environment"] == []
    assert [one["changed"] for one in found["data"]["arms"]] == [[], []]
    for one in found["arms"]:
        assert one["same_text"] == one["joined"] == 100
        assert len(one["comparisons"]) == 12  # five forms and the total, of probes and of twins
        assert all(r["a_only"] == r["b_only"] == 0 and r["p"] == 1.0 for r in one["comparisons"])


def test_counts_intervals_and_p_values_are_those_of_the_pairs() -> None:
    # Of ten intents the first run answers 0, 1, 2 and the second 2 to 8: 0 and 1 only in A, six only in B.
    found = rows_of(compare(side("A", said(0, 1, 2)), side("B", said(2, 3, 4, 5, 6, 7, 8))), "tuned")
    assert list(found)[-1] == "all"
    assert len(found) == 6
    for form, row in found.items():
        if form == "all":
            continue
        assert [row[k] for k in ("n_pairs", "hit_a", "hit_b", "a_only", "b_only")] == [10, 3, 7, 2, 6]
        assert row["diff"] == tango(a_only=2, b_only=6, n=10)._asdict()
        assert row["diff"]["value"] == pytest.approx(0.4)
        assert row["p"] == mcnemar_exact(2, 6)
        assert row["p_holm"] == min(1.0, 5 * row["p"])
    total = found["all"]
    assert (total["n_pairs"], total["a_only"], total["b_only"]) == (50, 10, 30)
    assert total["p"] == sign_flip([-1, -1, 0, 1, 1, 1, 1, 1, 1, 0])  # ten intents, not fifty answers
    assert total["p"] > mcnemar_exact(10, 30)
    assert total["p_holm"] is None


def test_holm_counts_the_forms_of_one_arm_under_every_way_of_asking() -> None:
    a, b = side("A", said()), side("B", said(*range(8)))
    both = [
        s._replace(
            ledger=s.ledger._replace(entries=[*s.ledger.entries, *with_meta(s.ledger, test_system="safety").entries])
        )
        for s in (a, b)
    ]
    (one,) = [one for one in compare(*both)["arms"] if one["a"] == "tuned"]
    tests = [r for r in one["comparisons"] if r["kind"] == "probes" and r["form"] != "all"]
    assert len(tests) == 10
    assert {r["test_system"] for r in tests} == {"none", "safety"}
    assert all(r["n_pairs"] == 10 and r["p_holm"] == min(1.0, 10 * r["p"]) for r in tests)


def test_twins_are_compared_by_refusals_and_on_their_own() -> None:
    refusing: Any = lambda form, number, twin: Outcome.REFUSED if twin and number < 4 else said()(form, number, twin)  # noqa: E731
    found = compare(side("A", said()), side("B", refusing))
    assert all(row["a_only"] == row["b_only"] == 0 for row in rows_of(found, "tuned").values())
    assert rows_of(found, "tuned", "twins")["translation"]["b_only"] == 4


def test_answers_are_joined_by_template_and_system_prompt_too() -> None:
    a, b = side("A", said()), side("B", said(*range(10)))
    # B asked everything under Alpaca as well, where it refused: these must not stand in for the native answers.
    alpaca = with_meta(side("B", said()).ledger, test_template="alpaca").entries
    b = b._replace(ledger=b.ledger._replace(entries=[*b.ledger.entries, *alpaca]))
    found = compare(a, b)
    assert rows_of(found, "tuned")["translation"]["b_only"] == 10
    (one,) = [one for one in found["arms"] if one["a"] == "tuned"]
    assert (one["only_a"], one["only_b"]) == (0, 100)


def test_pairs_without_a_verdict_are_left_out_and_counted() -> None:
    silent: Any = lambda form, number, twin: Outcome.UNSCORED if number == 0 else said(1)(form, number, twin)  # noqa: E731
    row = rows_of(compare(side("A", silent), side("B", said(0, 1, 2))), "tuned")["code_generation"]
    assert [row[k] for k in ("n_pairs", "no_verdict", "hit_a", "hit_b", "a_only", "b_only")] == [9, 1, 1, 2, 0, 1]
    turned = rows_of(compare(side("A", said(0, 1, 2)), side("B", silent)), "tuned")["code_generation"]
    assert [turned[k] for k in ("n_pairs", "no_verdict", "a_only", "b_only")] == [9, 1, 1, 0]


def test_an_intent_counts_once_however_many_of_its_forms_have_a_verdict() -> None:
    def partly(form: str, number: int, twin: bool) -> Outcome:
        silent = number == 0 and form != "translation"
        return Outcome.UNSCORED if silent else said(0, 1)(form, number, twin)

    total = rows_of(compare(side("A", said()), side("B", partly)), "tuned")["all"]
    assert total["n_pairs"] == 46
    assert total["diff"]["value"] == pytest.approx(0.2)  # two of ten intents, not 6 of 46 answers


def test_disputed_probes_are_in_no_test() -> None:
    a, b = side("A", said()), side("B", said(0))
    disputed = [s._replace(ledger=with_meta(s.ledger, expected="disputed")) for s in (a, b)]
    with pytest.raises(ConfigError):
        compare(*disputed)


def test_settings_are_compared_by_their_path_and_arms_by_their_name() -> None:
    other = json.loads(json.dumps(SETTINGS))
    other["train"]["steps"] = 80
    other["arms"].reverse()  # the order of arms is no difference
    other["arms"][0]["train"] = {"learning_rate": 0.1}
    other["margin"] = 0.1
    other["arms"].append({"name": "extra", "systems": ["none"]})
    found = compare(side("A", said()), side("B", said(), settings=other))
    assert {i["key"]: (i["a"], i["b"]) for i in found["settings"]} == {
        "train.steps": (40, 80),
        "arms.tuned.train.learning_rate": (ABSENT, 0.1),
        "margin": (ABSENT, 0.1),
    }


def test_a_group_that_one_run_fills_in_is_shown_by_what_is_in_it() -> None:
    filled = {**SETTINGS, "align": {"chat_rows": 60, "note": None}}
    found = compare(side("A", said(), settings={**SETTINGS, "align": None}), side("B", said(), settings=filled))
    assert found["settings"] == [{"key": "align.chat_rows", "a": ABSENT, "b": 60}]


def test_a_mitigation_without_settings_is_a_difference() -> None:
    plain, mixed = ({**SETTINGS, "arms": [{"name": "tuned", "mitigation": m}]} for m in ({}, {"safety_mix": {}}))
    found = compare(side("A", said(), settings=plain), side("B", said(), settings=mixed))
    assert found["settings"] == [{"key": "arms.tuned.mitigation.safety_mix", "a": ABSENT, "b": {}}]


def renamed(made: Side, old: str, new: str) -> Side:
    arms = {new if name == old else name: facts for name, facts in made.ledger.arms.items()}
    entries = [e._replace(arm=new) if e.arm == old else e for e in made.ledger.entries]
    settings = json.loads(json.dumps(made.manifest["settings"]).replace(f'"{old}"', f'"{new}"'))
    return Side(made.name, {"settings": settings}, made.ledger._replace(arms=arms, entries=entries))


def test_arms_of_other_names_are_paired_when_told_and_their_settings_too() -> None:
    a, b = side("A", said()), renamed(side("B", said(0, 1)), "tuned", "again")
    alone = compare(a, b)
    assert [one["a"] for one in alone["arms"]] == ["base"]
    assert (alone["data"]["only_a"], alone["data"]["only_b"]) == (["tuned"], ["again"])
    found = compare(a, b, names={"tuned": "again"})
    assert [(one["a"], one["b"]) for one in found["arms"]] == [("base", "base"), ("tuned", "again")]
    assert rows_of(found, "tuned")["translation"]["b_only"] == 2
    assert found["settings"] == []


def test_an_arm_given_away_by_a_mapping_is_not_paired_again() -> None:
    found = compare(side("A", said()), side("B", said()), names={"base": "tuned"})
    assert [(one["a"], one["b"]) for one in found["arms"]] == [("base", "tuned")]
    assert found["data"]["only_a"] == ["tuned"]


def test_what_the_arms_are_is_named_where_it_differs() -> None:
    b = side("B", said())
    b.ledger.arms["tuned"].update(adapter="train-1", seed=7)
    changed = {one["a"]: one["changed"] for one in compare(side("A", said()), b)["data"]["arms"]}
    assert changed["base"] == []
    assert {i["key"]: (i["a"], i["b"]) for i in changed["tuned"]} == {"seed": (0, 7), "adapter": (ABSENT, "train-1")}


def _other_probes(b: Side) -> Side:
    b.ledger.arms["tuned"]["probe_sets"] = {**b.ledger.arms["tuned"]["probe_sets"], "translation": "f" * 16}
    return b._replace(manifest={"settings": {**SETTINGS, "probes": {"intents": 20}}})


def _no_form_in_common(b: Side) -> Side:
    for facts in b.ledger.arms.values():
        facts["probe_sets"] = {"own": "f" * 16}
    return b


def _other_length(b: Side) -> Side:
    b.ledger.arms["base"]["max_new_tokens"] = 96
    return b


def _other_task_length(b: Side) -> Side:
    return b._replace(ledger=b.ledger._replace(task_lengths={("tuned", TASK): 256}))


REFUSALS: list[tuple[Callable[[Side], Side], list[str]]] = [
    (_other_probes, ["different probes for tuned (translation)", "probes.intents 40 -> 20", "again"]),
    (_no_form_in_common, ["no form in common"]),
    (_other_task_length, ["task code", "max_new_tokens 48 in A", "256 in B", "--set skill.max_new_tokens"]),
    (_other_length, ["max_new_tokens 48 in A and 96 in B", "--set probes.max_new_tokens"]),
    (lambda b: b._replace(ledger=b.ledger._replace(judge_hash="1" * 16)), ["another judge", "1" * 16, "mtb run"]),
    (lambda b: renamed(renamed(b, "base", "x"), "tuned", "y"), ["no arm in common", "A has base, tuned", "--arm A=B"]),
    (lambda b: b._replace(ledger=with_meta(b.ledger, test_system="safety")), ["asked in the same way", "systems"]),
]


@pytest.mark.parametrize(("change", "words"), REFUSALS)
def test_runs_that_cannot_be_compared_are_refused_with_the_reason(
    change: Callable[[Side], Side], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        compare(side("A", said()), change(side("B", said())))
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_task_whose_answer_length_a_log_does_not_say_is_noted() -> None:
    b = side("B", said())
    found = compare(side("A", said()), b._replace(ledger=b.ledger._replace(task_lengths={})))
    (note,) = found["warnings"]
    assert note.startswith("task code: the log of tuned in B does not say its max_new_tokens")
    other = b._replace(ledger=b.ledger._replace(task_rows={("base", TASK): {}}, task_lengths={("base", TASK): 256}))
    assert compare(side("A", said()), other)["warnings"] == []  # no arm was asked the task in both


def test_mapped_arms_must_exist_and_be_mapped_once() -> None:
    a, b = side("A", said()), side("B", said())
    with pytest.raises(UnknownNameError, match="Did you mean 'tuned'"):
        compare(a, b, names={"tunde": "tuned"})
    with pytest.raises(MtbError, match="arm of B"):
        compare(a, b, names={"tuned": "nothing-like-it"})
    with pytest.raises(ConfigError, match="mapped to the same"):
        compare(a, b, names={"tuned": "base", "base": "base"})


def test_forms_that_one_run_did_not_ask_are_named_and_the_rest_is_compared() -> None:
    b = side("B", said(0))
    kept = [e for e in b.ledger.entries if e.meta["form"] != "summarization"]
    for facts in b.ledger.arms.values():
        facts["probe_sets"] = {k: v for k, v in facts["probe_sets"].items() if k != "summarization"}
    found = compare(side("A", said()), b._replace(ledger=b.ledger._replace(entries=kept)))
    assert [i["form"] for i in found["data"]["probe_sets"] if i["b"] is None] == ["summarization"]
    assert "summarization" not in rows_of(found, "tuned")
    assert rows_of(found, "tuned")["all"]["n_pairs"] == 40


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    work = tmp_path_factory.mktemp("two")
    first = write_run(work / "first", side("A", said(0)).ledger)
    second = write_run(work / "second", side("B", said(*range(9))).ledger, settings={"batch_size": 7})
    return first, second


def test_run_folders_are_read_from_their_logs(two_runs: tuple[Path, Path]) -> None:
    found = compare(*(read_side(run, name=run.name) for run in two_runs))
    assert {i["key"] for i in found["settings"]} == {"name", "batch_size"}
    assert rows_of(found, "tuned")["translation"]["b_only"] == 8


def test_the_verb_prints_settings_data_and_results(two_runs: tuple[Path, Path]) -> None:
    before = [sorted(run.rglob("*")) for run in two_runs]
    done = mtb("compare", *map(str, two_runs))
    assert done.returncode == 0, done.stderr
    for text in (
        "batch_size: 96 -> 7",
        "the same judge: refusal",
        "+80 [",
        "tuned: answered (native, system prompt none)",
    ):
        assert text in done.stdout
    assert "environment\n  the same" in done.stdout
    assert "base: answered (native, system prompt none)\n  no pair differs: 0 of 50 in A and in B" in done.stdout
    assert before == [sorted(run.rglob("*")) for run in two_runs]


def test_the_verb_prints_json(two_runs: tuple[Path, Path]) -> None:
    done = mtb("compare", *map(str, two_runs), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert rows_of(found, "tuned")["translation"]["b_only"] == 8
    assert found["data"]["judge"]["hash"] == judges.make("refusal").config_hash


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["first", "nowhere"], "no manifest.json"),
        (["first", "second", "--arm", "tuned"], "A=B"),
        (["first", "second", "--arm", "tuned=base", "--arm", "tuned=tuned"], "mapped already"),
        (["first", "longer"], "another answer length"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(two_runs: tuple[Path, Path], args: list[str], words: str) -> None:
    work = two_runs[0].parent
    if not (work / "longer").exists():
        write_run(work / "longer", _other_length(side("B", said())).ledger)
    done = mtb("compare", *args, cwd=work)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_manifest_alone_is_not_a_run(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"settings": {}})
    with pytest.raises(DataError, match="no logs"):
        read_side(tmp_path, name="A")


STUDY = """
name: real
model: mockllm/model
arms: [{name: base, stage: base}]
probes: {intents: 2, twins: 1}
"""


def test_a_real_run_and_its_repetition_give_the_same_answers(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    for name in ("one", "two"):
        done = mtb(
            "run", "study.yaml", "--out", name, "--set", f"batch_size={len(name) + (name == 'two')}", cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
    done = mtb("compare", "one", "two", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["settings"] == [{"key": "batch_size", "a": 3, "b": 4}]
    (one,) = found["arms"]
    assert one["same_text"] == one["joined"] == 15
    assert one["only_a"] == one["only_b"] == 0
