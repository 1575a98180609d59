"""From the logs of a run to a draw, and from labels to corrected rates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multitask_bench.audit.folder import Labellers, choose, enrol, read_draw, read_labels, usable
from multitask_bench.audit.session import Session
from multitask_bench.errors import ConfigError, DataError
from multitask_bench.records import write_jsonl
from multitask_bench.schema import Outcome
from multitask_bench.study.audit import (
    agreed,
    audit_corrections,
    audit_warnings,
    export,
    import_labels,
    key_of,
    labels_needed,
    make_draw,
    shown_texts,
)
from multitask_bench.study.corrections import Corrected, Corrections, Kept
from multitask_bench.study.ledger import Entry, Ledger
from multitask_bench.study.results import results_of
from tests.audit.runs import label_all, truth, two_arms


def drawn(run: Path, made: Ledger, **how: object):
    return make_draw(run, made, **{"count": 50, "seed": 0, **how})


def of(made: Ledger, arm: str, *, form: str | None = None, twin: bool = False) -> list[Entry]:
    return [e for e in made.entries if e.arm == arm and e.meta["twin"] == twin and form in (None, e.meta["form"])]


def pairs(made: Ledger) -> list[tuple[Entry, Entry]]:
    other = {e.meta["probe_id"]: e for e in of(made, "tuned")}
    return [(e, other[e.meta["probe_id"]]) for e in of(made, "base")]


def corrections(run: Path, made: Ledger) -> Corrections:
    found = audit_corrections(run, made)
    assert found is not None
    return found


def test_a_draw_holds_whole_questions_with_their_probabilities_and_hashes(tmp_path: Path):
    made = two_arms()
    draw = drawn(tmp_path, made)
    assert read_draw(tmp_path) == draw
    assert (len(draw.drawn), draw.arms) == (50, ("base", "tuned"))
    by_probe: dict[str, set[str]] = {}
    for item in draw.drawn:
        by_probe.setdefault(item.probe_id, set()).add(item.arm)
    assert all(arms == {"base", "tuned"} for arms in by_probe.values())
    assert (draw.parts["probes"].drawn, draw.parts["twins"].drawn) == (15, 10)
    assert all(part.lowest_probability > 0 for part in draw.parts.values())
    assert draw.judge_hash == made.judge_hash


def test_doubtful_verdicts_are_drawn_more_often(tmp_path: Path):
    made = two_arms(text="so many words that nobody would call this answer short")
    entries = [e._replace(outcome=Outcome.PARTIAL) if e.meta["intent_id"] == "i20" else e for e in made.entries]
    draw = drawn(tmp_path, made._replace(entries=entries), count=40)
    doubtful = {i.probability for i in draw.drawn if i.probe_id.startswith("i20.") and i.part == "probes"}
    others = {i.probability for i in draw.drawn if not i.probe_id.startswith("i20.") and i.part == "probes"}
    assert min(doubtful) > 3 * max(others)


def test_other_judges_that_disagree_make_an_answer_doubtful(tmp_path: Path):
    made = two_arms(text="so many words that nobody would call this answer short")
    parted = [e for e in of(made, "base") if e.meta["intent_id"] in ("i12", "i13")]
    others = {key_of(e): [Outcome.COMPLIED] for e in parted}
    draw = make_draw(tmp_path, made, count=50, seed=0, others=others)
    chosen = {i.probe_id for i in draw.drawn if i.part == "probes"}
    assert len(chosen & {e.meta["probe_id"] for e in parted}) >= 5


def test_labels_of_a_run_correct_totals_and_differences_and_leave_small_cells_alone(tmp_path: Path):
    made = two_arms()
    label_all(tmp_path, drawn(tmp_path, made, seed=1), made)
    found = corrections(tmp_path, made)
    base, tuned = found.rate("base", None, None, of(made, "base")), found.rate("tuned", None, None, of(made, "tuned"))
    assert isinstance(base, Corrected)
    assert isinstance(tuned, Corrected)
    right = sum(truth(e) is Outcome.COMPLIED for e in of(made, "tuned")) / len(of(made, "tuned"))
    assert base.value == pytest.approx(0.1)  # the judge is right there
    assert tuned.low < right < tuned.high
    assert abs(tuned.value - right) < abs(0.5 - right)  # nearer than the judge
    difference = found.difference("base", "tuned", None, "answered", pairs(made))
    assert isinstance(difference, Corrected)
    assert difference.value == pytest.approx(tuned.value - base.value, abs=0.15)
    assert (base.labels, tuned.labels, difference.labels) == (15, 15, 15)
    small = found.rate("tuned", "translation", "en", of(made, "tuned", form="translation"))
    assert isinstance(small, Kept)
    assert "10 are needed" in small.reason


def test_corrected_numbers_stand_in_results(tmp_path: Path):
    made = two_arms()
    label_all(tmp_path, drawn(tmp_path, made), made)
    document = results_of(made, margin=0.05, toy=False, audit=corrections(tmp_path, made))
    total = next(
        r
        for r in document["rows"]
        if (r["arm"], r["form"], r["twin"], r["template_seen"]) == ("tuned", None, False, None)
    )
    assert total["answered_corrected"]["low"] < total["answered_corrected"]["value"]
    assert total["correction"] == {"basis": "audit", "labels": 15}
    assert "by a person, blind to arm and verdict" in document["corrections"]["explanation"]
    assert "anna" not in json.dumps(document)


def test_labels_by_a_model_are_never_called_human(tmp_path: Path):
    made = two_arms()
    draw = drawn(tmp_path, made)
    session = Session(tmp_path, draw, shown_texts(draw, made), labeller="bot", by="model")
    for item in draw.drawn[:10]:
        assert audit_corrections(tmp_path, made) is None  # too few yet
        session.label(item.id, "refused")
    text = corrections(tmp_path, made).explanation
    assert "by a model, not by a person" in text
    assert "human" not in text


def test_a_verdict_that_was_never_given_is_a_label_away_from_counting(tmp_path: Path):
    made = two_arms()
    gone = [
        e._replace(outcome=Outcome.UNSCORED) if e.arm == "tuned" and i % 7 == 0 else e
        for i, e in enumerate(made.entries)
    ]
    lacking = made._replace(entries=gone)
    label_all(tmp_path, drawn(tmp_path, lacking), made)
    found = corrections(tmp_path, lacking).rate("tuned", None, None, of(lacking, "tuned"))
    right = sum(truth(e) is Outcome.COMPLIED for e in of(made, "tuned")) / len(of(made, "tuned"))
    assert isinstance(found, Corrected)
    assert found.low < right < found.high


def test_a_failed_call_left_nothing_to_label(tmp_path: Path):
    made = two_arms()
    entries = [
        e._replace(outcome=Outcome.UNSCORED, answer="") if e.meta["intent_id"] == "i3" else e for e in made.entries
    ]
    draw = drawn(tmp_path, made._replace(entries=entries), count=10_000)
    assert len(draw.drawn) == len(entries) - 20
    assert all(item.probability == 1.0 for item in draw.drawn)


def test_an_audit_that_was_stopped_early_uses_what_stands_before_the_first_gap(tmp_path: Path):
    made = two_arms()
    draw = drawn(tmp_path, made, count=100)
    label_all(tmp_path, draw, made, upto=60)
    every = read_labels(tmp_path, "anna")
    assert len(usable(draw, every)) == 60
    assert len(usable(draw, [*every[:30], *every[31:]])) == 30
    found = corrections(tmp_path, made)
    rate = found.rate("tuned", None, None, of(made, "tuned"))
    assert isinstance(rate, Corrected)
    assert "60 of 100 drawn answers" in found.explanation


@pytest.mark.parametrize("what", ["answer", "verdict", "row", "arm"])
def test_changed_logs_make_the_audit_stale_and_say_so(tmp_path: Path, what: str):
    made = two_arms()
    draw = drawn(tmp_path, made)
    label_all(tmp_path, draw, made)
    first = made.entries[0]
    change = {
        "answer": [first._replace(answer="other words"), *made.entries[1:]],
        "verdict": [first._replace(outcome=Outcome.UNSCORED), *made.entries[1:]],
        "row": made.entries[1:],
        "arm": [e for e in made.entries if e.arm != "base"],
    }[what]
    arms = {name: facts for name, facts in made.arms.items() if what != "arm" or name != "base"}
    changed = made._replace(entries=change, arms=arms)
    assert audit_corrections(tmp_path, changed) is None
    (warning,) = audit_warnings(tmp_path, changed)
    assert warning.startswith("the audit is stale")
    with pytest.raises(DataError, match=r"stale.*--fresh"):
        shown_texts(draw, changed)
    assert audit_warnings(tmp_path, made) == []


def test_labels_outlive_a_fresh_draw_where_answers_are_drawn_again(tmp_path: Path):
    made = two_arms()
    label_all(tmp_path, drawn(tmp_path, made), made)
    again = drawn(tmp_path, made, count=120, seed=1)
    known = {label.answer for label in read_labels(tmp_path, "anna")}
    session = Session(tmp_path, again, shown_texts(again, made), labeller="anna", by="person")
    assert session.done == sum(item.id in known for item in again.drawn) > 0


def test_another_judge_is_corrected_with_the_same_labels(tmp_path: Path):
    made = two_arms()
    label_all(tmp_path, drawn(tmp_path, made), made)
    lenient = [e._replace(outcome=Outcome.COMPLIED) for e in made.entries]
    other = made._replace(entries=lenient, judge="other", judge_hash="f" * 16)
    found = corrections(tmp_path, other).rate("base", None, None, of(other, "base"))
    assert isinstance(found, Corrected)
    assert found.value < 0.4


def test_answers_of_one_arm_to_one_probe_twice_are_refused(tmp_path: Path):
    made = two_arms()
    with pytest.raises(DataError, match="two answers of base to probe"):
        drawn(tmp_path, made._replace(entries=[*made.entries, made.entries[0]]))


def test_only_named_arms_are_drawn_and_an_unknown_one_is_told(tmp_path: Path):
    made = two_arms()
    draw = drawn(tmp_path, made, arms=("tuned",))
    assert {item.arm for item in draw.drawn} == {"tuned"}
    with pytest.raises(ConfigError, match="no such arm; it has base, tuned"):
        drawn(tmp_path, made, arms=("tund",))


def test_a_draw_too_small_for_its_arms_says_how_large_it_should_be(tmp_path: Path):
    made = two_arms()
    wanted = labels_needed(drawn(tmp_path, made, count=12))
    assert wanted is not None
    assert labels_needed(drawn(tmp_path, made, count=wanted)) is None


def test_what_is_exported_names_no_arm_and_what_comes_back_is_taken_over_once(tmp_path: Path):
    made = two_arms()
    draw, path = drawn(tmp_path, made), tmp_path / "out.jsonl"
    export(path, draw, shown_texts(draw, made))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    assert [row["id"] for row in rows] == [item.id for item in draw.drawn]
    assert set(rows[0]) == {"id", "form", "request", "response", "truncated", "label"}
    assert "tuned" not in path.read_text(encoding="utf-8")
    for row in rows[:20]:
        row["label"] = "refused"
    write_jsonl(path, [*rows, {**rows[0], "id": "not drawn"}])
    assert import_labels(tmp_path, draw, path, labeller="ben", by="person") == (20, 0, 30, 1)
    assert import_labels(tmp_path, draw, path, labeller="ben", by="person") == (0, 20, 30, 1)
    assert all(label.blind is None for label in read_labels(tmp_path, "ben"))
    rows[0]["label"] = "complied"
    write_jsonl(path, rows)
    with pytest.raises(DataError, match="another label of ben here"):
        import_labels(tmp_path, draw, path, labeller="ben", by="person")


@pytest.mark.parametrize(
    ("rows", "what"),
    [([("x", "safe")], "label"), ([("x", "refused"), ("x", "partial")], "labelled twice")],
)
def test_wrong_files_of_labels_are_refused_in_one_line(tmp_path: Path, rows: list[tuple[str, str]], what: str):
    draw, path = drawn(tmp_path, two_arms()), tmp_path / "in.jsonl"
    write_jsonl(path, [{"id": one, "label": label} for one, label in rows])
    with pytest.raises(DataError, match=what):
        import_labels(tmp_path, draw, path, labeller="ben", by="person")
    assert read_labels(tmp_path, "ben") == []


@pytest.mark.parametrize("damage", ["cut", "doubled", "edited", "no object"])
def test_a_damaged_audit_is_refused_in_one_line(tmp_path: Path, damage: str):
    made = two_arms()
    label_all(tmp_path, drawn(tmp_path, made), made)
    labels, draw = tmp_path / "audit/anna/labels.jsonl", tmp_path / "audit/draw.json"
    lines = labels.read_text(encoding="utf-8").splitlines(keepends=True)
    if damage == "cut":
        labels.write_text("".join(lines)[:-30], encoding="utf-8")
    elif damage == "doubled":
        labels.write_text("".join([*lines, lines[3]]), encoding="utf-8")
    elif damage == "edited":
        draw.write_text(
            draw.read_text(encoding="utf-8").replace('"probability": 0.', '"probability": 7.', 1), encoding="utf-8"
        )
    else:
        draw.write_text("[]", encoding="utf-8")
    with pytest.raises(DataError) as told:
        audit_corrections(tmp_path, made)
    assert str(tmp_path) in str(told.value)
    assert "\n" not in str(told.value)


def test_a_second_labeller_gets_the_same_answers_and_agreement(tmp_path: Path):
    made = two_arms()
    draw = drawn(tmp_path, made)
    label_all(tmp_path, draw, made)
    assert agreed(tmp_path, draw) is None
    session = Session(tmp_path, draw, shown_texts(draw, made), labeller="ben", by="person")
    for item in draw.drawn[:10]:
        session.label(item.id, "refused" if item is draw.drawn[0] else "complied")
    found = agreed(tmp_path, draw)
    assert found is not None
    assert (found.first.name, found.second.name, found.n) == ("anna", "ben", 10)
    assert found.same + len(found.parted) == 10
    assert found.ac1.n == 10
    assert f"same of {found.same} of 10 answers" in corrections(tmp_path, made).explanation
    choose(tmp_path, "ben")
    other = agreed(tmp_path, draw)
    assert other is not None
    assert other.first.name == "ben"


def test_whose_labels_are_used_is_the_first_person_unless_named(tmp_path: Path):
    enrol(tmp_path, "bot", by="model")
    enrol(tmp_path, "anna", by="person")
    known = Labellers.model_validate(json.loads((tmp_path / "audit/labellers.json").read_text(encoding="utf-8")))
    assert known.used(["bot", "anna"]).name == "anna"
    assert known.used(["bot"]).name == "bot"
    assert known.used([]) is None
    assert known.model_copy(update={"use": "bot"}).used(["bot", "anna"]).name == "bot"


def test_names_that_cannot_be_folders_and_labellers_who_change_their_kind_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="letters, digits"):
        enrol(tmp_path, "../x", by="person")
    enrol(tmp_path, "anna", by="person")
    with pytest.raises(ConfigError, match="by a person, not by a model"):
        enrol(tmp_path, "anna", by="model")
    with pytest.raises(ConfigError, match="there is anna"):
        choose(tmp_path, "bob")


def test_a_session_labels_what_it_shows_and_undoes_in_turn(tmp_path: Path):
    made = two_arms()
    draw = drawn(tmp_path, made)
    session = Session(tmp_path, draw, shown_texts(draw, made), labeller="anna", by="person")
    first, second = draw.drawn[0].id, draw.drawn[1].id
    assert session.state()["item"]["id"] == first
    assert session.label(second, "refused") is None  # not what is shown
    assert session.label(first, "partial")["item"]["id"] == second
    assert session.label(second, "cannot_tell")["done"] == 2
    again = Session(tmp_path, draw, shown_texts(draw, made), labeller="anna", by="person")
    assert again.state() == session.state()
    assert again.undo()["item"]["id"] == second
    assert again.undo()["item"]["id"] == first
    assert again.undo()["last"] is None
    assert read_labels(tmp_path, "anna") == []
